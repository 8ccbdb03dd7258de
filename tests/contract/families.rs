//! All families of tests, listed once: this file is compiled for each database.
//!
//! `only!` keeps what stands after the names of some databases, where this one is
//! among them.

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
mod described;
#[path = "described/keys.rs"]
mod described_keys;
#[path = "described/pages.rs"]
mod described_pages;
#[path = "described/seen.rs"]
mod described_seen;
mod expire;
mod filter;
#[path = "filter/changing.rs"]
mod filter_changing;
mod generated;
mod guard;
mod jobs;
mod keys;
mod limits;
mod managers;
mod messages;
mod neighbours;
mod next;
mod observers;
#[path = "observers/guests.rs"]
mod observers_guests;
mod panics;
#[path = "panics/values.rs"]
mod panics_of_values;
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
mod shapes;
mod statements;
mod tasks;
mod transaction;
#[path = "transaction/connections.rs"]
mod transaction_connections;
#[path = "transaction/killed.rs"]
mod transaction_killed;
mod worker;
#[path = "worker/ends.rs"]
mod worker_ends;
#[path = "worker/listen.rs"]
mod worker_listen;
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
#[path = "worker/wakes.rs"]
mod worker_wakes;

only! { [sqlite]
    #[path = "backend/sqlite.rs"]
    mod backend;
    #[path = "columns/sqlite.rs"]
    mod own_columns;
    #[path = "backend/sqlite_own.rs"]
    mod own_faults;
    #[path = "statements/sqlite.rs"]
    mod own_statements;
    #[path = "transaction/sqlite.rs"]
    mod own_transactions;
    #[path = "sessions/sqlite.rs"]
    mod sessions;
    #[path = "worker/listen_sqlite.rs"]
    mod worker_listen_sqlite;
}

only! { [postgres]
    #[path = "backend/postgres.rs"]
    mod backend;
    #[path = "described/postgres.rs"]
    mod described_own;
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
    mod pgbouncer;
    #[path = "sessions/postgres.rs"]
    mod sessions;
    #[path = "worker/listen_postgres.rs"]
    mod worker_listen_postgres;
}

only! { [mysql]
    #[path = "backend/mysql.rs"]
    mod backend;
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
    #[path = "sessions/mysql.rs"]
    mod sessions;
}

only! { [postgres mysql]
    mod ambiguous;
    mod cuts;
    #[path = "described/servers.rs"]
    mod described_servers;
    mod faults;
    #[path = "filter/held.rs"]
    mod filter_held;
    #[path = "neighbours/held.rs"]
    mod held_rows;
    #[path = "neighbours/held_in_bulk.rs"]
    mod held_rows_in_bulk;
    #[path = "statements/waits.rs"]
    mod lock_waits;
    mod proxy;
    #[path = "observers/servers.rs"]
    mod observers_of_servers;
    #[path = "backend/server_own.rs"]
    mod server_faults;
    #[path = "columns/server_schema.rs"]
    mod server_schema;
    #[path = "transaction/servers.rs"]
    mod server_transactions;
    #[path = "worker/cuts.rs"]
    mod worker_cuts;
}

only! { [sqlite mysql]
    #[path = "transaction/savepoint.rs"]
    mod savepoint_transactions;
}
