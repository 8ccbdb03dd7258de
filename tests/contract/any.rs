//! An enum of connections, as a program has one that learns from its settings which
//! database it uses.
#![allow(
    irrefutable_let_patterns,
    reason = "Diesel's derive, where one database's feature is on"
)]

use diesel::prelude::*;
use diesel_status_tracker::{ConnectionEnum, InnerConnection};

#[derive(diesel::MultiConnection)]
pub enum DbConnection {
    #[cfg(feature = "postgres")]
    Postgres(PgConnection),
    #[cfg(feature = "mysql")]
    Mysql(MysqlConnection),
    #[cfg(feature = "sqlite")]
    Sqlite(SqliteConnection),
}

impl ConnectionEnum for DbConnection {
    fn inner(&mut self) -> InnerConnection<'_> {
        match self {
            #[cfg(feature = "postgres")]
            Self::Postgres(conn) => InnerConnection::Postgres(conn),
            #[cfg(feature = "mysql")]
            Self::Mysql(conn) => InnerConnection::Mysql(conn),
            #[cfg(feature = "sqlite")]
            Self::Sqlite(conn) => InnerConnection::Sqlite(conn),
        }
    }
}
