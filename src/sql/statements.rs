//! Every SQL statement, once, for all tables and all databases.
//!
//! A text has named parts, each a word after a colon:
//!
//! - **a column**, by its role: `:status`, `:create_at`, `:update_at`, `:lock`,
//!   `:lock_at`, `:retry`, `:errors`, `:run_at`, `:started_at`; and the
//!   columns of the key:
//!   `:key`, after the table's name `:table_key`, of the rows that were picked
//!   `:picked_key`, and all their values in arrays `:picked_arrays`;
//! - **a recurring part**, from [`PARTS`] below: `:ready`, `:held`, `:claim`, …;
//! - **the condition on the key**: `:is` is one row. `:any` is one of the keys
//!   that were read before, `:any_given` one of those that the user gave,
//!   `:past` one of those that a search leaves out;
//! - **a status code**: `:pending`, `:in_progress`, `:failed`, `:succeeded`,
//!   `:ignored`, the lists `:ready_codes` and `:own_codes` of the step, `:code`
//!   in a repeated text, and what a call gives: `:statuses`, `:new_status`;
//! - **a time of the database's clock**, which has the type of the column named
//!   before it: `:now` at the start of the statement, `:stamp` when the row is
//!   changed, `:ago` and `:later` so much before and after now; and `:stamped`, which
//!   gives `lock_at` and `update_at` the same `:stamp`;
//! - **a new row**: `:new_key`, `:new_create_at` (left out where it is part of
//!   the key), `:created`, `:create_now` and `:update_now` (the time of both
//!   columns), `:never`, `:no_retry`, `:empty_document`, and the columns that the user sets, `:set_columns` and
//!   `:set_values`; a NULL for each of them, `:set_nulls`, and one of its type for each of
//!   the key's, `:key_nulls`; `:unless_exists` has the database pass over a key that exists;
//! - **what else a call gives**: `:token`, `:tokens`, `:written_token`, `:count`, `:document`,
//!   `:changes` (the user's columns), `:limit` (bound), `:limit_text` (a number in
//!   the text), `:order`, `:changed_since`; `:oldest_first` and `:newest_first`
//!   order by the last change, where NULL is before all times; `:filter`, a
//!   condition of the user's on the rows that a claim takes;
//! - `:wait`, how long the statement waits for a row that another transaction
//!   holds, and `:lock_rows`, which locks the rows that are read;
//! - **of a table that is known at run time alone**: `:page_order` and `:past_cursor`
//!   (a page of a sorted list), `:seen_lock_at` (the time of a lock, as text),
//!   `:unchanged` (the last change is the one that was seen, whose time is given as text), and
//!   where the names of its columns stand: `:catalog`, by `:table_text`,
//!   `:schema_text` and `:table_path`;
//! - `:fields`, what the statement reads: its list of [`Field`]s.
//!
//! `[ … ]` is left out where a part in it does not exist: a column that the
//! table does not have, a value that the call does not give. `{ … | … }` is
//! repeated for each ready status, or for each new row; what follows the bar stands
//! in between.

use super::record::Field::{
    self, ColumnName, Count, CreateAt, Errors, IsBinary, Key, Lock, LockAt, Now, Place, Retry, Row,
    RunAt, Shown, Since, Status, UpdateAt, Written,
};
pub use super::template::Statement;
use crate::table_info::Role;

/// The parts that recur. Every claim, and everything that an attempt writes,
/// is made of these.
pub(super) const PARTS: &[(&str, &str)] = &[
    // What makes a row ready, dead, or old enough to be deleted. To a claim with a
    // filter only those rows are ready that the filter lets pass.
    (
        "ready",
        ":lock IS NULL AND :status IN (:ready_codes):may_run",
    ),
    (
        "may_run",
        "[ AND (:run_at IS NULL OR :run_at <= :now)][ AND (:filter)]",
    ),
    // The first ready rows of one status.
    (
        "first_ready",
        ":lock IS NULL AND :status IN (:code):may_run[ AND :changed_since] ORDER BY :order LIMIT :limit",
    ),
    (
        "expired",
        ":lock IS NOT NULL AND :status IN (:in_progress) AND :lock_at < :ago",
    ),
    (
        "seen",
        ":held AND :status IN (:in_progress) AND :lock_at = :seen_lock_at",
    ),
    (
        "stale",
        ":lock IS NULL AND :status IN (:statuses) AND :update_at <= :ago",
    ),
    // Nobody holds it, or a worker that is presumed dead.
    (
        "free",
        ":status IN (:own_codes) AND (:lock IS NULL OR :lock_at IS NULL OR :lock_at < :ago)",
    ),
    (
        "ignorable",
        ":status IN (:statuses) AND (:lock IS NULL OR :lock_at IS NULL OR :lock_at < :ago)",
    ),
    // The fence: what an attempt writes reaches a row only while it bears the
    // attempt's token.
    ("held", ":is AND :bears_token"),
    ("any_held", ":any AND :bears_token"),
    // A new row, as nobody has changed it.
    (
        "new_columns",
        ":status[, :new_create_at], :update_at, :lock_at, :retry, :errors",
    ),
    (
        "new_values",
        ":pending[, :created], :update_now, :never, 0, :empty_document",
    ),
    (
        "insert",
        "INSERT INTO :table (:key, :new_columns[, :set_columns]) \
         VALUES {(:new_key, :new_values[, :set_values])|, }:unless_exists",
    ),
    // The same without a key, which the database makes.
    (
        "keyless_columns",
        ":status, :create_at, :update_at, :lock_at, :retry, :errors[, :set_columns]",
    ),
    (
        "keyless_values",
        ":pending, :create_now, :update_now, :never, :no_retry, :empty_document[, :set_values]",
    ),
    // The next ready rows, and what claims them.
    (
        "picked",
        "tracker_picked (:key, tracker_since) AS MATERIALIZED (\
         SELECT :key, :update_at FROM :table WHERE :ready[ AND :changed_since][ AND NOT (:past)] \
         ORDER BY :order LIMIT :limit_text FOR UPDATE SKIP LOCKED)",
    ),
    (
        "claim_picked",
        "UPDATE :table SET :claim FROM \
         unnest(:picked_arrays, ARRAY(SELECT tracker_since FROM tracker_picked)) \
         WITH ORDINALITY AS tracker_picked (:key, tracker_since, tracker_place) \
         WHERE (:table_key) = (:picked_key)",
    ),
    // What is written.
    (
        "claim",
        ":status = :in_progress, :lock = :token, :stamped[, :started_at = :stamp]",
    ),
    (
        "success",
        ":status = :succeeded, :lock = NULL, :retry = 0, :update_at = :stamp",
    ),
    (
        "failure",
        ":status = :new_status, :lock = NULL, :retry = :count, :errors = :document, :update_at = :stamp[, :run_at = :later]",
    ),
    (
        "release",
        ":status = :new_status, :lock = NULL, :update_at = :stamp",
    ),
    (
        "reset",
        ":status = :pending, :lock = NULL, :retry = 0[, :run_at = :now], :update_at = :stamp",
    ),
];

/// What a claim reads.
const CLAIMED: &[Field] = &[Row, Key, LockAt, Retry, Errors];
const RENEWED: &[Field] = &[Key, Lock, LockAt];
const DEAD: &[Field] = &[Key, Lock, Retry, Errors, Now];
/// What a list shows of a row.
const SEEN: &[Field] = &[
    Key,
    Status,
    CreateAt,
    UpdateAt,
    Lock,
    LockAt,
    Retry,
    Now,
    RunAt,
    Shown(Role::CreateAt),
    Shown(Role::UpdateAt),
    Shown(Role::LockAt),
];
const IGNORED: &[Field] = &[Retry, Errors, Now];

/// Defines the statements below, each as a static of its name, with its fields,
/// and with what reads them where the database returns nothing from a change.
macro_rules! statements {
    ($($(#[$doc:meta])* $NAME:ident = $text:expr $(, reads $fields:expr)? $(, or again by $again:ident)?;)*) => {
        #[allow(non_camel_case_types, clippy::upper_case_acronyms)]
        enum Number { $($NAME),* }

        /// How many there are.
        pub(super) const STATEMENTS: usize = [$(stringify!($NAME)),*].len();

        $(
            $(#[$doc])*
            pub static $NAME: Statement = Statement::new(Number::$NAME as usize, stringify!($NAME), $text)
                $(.reads($fields))?
                $(.or_else_by(&$again))?;
        )*

        #[cfg(all(test, feature = "sqlite", feature = "postgres", feature = "mysql"))]
        pub static ALL: &[&Statement] = &[$(&$NAME),*];
    };
}

statements! {
    // Claims.

    /// Locks one row if it is ready.
    CLAIM_ROW = "UPDATE :table SET :claim WHERE :is AND :ready[ AND :wait]",
        reads CLAIMED, or again by CLAIMED_ROW;

    /// A row that the token holds.
    CLAIMED_ROW = "SELECT :fields FROM :table WHERE :held",
        reads CLAIMED;

    /// The keys of all rows that the token holds. By status too, for the index on
    /// it: there is none on the lock.
    CLAIMED_KEYS = "SELECT :fields FROM :table WHERE :status IN (:in_progress) AND :lock = :token ORDER BY :order",
        reads &[Key];

    /// PostgreSQL: picks rows, passes over those that others hold, and claims the
    /// rest, in one statement.
    ///
    /// The list is materialized, since a plan that ran it more than once would
    /// lock, and claim, more rows than the limit. The limit is a number in the
    /// text: with a bound one the server plans anew at each call. RETURNING keeps
    /// no order, so each row tells its place. The list is read through arrays, because
    /// the planner expects ten rows of them, and so looks up each row by its key. Of the
    /// list itself it expects as many rows as the limit, and would read the whole table,
    /// finished rows too; where the table was never analyzed, it expects a single row.
    CLAIM_NEXT = "WITH :picked :claim_picked",
        reads &[Row, Key, LockAt, Retry, Errors, Place, Since];

    /// PostgreSQL: marks rows as succeeded and claims the next ones, with one commit.
    /// It returns at least one row, which tells how many were marked, where nothing
    /// was claimed too. The two never meet in a row: a row with a token is not ready.
    /// It picks before it writes: the write may wait for another transaction, and a pick
    /// after that would lock, until the commit, rows that others have claimed meanwhile.
    SUCCEED_AND_CLAIM = "WITH :picked, tracker_written AS (\
         UPDATE :table SET :success[, :changes] WHERE :any AND :lock IS NOT DISTINCT FROM :written_token \
         AND (SELECT count(*) FROM tracker_picked) >= 0[ AND :wait] RETURNING 1), \
         tracker_claimed AS (:claim_picked RETURNING :fields) \
         SELECT tracker_claimed.*, tracker_count.* FROM (SELECT count(*) FROM tracker_written) AS tracker_count \
         LEFT JOIN tracker_claimed ON true",
        reads &[Row, Key, LockAt, Retry, Errors, Place, Since, Written];

    /// The first ready rows, in order, read without locks.
    READY_ROWS = "SELECT :fields FROM :table WHERE :ready[ AND :changed_since] ORDER BY :order LIMIT :limit",
        reads &[Key, UpdateAt];

    /// The same for MySQL, which reads the first rows of one status off an index, but
    /// sorts all rows of two. So each status gives its first rows: together they may be more
    /// than the limit, and only those of one status are in order.
    READY_ROWS_BY_STATUS = "{(SELECT :fields FROM :table WHERE :first_ready)| UNION ALL }",
        reads &[Key, UpdateAt];

    /// The same in an order of the user's, which needs columns that are not read. So the
    /// first rows are looked up again by their keys: from a query in brackets, since MySQL
    /// takes no limit directly under IN.
    READY_ROWS_IN_ORDER = "SELECT :fields FROM :table WHERE (:key) IN (SELECT * FROM (\
         {(SELECT :key FROM :table WHERE :first_ready)| UNION ALL }) AS tracker_first) ORDER BY :order LIMIT :limit",
        reads &[Key, UpdateAt];

    /// Whether a row is ready to a claim with this filter.
    READY_ROW = "SELECT :fields FROM :table WHERE :is AND :ready",
        reads &[Key];

    /// MySQL: those of the rows that are still ready and that nobody else holds.
    LOCK_READY_ROWS = "SELECT :fields FROM :table WHERE :any AND :ready :lock_rows SKIP LOCKED",
        reads &[Key];

    /// MySQL: claims rows that this transaction has locked.
    CLAIM_ROWS = "UPDATE :table SET :claim WHERE :any AND :ready[ AND :wait]";

    /// SQLite: claims rows that were found ready in this transaction, which is the only
    /// one that writes. Whether they are ready is not asked again, since SQLite might then
    /// look through all ready rows instead of the keys.
    CLAIM_FOUND_ROWS = "UPDATE :table SET :claim WHERE :any AND :lock IS NULL",
        reads CLAIMED;

    /// MySQL: reads the rows that it claimed.
    CLAIMED_ROWS = "SELECT :fields FROM :table WHERE :any_held",
        reads CLAIMED;

    /// Those of the rows that nobody else holds, locked until the transaction ends.
    FREE_KEYS = "SELECT :fields FROM :table WHERE :any :lock_rows SKIP LOCKED",
        reads &[Key];

    // New rows.

    /// A row, unless its key exists.
    INSERT_ROW = ":insert",
        reads &[Row], or again by ROW;

    /// Rows, without those whose key exists.
    INSERT_ROWS = ":insert";

    /// PostgreSQL: the same for rows that set the same columns. What they have in common
    /// stands in the text once: the server prepares each expression in a list of values
    /// anew for each row. The first row gives the keys the types of their columns, and
    /// OFFSET leaves it out: the server keeps the order of such a list.
    INSERT_LIST = "INSERT INTO :table (:key[, :set_columns], :new_columns) \
         SELECT tracker_new.*, :new_values FROM (\
         VALUES (:key_nulls[, :set_nulls]), {(:new_key[, :set_values])|, } OFFSET 1) AS tracker_new:unless_exists";

    /// A row whose key the database makes.
    INSERT_WITHOUT_KEY = "INSERT INTO :table (:keyless_columns) VALUES (:keyless_values)",
        reads &[Row, Key], or again by ROW_OF_MADE_KEY;

    /// MySQL: the row whose key this session's last insert has made. There is none
    /// where that insert made no number.
    ROW_OF_MADE_KEY = "SELECT :fields FROM :table WHERE :made_key = LAST_INSERT_ID() AND LAST_INSERT_ID() <> 0",
        reads &[Row, Key];

    // An attempt.

    /// What decides whether a job may start.
    ROW_STATE = "SELECT :fields FROM :table WHERE :is",
        reads &[Status, Lock, LockAt, Retry, Now, RunAt];

    /// The failures in a row, of a row that may be unreadable otherwise.
    RETRIES = "SELECT :fields FROM :table WHERE :is",
        reads &[Retry];

    SUCCEED_ROW = "UPDATE :table SET :success[, :changes] WHERE :held[ AND :wait]";

    /// Rows that set no column of the user's.
    SUCCEED_ROWS = "UPDATE :table SET :success WHERE :any_held[ AND :wait]";

    FAIL_ROW = "UPDATE :table SET :failure WHERE :held[ AND :wait]";

    /// Gives rows back unworked.
    RELEASE_ROWS = "UPDATE :table SET :release WHERE :any_held[ AND :wait]";

    /// Takes the row for this transaction. Not from those who refer to it by a
    /// foreign key, where the database can tell.
    TAKE_ROW = "SELECT :fields FROM :table WHERE :held :lock_rows",
        reads &[Key];

    /// Writes the user's columns in mid-run, and renews the lock.
    SAVE_ROW = "UPDATE :table SET :stamped[, :changes] WHERE :held[ AND :wait]",
        reads &[LockAt], or again by LOCK_TIME;

    LOCK_TIME = "SELECT :fields FROM :table WHERE :held",
        reads &[LockAt];

    /// Renews the locks of several attempts.
    RENEW_ROWS = "UPDATE :table SET :lock_at = :stamp WHERE :any AND :lock IN (:tokens)[ AND :wait]",
        reads RENEWED, or again by RENEWED_ROWS;

    RENEWED_ROWS = "SELECT :fields FROM :table WHERE :any AND :lock IN (:tokens)",
        reads RENEWED;

    // Attempts whose worker is presumed dead.

    /// The oldest lock first.
    DEAD_KEYS = "SELECT :fields FROM :table WHERE :expired ORDER BY :lock_at LIMIT :limit",
        reads &[Key];

    DEAD_ATTEMPT = "SELECT :fields FROM :table WHERE :is AND :expired",
        reads DEAD;

    /// Ends a dead attempt, unless it was renewed or finished meanwhile.
    EXPIRE_ROW = "UPDATE :table SET :failure WHERE :held AND :expired[ AND :wait]";

    // Whole tables.

    /// Back to pending, except rows that somebody holds or that are another step's.
    RESET_ROWS = "UPDATE :table SET :reset WHERE :any_given AND :free[ AND :wait]";

    STALE_KEYS = "SELECT :fields FROM :table WHERE :stale LIMIT :limit",
        reads &[Key];

    /// Deletes those of the rows that are still stale.
    DELETE_STALE_ROWS = "DELETE FROM :table WHERE :any AND :stale[ AND :wait]";

    ROW = "SELECT :fields FROM :table WHERE :is",
        reads &[Row];

    /// A row as others have committed it, whatever this transaction has read before.
    ROW_NOW = "SELECT :fields FROM :table WHERE :is FOR UPDATE",
        reads &[Key];

    /// Whether there is such a row.
    ROW_KEY = "SELECT :fields FROM :table WHERE :is",
        reads &[Key];

    OLDEST_ROWS = "SELECT :fields FROM :table WHERE :status IN (:statuses) ORDER BY :oldest_first LIMIT :limit",
        reads &[Row];

    NEWEST_ROWS = "SELECT :fields FROM :table WHERE :status IN (:statuses) ORDER BY :newest_first LIMIT :limit",
        reads &[Row];

    // Tables that are known at run time alone.

    LISTED_ROWS = "SELECT :fields FROM :table WHERE :status IN (:statuses)[ AND :past_cursor] ORDER BY :page_order LIMIT :limit",
        reads SEEN;

    SEEN_ROW = "SELECT :fields FROM :table WHERE :is",
        reads SEEN;

    /// Back to pending, if the row is still as somebody has seen it.
    RESET_SEEN_ROW = "UPDATE :table SET :reset WHERE :is AND :free AND :status IN (:statuses) AND :unchanged[ AND :wait]";

    /// Leaves a job alone, unless a live attempt holds it.
    IGNORE_ROW = "UPDATE :table SET :status = :ignored, :lock = NULL, :update_at = :stamp WHERE :is AND :ignorable[ AND :wait]",
        reads IGNORED, or again by IGNORED_ROW;

    /// The same, if the row is still as somebody has seen it.
    IGNORE_SEEN_ROW = "UPDATE :table SET :status = :ignored, :lock = NULL, :update_at = :stamp \
         WHERE :is AND :ignorable AND :unchanged[ AND :wait]",
        reads IGNORED, or again by IGNORED_ROW;

    IGNORED_ROW = "SELECT :fields FROM :table WHERE :is",
        reads IGNORED;

    /// In the transaction that has changed the row.
    SET_ERRORS = "UPDATE :table SET :errors = :document WHERE :is[ AND :wait]";

    /// An attempt as it was seen: not one that was renewed since.
    SEEN_ATTEMPT = "SELECT :fields FROM :table WHERE :seen",
        reads DEAD;

    EXPIRE_SEEN_ROW = "UPDATE :table SET :failure WHERE :seen[ AND :wait]";

    TABLE_COLUMNS = "SELECT :fields FROM :catalog",
        reads &[ColumnName, IsBinary];

    STATUS_COUNTS = "SELECT :fields FROM :table GROUP BY :status",
        reads &[Status, Count];
}
