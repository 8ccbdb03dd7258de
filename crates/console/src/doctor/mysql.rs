//! MySQL and MariaDB: engine, strictness, durability.

use diesel::{MysqlConnection, QueryResult};

use super::{Finding, Severity};
use crate::catalog::Catalog;
use crate::sql::doctor as sql;

/// MySQL has no limit for the wait of one statement.
const LONG_WAIT: i64 = 10;

pub(super) fn check(conn: &mut MysqlConnection, catalog: &Catalog) -> QueryResult<Vec<Finding>> {
    let facts = sql::mysql(conn, catalog.schema.as_deref(), &catalog.name)?;
    let mut findings = Vec::new();
    let engine = facts.engine.unwrap_or_default();
    if !engine.eq_ignore_ascii_case("InnoDB") {
        findings.push(
            Finding::new(
                "engine",
                Severity::Broken,
                format!("the table's engine is {engine}, which has no transactions: a claim may be half done"),
            )
            .mended_by(format!("ALTER TABLE {} ENGINE = InnoDB;", catalog.written())),
        );
    }
    if !facts.sql_mode.contains("STRICT_") {
        findings.push(
            Finding::new(
                "strict_mode",
                Severity::Warning,
                "the session is not strict: what does not fit into a column is cut without an error",
            )
            .mended_by("SET GLOBAL sql_mode = concat(@@GLOBAL.sql_mode, ',STRICT_TRANS_TABLES');"),
        );
    }
    if facts.flush != 1 {
        findings.push(
            Finding::new(
                "flush_at_commit",
                Severity::Note,
                format!(
                    "innodb_flush_log_at_trx_commit is {}: a power cut may undo the last second of claims and successes, and those jobs run again",
                    facts.flush
                ),
            )
            .mended_by("SET GLOBAL innodb_flush_log_at_trx_commit = 1;"),
        );
    }
    if !facts.version.contains("MariaDB") && facts.lock_wait > LONG_WAIT {
        findings.push(
            Finding::new(
                "lock_wait",
                Severity::Warning,
                format!(
                    "innodb_lock_wait_timeout is {} s: so long a call may wait for a row that another transaction holds",
                    facts.lock_wait
                ),
            )
            .mended_by("SET GLOBAL innodb_lock_wait_timeout = 3;"),
        );
    }
    Ok(findings)
}
