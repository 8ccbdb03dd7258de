//! The contract over an enum of connections: see `contract.rs`, which has the promises.
#![allow(
    clippy::duplicate_mod,
    reason = "each family is compiled once for each database"
)]
#![allow(
    clippy::type_complexity,
    clippy::unit_arg,
    reason = "a handler, and a table of handlers, in one line"
)]

#[path = "contract/macros.rs"]
#[macro_use]
mod macros;

#[path = "contract/any.rs"]
mod any;

/// Families over an enum of connections.
#[path = "contract"]
#[allow(dead_code, unused_imports, reason = "the other families use them")]
mod any_sqlite {
    macro_rules! tracked { ($($table:tt)+) => {
        const _: () = {
            use crate::any::DbConnection;
            tracked_over! { [SqliteConnection, DbConnection] $($table)+ }
        };
    } }
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
    mod described;
    mod jobs;
    #[path = "any/own.rs"]
    mod own;
    #[path = "database.rs"]
    mod plain;
    mod run;
    mod worker;
}

/// Families over an enum of connections.
#[path = "contract"]
#[allow(dead_code, unused_imports, reason = "the other families use them")]
mod any_postgres {
    macro_rules! tracked { ($($table:tt)+) => {
        const _: () = {
            use crate::any::DbConnection;
            tracked_over! { [PgConnection, DbConnection] $($table)+ }
        };
    } }
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
    mod described;
    mod jobs;
    #[path = "any/own.rs"]
    mod own;
    #[path = "database.rs"]
    mod plain;
    mod run;
    mod worker;
}

/// Families over an enum of connections.
#[path = "contract"]
#[allow(dead_code, unused_imports, reason = "the other families use them")]
mod any_mysql {
    macro_rules! tracked { ($($table:tt)+) => {
        const _: () = {
            use crate::any::DbConnection;
            tracked_over! { [MysqlConnection, DbConnection] $($table)+ }
        };
    } }
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
    mod described;
    mod jobs;
    #[path = "any/own.rs"]
    mod own;
    #[path = "database.rs"]
    mod plain;
    mod run;
    mod worker;
}
