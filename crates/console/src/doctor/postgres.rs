//! PostgreSQL: cleaning up, old transactions, settings of the session.

use diesel::{PgConnection, QueryResult};
use diesel_status_tracker::{InnerConnection, Role, TableInfo};

use super::{Finding, Limits, Severity};
use crate::catalog::Catalog;
use crate::sql::doctor as sql;

/// So few dead rows cost nothing.
const FEW: i64 = 10_000;

pub(super) fn check(
    conn: &mut PgConnection,
    catalog: &Catalog,
    info: &TableInfo,
    limits: Limits,
) -> QueryResult<Vec<Finding>> {
    let table = catalog.written();
    let facts = sql::postgres(conn, &table)?;
    let mut findings = Vec::new();
    if facts.dead > FEW && facts.dead > facts.live {
        findings.push(
            Finding::new(
                "dead_rows",
                Severity::Warning,
                format!(
                    "the table has {} dead rows beside {} live ones: scans pass over them",
                    facts.dead, facts.live
                ),
            )
            .mended_by(format!("VACUUM (ANALYZE) {table};")),
        );
    }
    if !facts.vacuums_server {
        findings.push(
            Finding::new(
                "autovacuum",
                Severity::Warning,
                "autovacuum is off on the server: the table, which changes much, grows without end",
            )
            .mended_by("ALTER SYSTEM SET autovacuum = on; SELECT pg_reload_conf();"),
        );
    }
    if !facts.vacuums_table {
        findings.push(
            Finding::new(
                "autovacuum",
                Severity::Warning,
                "autovacuum is off for the table, which changes much: it grows without end",
            )
            .mended_by(format!("ALTER TABLE {table} RESET (autovacuum_enabled);")),
        );
    }
    if facts.isolation != "read committed" {
        findings.push(Finding::new(
            "isolation",
            Severity::Note,
            format!(
                "sessions begin with the isolation level {}: jobs in a transaction may conflict, and are run again",
                facts.isolation
            ),
        ));
    }
    let has_plain_times = [Role::CreateAt, Role::UpdateAt, Role::LockAt]
        .into_iter()
        .any(|role| !info.is_zoned(role));
    let is_utc = matches!(
        &*facts.time_zone,
        "UTC" | "Etc/UTC" | "GMT" | "Etc/GMT" | "Zulu" | "UCT"
    );
    if has_plain_times && !is_utc {
        findings.push(Finding::new(
            "time_zone",
            Severity::Note,
            format!(
                "sessions begin with the time zone {}, and the table has times without a zone, which are UTC: SQL of your own is to write (now() AT TIME ZONE 'UTC'), for now() alone is local time there",
                facts.time_zone
            ),
        ));
    }
    let seconds = i64::try_from(limits.transaction.as_secs()).unwrap_or(i64::MAX);
    for session in sql::old_sessions(conn, seconds)? {
        findings.push(
            Finding::new(
                "old_transaction",
                Severity::Warning,
                format!(
                    "a transaction of {} is open for {} s: finished jobs stay in the indexes as long as it may read them",
                    session.who, session.seconds
                ),
            )
            .mended_by(format!("SELECT pg_terminate_backend({});", session.pid)),
        );
    }
    Ok(findings)
}

/// Whether there is a pooler in between.
pub(super) fn pooler(
    one: InnerConnection<'_>,
    other: InnerConnection<'_>,
) -> QueryResult<Vec<Finding>> {
    let (InnerConnection::Postgres(one), InnerConnection::Postgres(other)) = (one, other) else {
        return Ok(Vec::new());
    };
    if !sql::share_sessions(one, other)? {
        return Ok(Vec::new());
    }
    Ok(vec![Finding::new(
        "pooler",
        Severity::Note,
        "a pooler gives each transaction another session: the program that works on the table has to switch prepared statements off (`postgres::Customizer`)",
    )])
}
