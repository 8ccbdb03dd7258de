//! CockroachDB, as a sketch: it speaks PostgreSQL's protocol through Diesel's
//! `PgConnection`, and some of its SQL differs. A test writes every statement for it,
//! which shows that such a server needs no connection type of its own. None has been
//! sent to a server.

use super::{Dialect, Wait, postgres};

pub(crate) static COCKROACH: Dialect = Dialect {
    number: 3,
    // Its planner takes the primary key for one row either way, and looks up
    // `IS NOT DISTINCT FROM` in no index.
    bears_token: ":lock = :token",
    // There is one lock on a row, by this name.
    lock_rows: "FOR UPDATE",
    // The rows of a list have no order that it promises.
    inserts_lists: false,
    // Its order is this one without being told.
    null_before_all: [" ASC", " DESC"],
    // A setting cannot be limited to the transaction within a statement: the
    // session's `lock_timeout` limits the wait.
    wait: |_| Wait::EMPTY,
    ..postgres::DIALECT
};
