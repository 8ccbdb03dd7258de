//! An enum of connections, as a program has one that learns from its settings which
//! database it uses.

use diesel::prelude::*;
use diesel_status_tracker::{ConnectionEnum, InnerConnection};

#[derive(diesel::MultiConnection)]
pub enum DbConnection {
    Postgres(PgConnection),
    Mysql(MysqlConnection),
    Sqlite(SqliteConnection),
}

impl ConnectionEnum for DbConnection {
    fn inner(&mut self) -> InnerConnection<'_> {
        match self {
            Self::Postgres(conn) => InnerConnection::Postgres(conn),
            Self::Mysql(conn) => InnerConnection::Mysql(conn),
            Self::Sqlite(conn) => InnerConnection::Sqlite(conn),
        }
    }
}
