//! Every statement of the console, once, for all tables and all databases.
//!
//! A text has named parts, each a word after a colon: `:table`, a column by its role
//! (`:update_at`), and what the query that uses the text gives. What comes back is
//! text in every column.

/// One statement.
#[derive(Debug)]
pub(crate) struct Statement {
    /// Its name in messages.
    pub name: &'static str,
    pub text: &'static str,
    /// What to do where it takes too long.
    pub way_out: &'static str,
}

macro_rules! statements {
    ($($(#[$doc:meta])* $NAME:ident = $text:expr, slow: $way_out:expr;)*) => {
        $($(#[$doc])* pub(crate) static $NAME: Statement = Statement {
            name: stringify!($NAME), text: $text, way_out: $way_out,
        };)*
    };
}

statements! {
    /// The database's clock.
    NOW = "SELECT :now_micros", slow: "look whether the server is overloaded";

    /// How many rows there are, up to a cap.
    COUNT = "SELECT :counted FROM (SELECT 1 FROM :table WHERE :condition LIMIT :cap) AS tracker_counted",
        slow: "an index on the status and `update_at` would help";

    /// The next rows by their key, whatever their status.
    #[cfg_attr(not(feature = "cli"), allow(dead_code))]
    EXPORTED = "SELECT :columns FROM :table WHERE :condition ORDER BY :order LIMIT :limit",
        slow: "look whether the server is overloaded";

    /// The status codes of the first rows.
    #[cfg_attr(not(feature = "cli"), allow(dead_code))]
    FIRST_CODES = "SELECT DISTINCT :code FROM (SELECT :status AS tracker_code FROM :table LIMIT :cap) AS tracker_first",
        slow: "look whether the server is overloaded";

    /// How many rows the planner expects.
    ESTIMATE = "EXPLAIN :as_json SELECT 1 FROM :table WHERE :condition",
        slow: "look whether the server is overloaded";

    /// The ready row that has not changed for longest, and before when it may not run.
    OLDEST_READY = "SELECT :update_micros, :run_micros FROM :table WHERE :condition ORDER BY :update_at LIMIT 1",
        slow: "the index `…_ready` of the documentation would help";

    /// Changes by status and minute, of so many rows at most, the newest first.
    PER_MINUTE = "SELECT :code, :minute, :counted FROM (SELECT :status AS tracker_code, :update_at AS tracker_time \
        FROM :table WHERE :condition ORDER BY :update_at DESC LIMIT :cap) AS tracker_recent GROUP BY 1, 2",
        slow: "an index on `update_at` of the finished rows, as the documentation gives it for `prune`, would help";

    /// Rows of a list: the first of each branch, and the first of those.
    JOBS = "SELECT :names FROM (:branches) AS tracker_jobs ORDER BY :outer_order LIMIT :limit",
        slow: "choose one status or a shorter time; an index on the status and the time of the order would help";

    /// One branch of [`JOBS`].
    JOBS_BRANCH = "SELECT * FROM (SELECT :columns FROM :table WHERE :condition ORDER BY :order LIMIT :limit) AS :alias",
        slow: "";

    /// The errors of one row, as text.
    DOCUMENT = "SELECT :document FROM :table WHERE :condition", slow: "look who holds the table";

    /// How long finished jobs ran, and how long after their creation they ended, in
    /// microseconds; the newest first.
    DURATIONS = "SELECT :ran, :took FROM :table WHERE :condition ORDER BY :update_at DESC LIMIT :cap",
        slow: "an index on `update_at` of the finished rows, as the documentation gives it for `prune`, would help";
}
