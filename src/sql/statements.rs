//! Every SQL statement, once, for all tables and all databases.
//!
//! A text has named parts, each a word after a colon:
//!
//! - **a column**, by its role: `:status`, `:create_at`, `:update_at`, `:lock`,
//!   `:lock_at`, `:retry`, `:errors`, `:run_at`; and the columns of the key:
//!   `:key`, after the table's name `:table_key`, of the rows that were picked
//!   `:picked_key`;
//! - **a recurring part**, from [`PARTS`] below: `:ready`, `:held`, `:claim`, …;
//! - **the condition on the key**: `:is` is one row. `:any` is one of the keys
//!   that were read before, `:any_given` one of those that the user gave,
//!   `:past` one of those that a search leaves out;
//! - **a status code**: `:pending`, `:in_progress`, `:failed`, `:succeeded`,
//!   `:ignored`, the lists `:ready_codes` and `:own_codes` of the step, `:code`
//!   in a repeated text, and what a call gives: `:statuses`, `:new_status`;
//! - **a time of the database's clock**, which has the type of the column named
//!   before it: `:now` at the start of the statement, `:stamp` when the row is
//!   changed, `:ago` and `:later` so much before and after now;
//! - **what else a call gives**: `:token`, `:tokens`, `:count`, `:document`,
//!   `:changes` (the user's columns), `:since`, `:limit` (bound), `:limit_text`
//!   (a number in the text), `:order`;
//! - `:wait`, how long the statement waits for a row that another transaction
//!   holds, and `:lock_rows`, which locks the rows that are read;
//! - `:fields`, what the statement reads: its list of [`Field`]s.
//!
//! `[ … ]` is left out where a part in it does not exist: a column that the
//! table does not have, a value that the call does not give. `{ … | … }` is
//! repeated for each ready status; what follows the bar stands in between.

use super::record::Field::{
    self, Count, Errors, Key, Lock, LockAt, Now, Place, Retry, Row, RunAt, Since, Status, UpdateAt,
};
pub use super::template::Statement;

/// The parts that recur. Every claim, and everything that an attempt writes,
/// is made of these.
pub(super) const PARTS: &[(&str, &str)] = &[
    // What makes a row ready, dead, or old enough to be deleted.
    (
        "ready",
        ":lock IS NULL AND :status IN (:ready_codes)[ AND (:run_at IS NULL OR :run_at <= :now)]",
    ),
    (
        "expired",
        ":lock IS NOT NULL AND :status IN (:in_progress) AND :lock_at < :ago",
    ),
    (
        "stale",
        ":lock IS NULL AND :status IN (:statuses) AND :update_at < :ago",
    ),
    // Nobody holds it, or a worker that is presumed dead.
    (
        "free",
        ":status IN (:own_codes) AND (:lock IS NULL OR :lock_at IS NULL OR :lock_at < :ago)",
    ),
    // The fence: what an attempt writes reaches a row only while it bears the
    // attempt's token.
    ("held", ":is AND :bears_token"),
    ("any_held", ":any AND :bears_token"),
    // What is written.
    (
        "claim",
        ":status = :in_progress, :lock = :token, :lock_at = :stamp, :update_at = :stamp",
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

// Claims.

/// Locks one row if it is ready.
pub static CLAIM_ROW: Statement = Statement::new(
    "claim_row",
    "UPDATE :table SET :claim WHERE :is AND :ready[ AND :wait]",
)
.reads(CLAIMED)
.or_else_by(&CLAIMED_ROW);

/// A row that the token holds.
pub static CLAIMED_ROW: Statement =
    Statement::new("claimed_row", "SELECT :fields FROM :table WHERE :held").reads(CLAIMED);

/// The keys of all rows that the token holds. By status too, for the index on
/// it: there is none on the lock.
pub static CLAIMED_KEYS: Statement = Statement::new(
    "claimed_keys",
    "SELECT :fields FROM :table WHERE :status IN (:in_progress) AND :lock = :token ORDER BY :order",
)
.reads(&[Key]);

/// PostgreSQL: picks rows, passes over those that others hold, and claims the
/// rest, in one statement.
///
/// The list is materialized, since a plan that ran it more than once would
/// lock, and claim, more rows than the limit. The limit is a number in the
/// text: with a bound one the server plans anew at each call. RETURNING keeps
/// no order, so each row tells its place. For more than a few rows the planner
/// would rather read the whole table, finished rows too, than look up each:
/// a key of one column is given to it as an array, which it looks up.
pub static CLAIM_NEXT: Statement = Statement::new(
    "claim_next",
    "WITH tracker_picked (:key, tracker_since) AS MATERIALIZED (\
     SELECT :key, :update_at FROM :table WHERE :ready[ AND :update_at >= :since][ AND NOT (:past)] \
     ORDER BY :order LIMIT :limit_text FOR UPDATE SKIP LOCKED) \
     UPDATE :table SET :claim FROM \
     (SELECT row_number() OVER () AS tracker_place, tracker_picked.* FROM tracker_picked) AS tracker_picked \
     WHERE [:table_key = ANY(ARRAY(SELECT :only_key FROM tracker_picked)) AND ](:table_key) = (:picked_key)",
)
.reads(&[Row, Key, LockAt, Retry, Errors, Place, Since]);

/// The first ready rows, in order, read without locks.
pub static READY_ROWS: Statement = Statement::new(
    "ready_rows",
    "SELECT :fields FROM :table WHERE :ready[ AND :update_at >= :since] ORDER BY :order LIMIT :limit",
)
.reads(&[Key, UpdateAt]);

/// The same for MySQL, which reads the first rows of one status off an index,
/// but sorts all rows of two. So each status gives its first rows, and the
/// first of those are taken: from a query in brackets, since MySQL takes no
/// limit directly under IN.
pub static READY_ROWS_BY_STATUS: Statement = Statement::new(
    "ready_rows_by_status",
    "SELECT :fields FROM :table WHERE (:key) IN (SELECT * FROM (\
     {(SELECT :key FROM :table WHERE :lock IS NULL AND :status IN (:code)\
     [ AND (:run_at IS NULL OR :run_at <= :now)][ AND :update_at >= :since] ORDER BY :order LIMIT :limit_text)\
     | UNION ALL }) AS tracker_first) ORDER BY :order LIMIT :limit_text",
)
.reads(&[Key, UpdateAt]);

/// MySQL: those of the rows that are still ready and that nobody else holds.
pub static LOCK_READY_ROWS: Statement = Statement::new(
    "lock_ready_rows",
    "SELECT :fields FROM :table WHERE :any AND :ready :lock_rows SKIP LOCKED",
)
.reads(&[Key]);

/// MySQL: claims rows that this transaction has locked.
pub static CLAIM_ROWS: Statement = Statement::new(
    "claim_rows",
    "UPDATE :table SET :claim WHERE :any AND :ready[ AND :wait]",
);

/// MySQL: reads the rows that it claimed.
pub static CLAIMED_ROWS: Statement =
    Statement::new("claimed_rows", "SELECT :fields FROM :table WHERE :any_held").reads(CLAIMED);

/// Those of the rows that nobody else holds, locked until the transaction ends.
pub static FREE_KEYS: Statement = Statement::new(
    "free_keys",
    "SELECT :fields FROM :table WHERE :any :lock_rows SKIP LOCKED",
)
.reads(&[Key]);

// An attempt.

/// What decides whether a job may start.
pub static ROW_STATE: Statement =
    Statement::new("row_state", "SELECT :fields FROM :table WHERE :is")
        .reads(&[Status, Lock, LockAt, Retry, Now, RunAt]);

/// The failures in a row, of a row that may be unreadable otherwise.
pub static RETRIES: Statement =
    Statement::new("retries", "SELECT :fields FROM :table WHERE :is").reads(&[Retry]);

pub static SUCCEED_ROW: Statement = Statement::new(
    "succeed_row",
    "UPDATE :table SET :success[, :changes] WHERE :held[ AND :wait]",
);

/// Rows that set no column of the user's.
pub static SUCCEED_ROWS: Statement = Statement::new(
    "succeed_rows",
    "UPDATE :table SET :success WHERE :any_held[ AND :wait]",
);

pub static FAIL_ROW: Statement = Statement::new(
    "fail_row",
    "UPDATE :table SET :failure WHERE :held[ AND :wait]",
);

/// Gives rows back unworked.
pub static RELEASE_ROWS: Statement = Statement::new(
    "release_rows",
    "UPDATE :table SET :release WHERE :any_held[ AND :wait]",
);

/// Takes the row for this transaction. Not from those who refer to it by a
/// foreign key, where the database can tell.
pub static TAKE_ROW: Statement = Statement::new(
    "take_row",
    "SELECT :fields FROM :table WHERE :held :lock_rows",
)
.reads(&[Key]);

/// Writes the user's columns in mid-run, and renews the lock.
pub static SAVE_ROW: Statement = Statement::new(
    "save_row",
    "UPDATE :table SET :lock_at = :stamp, :update_at = :stamp[, :changes] WHERE :held[ AND :wait]",
)
.reads(&[LockAt])
.or_else_by(&LOCK_TIME);

pub static LOCK_TIME: Statement =
    Statement::new("lock_time", "SELECT :fields FROM :table WHERE :held").reads(&[LockAt]);

/// Renews the locks of several attempts.
pub static RENEW_ROWS: Statement = Statement::new(
    "renew_rows",
    "UPDATE :table SET :lock_at = :stamp WHERE :any AND :lock IN (:tokens)[ AND :wait]",
)
.reads(RENEWED)
.or_else_by(&RENEWED_ROWS);

pub static RENEWED_ROWS: Statement = Statement::new(
    "renewed_rows",
    "SELECT :fields FROM :table WHERE :any AND :lock IN (:tokens)",
)
.reads(RENEWED);

// Attempts whose worker is presumed dead.

/// The oldest lock first.
pub static DEAD_KEYS: Statement = Statement::new(
    "dead_keys",
    "SELECT :fields FROM :table WHERE :expired ORDER BY :lock_at LIMIT :limit",
)
.reads(&[Key]);

pub static DEAD_ATTEMPT: Statement = Statement::new(
    "dead_attempt",
    "SELECT :fields FROM :table WHERE :is AND :expired",
)
.reads(DEAD);

/// Ends a dead attempt, unless it was renewed or finished meanwhile.
pub static EXPIRE_ROW: Statement = Statement::new(
    "expire_row",
    "UPDATE :table SET :failure WHERE :held AND :expired[ AND :wait]",
);

// Whole tables.

/// Back to pending, except rows that somebody holds or that are another step's.
pub static RESET_ROWS: Statement = Statement::new(
    "reset_rows",
    "UPDATE :table SET :reset WHERE :any_given AND :free[ AND :wait]",
);

pub static STALE_KEYS: Statement = Statement::new(
    "stale_keys",
    "SELECT :fields FROM :table WHERE :stale LIMIT :limit",
)
.reads(&[Key]);

/// Deletes those of the rows that are still stale.
pub static DELETE_STALE_ROWS: Statement = Statement::new(
    "delete_stale_rows",
    "DELETE FROM :table WHERE :any AND :stale[ AND :wait]",
);

pub static ROW: Statement =
    Statement::new("row", "SELECT :fields FROM :table WHERE :is").reads(&[Row]);

/// A row as others have committed it, whatever this transaction has read before.
pub static ROW_NOW: Statement =
    Statement::new("row_now", "SELECT :fields FROM :table WHERE :is FOR UPDATE").reads(&[Key]);

/// Whether there is such a row.
pub static ROW_KEY: Statement =
    Statement::new("row_key", "SELECT :fields FROM :table WHERE :is").reads(&[Key]);

pub static OLDEST_ROWS: Statement = Statement::new(
    "oldest_rows",
    "SELECT :fields FROM :table WHERE :status IN (:statuses) ORDER BY :update_at ASC LIMIT :limit",
)
.reads(&[Row]);

pub static NEWEST_ROWS: Statement = Statement::new(
    "newest_rows",
    "SELECT :fields FROM :table WHERE :status IN (:statuses) ORDER BY :update_at DESC LIMIT :limit",
)
.reads(&[Row]);

pub static STATUS_COUNTS: Statement = Statement::new(
    "status_counts",
    "SELECT :fields FROM :table GROUP BY :status",
)
.reads(&[Status, Count]);

/// All of them, for the tests that hold each text.
#[cfg(test)]
pub static ALL: &[&Statement] = &[
    &CLAIM_ROW,
    &CLAIMED_ROW,
    &CLAIMED_KEYS,
    &CLAIM_NEXT,
    &READY_ROWS,
    &READY_ROWS_BY_STATUS,
    &LOCK_READY_ROWS,
    &CLAIM_ROWS,
    &CLAIMED_ROWS,
    &FREE_KEYS,
    &ROW_STATE,
    &RETRIES,
    &SUCCEED_ROW,
    &SUCCEED_ROWS,
    &FAIL_ROW,
    &RELEASE_ROWS,
    &TAKE_ROW,
    &SAVE_ROW,
    &LOCK_TIME,
    &RENEW_ROWS,
    &RENEWED_ROWS,
    &DEAD_KEYS,
    &DEAD_ATTEMPT,
    &EXPIRE_ROW,
    &RESET_ROWS,
    &STALE_KEYS,
    &DELETE_STALE_ROWS,
    &ROW,
    &ROW_NOW,
    &ROW_KEY,
    &OLDEST_ROWS,
    &NEWEST_ROWS,
    &STATUS_COUNTS,
];
