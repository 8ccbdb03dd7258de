//! The contract of every call, the database as parameter: one file a family in
//! `contract/`, run once for each database whose feature is on.
//!
//! A family does not know its database: it names `super::database` alone, which
//! opens a fresh database for each test. What only one database can do, or get
//! wrong, is in `contract/columns/` and `contract/backend/`. PostgreSQL and
//! MySQL are those that POSTGRES_URL and MYSQL_URL name:
//! `scripts/with-servers cargo test --all-features`.
#![allow(
    clippy::duplicate_mod,
    reason = "each family is compiled once for each database"
)]
#![allow(
    clippy::type_complexity,
    clippy::unit_arg,
    reason = "a handler, and a table of handlers, in one line"
)]

/// A step with the codes of `Status`, and what else it sets.
macro_rules! step {
    ($Step:ident on $Job:ident { $($more:tt)* }) => {
        impl diesel_status_tracker::StatusTracked for $Step {
            type Job = $Job;
            const PENDING: Status = Status::Pending;
            const IN_PROGRESS: Status = Status::InProgress;
            const FAILED: Status = Status::Failed;
            const SUCCEEDED: Status = Status::Succeeded;
            const IGNORED: Status = Status::Ignored;
            $($more)*
        }
    };
}

/// `job_table!` over these connections. Each module has a `tracked!` of this, since
/// `job_table!` knows connections by their names and sees through no alias.
macro_rules! tracked_over {
    ([$($Connection:ident),+] $Job:ident in $table:ident {
        key: $key:tt, status: $Status:ty, updates: $Updates:ty $(, $($more:tt)*)?
    }) => {
        diesel_status_tracker::job_table! {
            $Job in $table { key: $key, status: $Status, updates: $Updates, connections: [$($Connection),+] $(, $($more)*)? }
        }
    };
}

#[cfg(feature = "sqlite")]
#[path = "contract"]
mod sqlite {
    macro_rules! tracked { ($($table:tt)+) => { tracked_over! { [SqliteConnection] $($table)+ } } }

    #[path = "backend/sqlite.rs"]
    mod backend;
    mod bad_input;
    mod bad_rows;
    mod bad_setup;
    mod batch;
    mod bulk;
    mod clocks;
    mod columns;
    mod concurrency;
    mod crash;
    mod create;
    mod database;
    mod expire;
    mod guard;
    mod jobs;
    mod keys;
    mod limits;
    mod managers;
    mod messages;
    mod neighbours;
    mod next;
    #[path = "columns/sqlite.rs"]
    mod own_columns;
    #[path = "backend/sqlite_own.rs"]
    mod own_faults;
    #[path = "statements/sqlite.rs"]
    mod own_statements;
    #[path = "transaction/sqlite.rs"]
    mod own_transactions;
    mod panics;
    mod passing;
    mod pipeline;
    #[path = "statements/plans.rs"]
    mod plans;
    mod pools;
    mod process;
    mod races;
    mod random;
    mod read;
    mod redact;
    mod reset;
    mod retry;
    mod run;
    #[path = "transaction/savepoint.rs"]
    mod savepoint_transactions;
    #[path = "sessions/sqlite.rs"]
    mod sessions;
    mod shapes;
    mod statements;
    mod tasks;
    mod transaction;
    mod worker;
    #[path = "worker/ends.rs"]
    mod worker_ends;
    #[path = "worker/locks.rs"]
    mod worker_locks;
    #[path = "worker/processes.rs"]
    mod worker_processes;
    #[path = "worker/statements.rs"]
    mod worker_statements;
    #[path = "worker/stop.rs"]
    mod worker_stop;
    #[path = "worker/tasks.rs"]
    mod worker_tasks;
    #[path = "worker/told.rs"]
    mod worker_told;
    #[path = "worker/transactions.rs"]
    mod worker_transactions;
}

#[cfg(feature = "postgres")]
#[path = "contract"]
mod postgres {
    macro_rules! tracked { ($($table:tt)+) => { tracked_over! { [PgConnection] $($table)+ } } }

    mod ambiguous;
    #[path = "backend/postgres.rs"]
    mod backend;
    mod bad_input;
    mod bad_rows;
    mod bad_setup;
    mod batch;
    mod bulk;
    mod clocks;
    mod columns;
    mod concurrency;
    mod crash;
    mod create;
    mod cuts;
    mod database;
    mod expire;
    mod faults;
    mod guard;
    #[path = "neighbours/held.rs"]
    mod held_rows;
    mod jobs;
    mod keys;
    mod limits;
    #[path = "statements/waits.rs"]
    mod lock_waits;
    mod managers;
    mod messages;
    mod neighbours;
    mod next;
    #[path = "columns/postgres.rs"]
    mod own_columns;
    #[path = "messages/postgres.rs"]
    mod own_messages;
    #[path = "passing/postgres.rs"]
    mod own_passing;
    #[path = "statements/postgres.rs"]
    mod own_statements;
    #[path = "transaction/postgres.rs"]
    mod own_transactions;
    mod panics;
    mod passing;
    mod pgbouncer;
    mod pipeline;
    #[path = "statements/plans.rs"]
    mod plans;
    mod pools;
    mod process;
    mod proxy;
    mod races;
    mod random;
    mod read;
    mod redact;
    mod reset;
    mod retry;
    mod run;
    #[path = "backend/server_own.rs"]
    mod server_faults;
    #[path = "columns/server_schema.rs"]
    mod server_schema;
    #[path = "transaction/servers.rs"]
    mod server_transactions;
    #[path = "sessions/postgres.rs"]
    mod sessions;
    mod shapes;
    mod statements;
    mod tasks;
    mod transaction;
    mod worker;
    #[path = "worker/cuts.rs"]
    mod worker_cuts;
    #[path = "worker/ends.rs"]
    mod worker_ends;
    #[path = "worker/locks.rs"]
    mod worker_locks;
    #[path = "worker/processes.rs"]
    mod worker_processes;
    #[path = "worker/statements.rs"]
    mod worker_statements;
    #[path = "worker/stop.rs"]
    mod worker_stop;
    #[path = "worker/tasks.rs"]
    mod worker_tasks;
    #[path = "worker/told.rs"]
    mod worker_told;
    #[path = "worker/transactions.rs"]
    mod worker_transactions;
}

#[cfg(feature = "mysql")]
#[path = "contract"]
mod mysql {
    macro_rules! tracked { ($($table:tt)+) => { tracked_over! { [MysqlConnection] $($table)+ } } }

    mod ambiguous;
    #[path = "backend/mysql.rs"]
    mod backend;
    mod bad_input;
    mod bad_rows;
    mod bad_setup;
    mod batch;
    mod bulk;
    mod clocks;
    mod columns;
    mod concurrency;
    mod crash;
    mod create;
    mod cuts;
    mod database;
    mod expire;
    mod faults;
    mod guard;
    #[path = "neighbours/held.rs"]
    mod held_rows;
    mod jobs;
    mod keys;
    mod limits;
    #[path = "statements/waits.rs"]
    mod lock_waits;
    mod managers;
    mod messages;
    mod neighbours;
    mod next;
    #[path = "columns/mysql.rs"]
    mod own_columns;
    #[path = "backend/mysql_own.rs"]
    mod own_faults;
    #[path = "passing/mysql.rs"]
    mod own_passing;
    #[path = "statements/mysql.rs"]
    mod own_statements;
    #[path = "transaction/mysql.rs"]
    mod own_transactions;
    mod panics;
    mod passing;
    mod pipeline;
    #[path = "statements/plans.rs"]
    mod plans;
    mod pools;
    mod process;
    mod proxy;
    mod races;
    mod random;
    mod read;
    mod redact;
    mod reset;
    mod retry;
    mod run;
    #[path = "transaction/savepoint.rs"]
    mod savepoint_transactions;
    #[path = "backend/server_own.rs"]
    mod server_faults;
    #[path = "columns/server_schema.rs"]
    mod server_schema;
    #[path = "transaction/servers.rs"]
    mod server_transactions;
    #[path = "sessions/mysql.rs"]
    mod sessions;
    mod shapes;
    mod statements;
    mod tasks;
    mod transaction;
    mod worker;
    #[path = "worker/cuts.rs"]
    mod worker_cuts;
    #[path = "worker/ends.rs"]
    mod worker_ends;
    #[path = "worker/locks.rs"]
    mod worker_locks;
    #[path = "worker/processes.rs"]
    mod worker_processes;
    #[path = "worker/statements.rs"]
    mod worker_statements;
    #[path = "worker/stop.rs"]
    mod worker_stop;
    #[path = "worker/tasks.rs"]
    mod worker_tasks;
    #[path = "worker/told.rs"]
    mod worker_told;
    #[path = "worker/transactions.rs"]
    mod worker_transactions;
}

#[path = "contract/any.rs"]
mod any;

/// Families over an enum of connections.
#[cfg(feature = "sqlite")]
#[path = "contract"]
#[allow(dead_code, unused_imports, reason = "the other families use them")]
mod any_sqlite {
    macro_rules! tracked { ($($table:tt)+) => {
        const _: () = {
            use crate::any::DbConnection;
            tracked_over! { [SqliteConnection, DbConnection] $($table)+ }
        };
    } }
    #[cfg(all(feature = "sqlite", feature = "postgres"))]
    macro_rules! tracked_elsewhere { ($($table:tt)+) => {
        const _: () = {
            use crate::any::DbConnection;
            tracked_over! { [PgConnection, DbConnection] $($table)+ }
        };
    } }

    #[path = "backend/sqlite.rs"]
    mod backend;
    #[path = "any/database.rs"]
    mod database;
    mod jobs;
    #[path = "any/own.rs"]
    mod own;
    #[path = "database.rs"]
    mod plain;
    mod run;
    mod worker;
}

/// Families over an enum of connections.
#[cfg(feature = "postgres")]
#[path = "contract"]
#[allow(dead_code, unused_imports, reason = "the other families use them")]
mod any_postgres {
    macro_rules! tracked { ($($table:tt)+) => {
        const _: () = {
            use crate::any::DbConnection;
            tracked_over! { [PgConnection, DbConnection] $($table)+ }
        };
    } }
    #[cfg(all(feature = "sqlite", feature = "postgres"))]
    macro_rules! tracked_elsewhere { ($($table:tt)+) => {
        const _: () = {
            use crate::any::DbConnection;
            tracked_over! { [SqliteConnection, DbConnection] $($table)+ }
        };
    } }

    #[path = "backend/postgres.rs"]
    mod backend;
    #[path = "any/database.rs"]
    mod database;
    mod jobs;
    #[path = "any/own.rs"]
    mod own;
    #[path = "database.rs"]
    mod plain;
    mod run;
    mod worker;
}

/// Families over an enum of connections.
#[cfg(feature = "mysql")]
#[path = "contract"]
#[allow(dead_code, unused_imports, reason = "the other families use them")]
mod any_mysql {
    macro_rules! tracked { ($($table:tt)+) => {
        const _: () = {
            use crate::any::DbConnection;
            tracked_over! { [MysqlConnection, DbConnection] $($table)+ }
        };
    } }
    #[cfg(all(feature = "sqlite", feature = "postgres"))]
    macro_rules! tracked_elsewhere { ($($table:tt)+) => {
        const _: () = {
            use crate::any::DbConnection;
            tracked_over! { [SqliteConnection, DbConnection] $($table)+ }
        };
    } }

    #[path = "backend/mysql.rs"]
    mod backend;
    #[path = "any/database.rs"]
    mod database;
    mod jobs;
    #[path = "any/own.rs"]
    mod own;
    #[path = "database.rs"]
    mod plain;
    mod run;
    mod worker;
}
