//! Each fault is made on a real database and found; a healthy table has none.

use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use diesel::r2d2::{ConnectionManager, Pool};
use diesel_status_console::{
    ConsoleConnection, Finding, Limits, Severity, Source, doctor, migration, tracking,
};
use diesel_status_tracker::{DescribedTable, Role, StatusCode, StepCodes, StepInfo, TableInfo};
use std::time::Duration;

use crate::database::{Kind, TestDatabase, databases};

#[path = "doctor/databases.rs"]
mod databases;

/// A table with everything that the tracker needs, one job a status.
fn healthy(database: &TestDatabase) -> TableInfo {
    database.sql(database.pick(
        "PRAGMA journal_mode = WAL; CREATE TABLE jobs (id INTEGER NOT NULL PRIMARY KEY)",
        "CREATE TABLE jobs (id INTEGER NOT NULL PRIMARY KEY)",
        "CREATE TABLE jobs (id INTEGER NOT NULL PRIMARY KEY)",
    ));
    let catalog = database.catalog("jobs");
    let info = tracking(&catalog, &[(Role::RunAt, "run_at".into())], &[]).unwrap();
    database.sql(&migration(&catalog, &info, None).unwrap().up);
    database
        .sql("INSERT INTO jobs (id, status) VALUES (1, 10), (2, 20), (3, 30), (4, 40), (5, 50)");
    let now = now(database);
    database.sql(&format!(
        "UPDATE jobs SET create_at = {now}, update_at = {now}"
    ));
    database.sql(&format!(
        "UPDATE jobs SET {lock} = 'a', lock_at = {now} WHERE id = 2",
        lock = lock(database)
    ));
    info
}

fn now(database: &TestDatabase) -> &'static str {
    match database.kind {
        Kind::Sqlite => "strftime('%Y-%m-%d %H:%M:%f', 'now')",
        Kind::Postgres => "(now() AT TIME ZONE 'UTC')",
        Kind::Mysql => "utc_timestamp(6)",
    }
}

fn lock(database: &TestDatabase) -> &'static str {
    match database.kind {
        Kind::Mysql => "`lock`",
        _ => "lock",
    }
}

fn source(database: &TestDatabase, info: &TableInfo) -> Source {
    let manager = ConnectionManager::<ConsoleConnection>::new(&database.url);
    let pool = Pool::builder()
        .max_size(2)
        .min_idle(Some(1))
        .connection_customizer(Box::new(Busy))
        .build(manager)
        .unwrap();
    Source::new(DescribedTable::new(info.clone()), pool)
}

/// What the tracker's own customizer sets.
#[derive(Debug)]
struct Busy;

impl diesel::r2d2::CustomizeConnection<ConsoleConnection, diesel::r2d2::Error> for Busy {
    fn on_acquire(&self, conn: &mut ConsoleConnection) -> Result<(), diesel::r2d2::Error> {
        if let ConsoleConnection::Sqlite(conn) = conn {
            conn.batch_execute("PRAGMA busy_timeout = 5000").unwrap();
        }
        Ok(())
    }
}

/// What is found, apart from what the test's servers are set up like.
fn found(database: &TestDatabase, info: &TableInfo) -> Vec<Finding> {
    found_with(database, info, Limits::default())
}

fn found_with(database: &TestDatabase, info: &TableInfo, limits: Limits) -> Vec<Finding> {
    let mut findings = doctor(&source(database, info), limits).unwrap();
    findings.retain(|finding| !matches!(finding.check, "flush_at_commit" | "time_zone"));
    findings
}

fn checks(findings: &[Finding]) -> Vec<&'static str> {
    findings.iter().map(|finding| finding.check).collect()
}

/// Makes a fault, sees it found, mends it as the doctor says, and sees it gone.
fn mended(fault: impl Fn(&TestDatabase) -> String, check: &str, severity: Severity) {
    for database in databases() {
        let info = healthy(&database);
        let fault = fault(&database);
        if fault.is_empty() {
            continue;
        }
        database.sql(&fault);
        let findings = found(&database, &info);
        let here = findings.iter().find(|finding| finding.check == check);
        let here = here.unwrap_or_else(|| panic!("{:?}: {findings:?}", database.kind));
        assert_eq!(here.severity, severity, "{here:?}");
        database.sql(here.sql.as_deref().unwrap());
        let left = found(&database, &info);
        assert!(!checks(&left).contains(&check), "{left:?}");
    }
}

#[test]
fn a_healthy_table_has_no_finding() {
    for database in databases() {
        let info = healthy(&database);
        assert_eq!(found(&database, &info), [], "{:?}", database.kind);
    }
}

#[test]
fn a_missing_column_is_found_and_added() {
    mended(
        |_| "ALTER TABLE jobs DROP COLUMN errors".into(),
        "column_missing",
        Severity::Broken,
    );
}

#[test]
fn a_column_of_the_wrong_type_is_found() {
    for database in databases() {
        let info = healthy(&database);
        if database.kind == Kind::Sqlite {
            continue; // Any column holds anything there, and its type cannot be changed.
        }
        database.sql(database.pick(
            "",
            "ALTER TABLE jobs ALTER COLUMN lock TYPE varchar(20)",
            "ALTER TABLE jobs MODIFY update_at DATETIME NOT NULL",
        ));
        let findings = found(&database, &info);
        let wrong = findings
            .iter()
            .find(|finding| finding.check == "column_type")
            .unwrap();
        assert_eq!(wrong.severity, Severity::Broken);
        let words = database.pick("", "32 characters", "DATETIME(6)");
        assert!(wrong.sentence.contains(words), "{wrong:?}");
    }
}

#[test]
fn a_description_that_differs_from_the_table_is_found() {
    let Some(database) = TestDatabase::new(Kind::Postgres) else {
        return;
    };
    let info = healthy(&database);
    database.sql("ALTER TABLE jobs ALTER COLUMN update_at TYPE timestamptz, ALTER COLUMN errors DROP DEFAULT, ALTER COLUMN errors TYPE text");
    let findings = found(&database, &info);
    let wrong = findings
        .iter()
        .filter(|finding| finding.check == "description");
    let said: Vec<_> = wrong.map(|finding| &*finding.sentence).collect();
    assert!(
        said.iter()
            .any(|said| said.contains("`update_at`") && said.contains("has no time zone")),
        "{said:?}"
    );
    assert!(
        said.iter()
            .any(|said| said.contains("`errors`") && said.contains("is Jsonb")),
        "{said:?}"
    );
}

#[test]
fn missing_indexes_are_found_and_made() {
    let drop = |index: &'static str| {
        move |database: &TestDatabase| {
            let on = database.pick("", "", " ON jobs");
            format!("DROP INDEX {index}{on}")
        }
    };
    mended(drop("jobs_ready"), "ready_index", Severity::Warning);
    let other = |database: &TestDatabase| match database.kind {
        Kind::Mysql => String::new(),
        _ => drop("jobs_locked")(database),
    };
    mended(other, "locked_index", Severity::Warning);
}

#[test]
fn an_index_in_another_order_is_a_note() {
    for database in databases() {
        if database.kind == Kind::Mysql {
            continue;
        }
        let info = healthy(&database);
        database.sql("DROP INDEX jobs_ready; CREATE INDEX jobs_by_status ON jobs (status)");
        let findings = found(&database, &info);
        assert_eq!(checks(&findings), ["ready_order"], "{findings:?}");
        assert_eq!(findings[0].severity, Severity::Note);
    }
}

#[test]
fn a_key_that_is_not_unique_is_found() {
    for database in databases() {
        healthy(&database);
        let info = TableInfo::named("jobs")
            .key(["retry"])
            .column(Role::Retry, "id")
            .usual_columns();
        let step = StepInfo::new(
            "job",
            StepCodes {
                pending: 10.into(),
                in_progress: 20.into(),
                failed: 30.into(),
                succeeded: 40.into(),
                ignored: 50.into(),
            },
        );
        let info = info.step(step).build().unwrap();
        let findings = found(&database, &info);
        let key = findings
            .iter()
            .find(|finding| finding.check == "key")
            .unwrap();
        assert_eq!(key.severity, Severity::Broken);
    }
}

#[test]
fn a_padded_key_is_found_on_postgres() {
    let Some(database) = TestDatabase::new(Kind::Postgres) else {
        return;
    };
    database.sql("CREATE TABLE jobs (id CHAR(5) PRIMARY KEY)");
    let catalog = database.catalog("jobs");
    let info = tracking(&catalog, &[], &[]).unwrap();
    database.sql(&migration(&catalog, &info, None).unwrap().up);
    let findings = found(&database, &info);
    assert_eq!(checks(&findings), ["padded_key"]);
    database.sql(findings[0].sql.as_deref().unwrap());
    assert_eq!(found(&database, &info), []);
}

#[test]
fn rows_that_nobody_works_on_are_found_and_mended() {
    let set = |assignment: &'static str, id: i32| {
        move |database: &TestDatabase| {
            let text = assignment
                .replace(":lock", lock(database))
                .replace(":now", now(database));
            format!("UPDATE jobs SET {text} WHERE id = {id}")
        }
    };
    mended(
        set(":lock = 'b'", 1),
        "lock_without_running",
        Severity::Broken,
    );
    mended(
        set(":lock = NULL", 2),
        "running_without_lock",
        Severity::Broken,
    );
    mended(
        set("lock_at = NULL", 2),
        "lock_without_time",
        Severity::Broken,
    );
    mended(
        set("lock_at = '2999-01-01 00:00:00.000'", 2),
        "lock_in_future",
        Severity::Broken,
    );
    mended(
        |database| {
            match database.kind {
            Kind::Sqlite => "UPDATE jobs SET errors = '[1]' WHERE id = 1; UPDATE jobs SET errors = 'no json' WHERE id = 2".into(),
            Kind::Postgres => "UPDATE jobs SET errors = '[1]' WHERE id = 1".into(),
            Kind::Mysql => "UPDATE jobs SET errors = '[1]' WHERE id = 1".into(),
        }
        },
        "errors_no_object",
        Severity::Warning,
    );
    mended(
        |database| {
            match database.kind {
            Kind::Sqlite => String::new(), // A column cannot be made to hold NULL there.
            Kind::Postgres => "ALTER TABLE jobs ALTER COLUMN retry DROP NOT NULL; UPDATE jobs SET retry = NULL WHERE id = 3".into(),
            Kind::Mysql => "ALTER TABLE jobs MODIFY retry INTEGER; UPDATE jobs SET retry = NULL WHERE id = 3".into(),
        }
        },
        "null",
        Severity::Broken,
    );
}

#[test]
fn unknown_codes_expired_locks_and_old_jobs_are_found_with_their_number() {
    for database in databases() {
        let info = healthy(&database);
        database.sql("UPDATE jobs SET status = 77 WHERE id IN (4, 5)");
        database.sql("UPDATE jobs SET lock_at = '2020-01-01 00:00:00.000' WHERE id = 2");
        database.sql("UPDATE jobs SET update_at = '2020-01-01 00:00:00.000' WHERE id IN (1, 3)");
        // Not due yet, so it does not wait.
        database.sql("UPDATE jobs SET run_at = '2999-01-01 00:00:00.000' WHERE id = 3");
        let findings = found(&database, &info);
        let mut found = checks(&findings);
        found.sort_unstable();
        assert_eq!(
            found,
            ["expired", "old_ready", "unknown_code"],
            "{findings:?}"
        );
        for finding in &findings {
            assert_eq!(finding.severity, Severity::Warning);
            let number = if finding.check == "unknown_code" {
                "2 rows"
            } else {
                "a row"
            };
            assert!(finding.sentence.starts_with(number), "{finding:?}");
            database.sql(finding.sql.as_deref().unwrap());
        }
    }
}

#[test]
fn times_in_another_format_are_found_on_sqlite_and_mended() {
    for (role, value) in [
        ("update_at", "'2026-01-31T12:00:00.000'"),
        ("create_at", "1700000000"),
        ("lock_at", "'2026-01-31 12:00:00.000+00:00'"),
        ("run_at", "'2026-01-31'"),
    ] {
        mended(
            |database| match database.kind {
                Kind::Sqlite => format!("UPDATE jobs SET {role} = {value} WHERE id = 4"),
                _ => String::new(),
            },
            "time_format",
            Severity::Broken,
        );
    }
}

#[test]
fn a_table_that_is_not_there_is_an_error() {
    for database in databases() {
        let info = healthy(&database);
        database.sql("DROP TABLE jobs");
        let error = doctor(&source(&database, &info), Limits::default()).unwrap_err();
        assert!(error.to_string().contains("no table `jobs`"), "{error}");
    }
}

#[test]
fn codes_of_another_type_than_their_column_are_found() {
    for database in databases() {
        healthy(&database);
        let words = ["new", "running", "failed", "done", "dropped"].map(StatusCode::from);
        let [pending, in_progress, failed, succeeded, ignored] = words;
        let codes = StepCodes {
            pending,
            in_progress,
            failed,
            succeeded,
            ignored,
        };
        let step = StepInfo::new("job", codes);
        let info = tracking(&database.catalog("jobs"), &[], &[step]).unwrap();
        let findings = found(&database, &info);
        let codes = findings
            .iter()
            .find(|finding| finding.check == "description")
            .unwrap();
        assert!(
            codes.sentence.contains("has codes that are words"),
            "{codes:?}"
        );
        // What PostgreSQL refuses to compare is said, and the rest of the report stands.
        let is_refused = database.kind == Kind::Postgres;
        assert_eq!(
            checks(&findings).contains(&"unchecked"),
            is_refused,
            "{findings:?}"
        );
    }
}
