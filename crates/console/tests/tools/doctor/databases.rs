//! What only one database has, or gets wrong, and what its sessions do.

use super::*;

#[test]
fn what_makes_postgres_slow_is_found() {
    let Some(database) = TestDatabase::new(Kind::Postgres) else {
        return;
    };
    let info = healthy(&database);
    database.sql("ALTER TABLE jobs SET (autovacuum_enabled = false)");
    let findings = found(&database, &info);
    assert_eq!(checks(&findings), ["autovacuum"]);
    database.sql("INSERT INTO jobs (id, status) SELECT n, 40 FROM generate_series(100, 20100) n");
    database.sql("DELETE FROM jobs WHERE id >= 100; SELECT pg_stat_force_next_flush()");
    let findings = found(&database, &info);
    let mut names = checks(&findings);
    names.sort_unstable();
    assert_eq!(names, ["autovacuum", "dead_rows"], "{findings:?}");
    for finding in &findings {
        database.sql(finding.sql.as_deref().unwrap());
    }
    assert_eq!(found(&database, &info), []);

    let mut open = database.connect();
    open.batch_execute("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT 1 FROM jobs")
        .unwrap();
    assert_eq!(found(&database, &info), []);
    let limits = Limits::default().transaction(Duration::ZERO);
    let findings = found_with(&database, &info, limits);
    // Others may have open transactions on this server too.
    assert!(
        checks(&findings).contains(&"old_transaction"),
        "{findings:?}"
    );
    assert!(
        findings
            .iter()
            .all(|finding| finding.check == "old_transaction"),
        "{findings:?}"
    );
    drop(open);

    let name = database.url.rsplit('/').next().unwrap();
    database.sql(&format!(
        "ALTER DATABASE {name} SET default_transaction_isolation = 'serializable'; ALTER DATABASE {name} SET timezone = 'Asia/Tokyo'"
    ));
    let findings = doctor(&source(&database, &info), Limits::default()).unwrap();
    assert_eq!(
        checks(&findings),
        ["isolation", "time_zone"],
        "{findings:?}"
    );
    assert!(
        findings
            .iter()
            .all(|finding| finding.severity == Severity::Note)
    );
}

#[test]
fn an_index_that_was_never_finished_is_found_on_postgres() {
    let Some(database) = TestDatabase::new(Kind::Postgres) else {
        return;
    };
    let info = healthy(&database);
    let mut conn = database.connect();
    // Two rows have the same retry.
    conn.batch_execute("CREATE UNIQUE INDEX CONCURRENTLY jobs_odd ON jobs (retry)")
        .unwrap_err();
    let findings = found(&database, &info);
    assert_eq!(checks(&findings), ["invalid_index"]);
    database.sql("UPDATE jobs SET retry = id");
    conn.batch_execute(findings[0].sql.as_deref().unwrap())
        .unwrap();
    assert_eq!(found(&database, &info), []);
}

#[test]
fn what_makes_mariadb_lose_jobs_is_found() {
    let Some(database) = TestDatabase::new(Kind::Mysql) else {
        return;
    };
    let info = healthy(&database);
    database.sql("ALTER TABLE jobs ENGINE = Aria");
    let findings = found(&database, &info);
    assert_eq!(checks(&findings), ["engine"]);
    assert_eq!(findings[0].severity, Severity::Broken);
    database.sql(findings[0].sql.as_deref().unwrap());

    let source = Source::new(DescribedTable::new(info), lax(&database));
    let findings = doctor(&source, Limits::default()).unwrap();
    assert!(checks(&findings).contains(&"strict_mode"), "{findings:?}");
    let flush: i32 = diesel::dsl::sql::<diesel::sql_types::Integer>(
        "SELECT CAST(@@innodb_flush_log_at_trx_commit AS signed)",
    )
    .get_result(&mut mysql(&database))
    .unwrap();
    assert_eq!(checks(&findings).contains(&"flush_at_commit"), flush != 1);
}

fn mysql(database: &TestDatabase) -> MysqlConnection {
    MysqlConnection::establish(&database.url).unwrap()
}

/// A pool of an application whose sessions are not strict.
fn lax(database: &TestDatabase) -> Pool<ConnectionManager<MysqlConnection>> {
    #[derive(Debug)]
    struct Lax;
    impl diesel::r2d2::CustomizeConnection<MysqlConnection, diesel::r2d2::Error> for Lax {
        fn on_acquire(&self, conn: &mut MysqlConnection) -> Result<(), diesel::r2d2::Error> {
            conn.batch_execute("SET SESSION sql_mode = ''").unwrap();
            Ok(())
        }
    }
    let manager = ConnectionManager::new(&database.url);
    Pool::builder()
        .max_size(1)
        .connection_customizer(Box::new(Lax))
        .build(manager)
        .unwrap()
}

#[test]
fn what_makes_sqlite_wait_or_fail_is_found() {
    let database = TestDatabase::new(Kind::Sqlite).unwrap();
    let info = healthy(&database);
    database.sql("PRAGMA journal_mode = DELETE");
    #[derive(Debug)]
    struct Careless;
    impl diesel::r2d2::CustomizeConnection<SqliteConnection, diesel::r2d2::Error> for Careless {
        fn on_acquire(&self, conn: &mut SqliteConnection) -> Result<(), diesel::r2d2::Error> {
            conn.batch_execute("PRAGMA synchronous = OFF; PRAGMA busy_timeout = 0")
                .unwrap();
            Ok(())
        }
    }
    let manager =
        ConnectionManager::<SqliteConnection>::new(database.url.trim_start_matches("sqlite://"));
    let pool = Pool::builder()
        .max_size(1)
        .connection_customizer(Box::new(Careless))
        .build(manager)
        .unwrap();
    let source = Source::new(DescribedTable::new(info), pool);
    let findings = doctor(&source, Limits::default()).unwrap();
    let mut names = checks(&findings);
    names.sort_unstable();
    assert_eq!(names, ["busy_timeout", "journal_mode", "synchronous"]);
    for finding in &findings {
        database.sql(finding.sql.as_deref().unwrap());
    }
}

#[test]
fn a_pooler_in_between_is_found() {
    let (Some(database), Ok(pgbouncer)) = (
        TestDatabase::new(Kind::Postgres),
        std::env::var("PGBOUNCER_URL"),
    ) else {
        return;
    };
    let info = healthy(&database);
    let (address, _) = pgbouncer.rsplit_once('/').unwrap();
    let name = database.url.rsplit('/').next().unwrap();
    let manager = ConnectionManager::<PgConnection>::new(format!("{address}/{name}"));
    let pool = Pool::builder()
        .max_size(2)
        .test_on_check_out(false)
        .connection_customizer(Box::new(diesel_status_tracker::postgres::Customizer {
            prepared_statements: false,
            ..Default::default()
        }))
        .build(manager)
        .unwrap();
    let findings = doctor(
        &Source::new(DescribedTable::new(info), pool),
        Limits::default(),
    )
    .unwrap();
    assert!(checks(&findings).contains(&"pooler"), "{findings:?}");
}

#[test]
fn a_table_that_another_session_has_locked_is_waited_for_a_few_seconds() {
    for database in databases() {
        let info = healthy(&database);
        let locked = match database.kind {
            // Readers do not wait for the writer there.
            Kind::Sqlite => continue,
            Kind::Postgres => "BEGIN; LOCK TABLE jobs IN ACCESS EXCLUSIVE MODE",
            Kind::Mysql => "LOCK TABLES jobs WRITE",
        };
        let mut other = database.connect();
        other.batch_execute(locked).unwrap();
        match doctor(&source(&database, &info), Limits::default()) {
            Ok(findings) => assert!(checks(&findings).contains(&"unchecked"), "{findings:?}"),
            // PostgreSQL does not even tell the columns of such a table.
            Err(error) => assert!(error.to_string().contains("statement timeout"), "{error}"),
        }
    }
}
