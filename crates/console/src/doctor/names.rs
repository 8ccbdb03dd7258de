//! The names of a table as SQL has them.

use std::time::Duration;

use diesel_status_tracker::{Role, StatusCode, TableInfo};

use crate::catalog::{Catalog, DatabaseKind};
use crate::migration::literal;
use crate::roles::usual_name;

/// The names of a table as SQL has them, and its clock.
pub(super) struct Sql<'a> {
    pub database: DatabaseKind,
    pub info: &'a TableInfo,
    pub table: String,
    pub key: String,
    pub status: String,
    pub update_at: String,
    pub lock: String,
    pub lock_at: String,
}

impl<'a> Sql<'a> {
    pub fn of(catalog: &Catalog, info: &'a TableInfo) -> Self {
        let database = catalog.database;
        let column = |role| database.written(info.column(role).unwrap_or(usual_name(role)));
        let key: Vec<_> = info.key().map(|name| database.written(name)).collect();
        Self {
            database,
            info,
            table: catalog.written(),
            key: key.join(", "),
            status: column(Role::Status),
            update_at: column(Role::UpdateAt),
            lock: column(Role::Lock),
            lock_at: column(Role::LockAt),
        }
    }

    /// The tracked columns of some roles, with commas between.
    pub fn columns(&self, is_meant: impl Fn(Role) -> bool) -> String {
        let roles = Role::ALL.iter().filter(|(_, role)| is_meant(*role));
        let names = roles.filter_map(|(_, role)| self.info.column(*role));
        let names: Vec<_> = names.map(|name| self.database.written(name)).collect();
        names.join(", ")
    }

    /// So many seconds before now, as the column of this role holds times.
    pub fn ago(&self, role: Role, duration: Duration) -> String {
        self.at(role, &format!("- {}", duration.as_secs()))
    }

    /// A code as SQL has it.
    pub fn code(&self, code: &StatusCode) -> String {
        literal(self.database, code)
    }

    /// Codes with commas between.
    pub fn list<'c>(&self, codes: impl Iterator<Item = &'c StatusCode>) -> String {
        codes
            .map(|code| self.code(code))
            .collect::<Vec<_>>()
            .join(", ")
    }

    /// So many seconds from now; `offset` is a sign and a number.
    pub fn at(&self, role: Role, offset: &str) -> String {
        let is_zoned = self.info.is_zoned(role);
        match self.database {
            DatabaseKind::Postgres => {
                let zone = if is_zoned { "" } else { " AT TIME ZONE 'UTC'" };
                format!("(statement_timestamp(){zone} + interval '{offset} seconds')")
            }
            DatabaseKind::Mysql => format!("(utc_timestamp(6) + INTERVAL {offset} SECOND)"),
            DatabaseKind::Sqlite => {
                let zone = if is_zoned { "+00:00" } else { "" };
                let offset = offset.replace(' ', "");
                format!("strftime('%Y-%m-%d %H:%M:%f{zone}', 'now', '{offset} seconds')")
            }
        }
    }
}
