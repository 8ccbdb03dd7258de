//! The migration of a table that is in use: the tracker works on it afterwards, and the
//! way back leaves the table as it was.

use diesel::prelude::*;
use diesel::r2d2::{ConnectionManager, Pool};
use diesel_status_console::{Catalog, ConsoleConnection, Error, migration, tracking};
use diesel_status_tracker::{
    DescribedTable, Role, StatusCode, StatusTracked, StepCodes, StepInfo, job_table,
};

use crate::database::{Kind, TestDatabase, databases};

diesel::table! {
    invoices (tenant, number) {
        tenant -> BigInt,
        number -> Text,
        sent_to -> Nullable<Text>,
        state -> Integer,
        create_at -> Timestamp,
        update_at -> Timestamp,
        lock -> Nullable<Text>,
        lock_at -> Nullable<Timestamp>,
        retry -> Integer,
        errors -> Jsonb,
        run_at -> Nullable<Timestamp>,
    }
}

/// The same where `errors` is JSON.
mod json {
    diesel::table! {
        invoices (tenant, number) {
            tenant -> BigInt,
            number -> Text,
            sent_to -> Nullable<Text>,
            state -> Integer,
            create_at -> Timestamp,
            update_at -> Timestamp,
            lock -> Nullable<Text>,
            lock_at -> Nullable<Timestamp>,
            retry -> Integer,
            errors -> Json,
            run_at -> Nullable<Timestamp>,
        }
    }
}

macro_rules! invoice {
    ($Invoice:ident $Updates:ident in $($table:ident)::+ on $Connection:ident) => {
        #[derive(Debug, Queryable, Selectable)]
        #[diesel(table_name = $($table)::+)]
        struct $Invoice {
            number: String,
        }

        #[derive(Debug, Default, Insertable, AsChangeset)]
        #[diesel(table_name = $($table)::+)]
        struct $Updates {
            sent_to: Option<String>,
        }

        impl StatusTracked for $Invoice {
            type Job = Self;
            const PENDING: i32 = 10;
            const IN_PROGRESS: i32 = 20;
            const FAILED: i32 = 30;
            const SUCCEEDED: i32 = 40;
            const IGNORED: i32 = 50;
        }

        job_table! {
            $Invoice in $($table)::+ {
                key: (tenant: i64, number: String),
                status: i32,
                updates: $Updates,
                connections: [$Connection],
                columns: { status: state, run_at: run_at },
                status_field: none,
            }
        }
    };
}

invoice!(OnPostgres PostgresUpdates in invoices on PgConnection);
invoice!(OnMysql MysqlUpdates in json::invoices on MysqlConnection);
invoice!(OnSqlite SqliteUpdates in json::invoices on SqliteConnection);

/// Works on the two rows that the table had and on a new one.
macro_rules! work {
    ($Invoice:ident $Updates:ident $Connection:ident $url:expr) => {{
        let manager = ConnectionManager::<$Connection>::new($url);
        let pool = Pool::builder().max_size(2).build(manager).unwrap();
        $Invoice::create_and_save(&pool, (7, "new"), $Updates::default()).unwrap();
        let failed = $Invoice::run_job::<_, ()>(&pool, (7, "a"), |_, _| Err("no paper".into()));
        assert!(failed.is_err());
        let summary = $Invoice::worker(&pool)
            .run_until_empty(|invoice, updates| {
                updates.sent_to = Some(invoice.number.clone());
                Ok(())
            })
            .unwrap();
        assert_eq!((summary.succeeded, summary.failed), (3, 0));
        let count = $Invoice::count_by_status(&pool).unwrap();
        assert_eq!(count, [(40, 3)]);
    }};
}

fn named() -> [(Role, String); 2] {
    [
        (Role::Status, "state".into()),
        (Role::RunAt, "run_at".into()),
    ]
}

fn create_invoices(database: &TestDatabase) {
    let create = database.pick(
        "CREATE TABLE invoices (tenant BIGINT NOT NULL, number TEXT NOT NULL, sent_to TEXT, PRIMARY KEY (tenant, number))",
        "CREATE TABLE invoices (tenant BIGINT NOT NULL, number TEXT NOT NULL, sent_to TEXT, PRIMARY KEY (tenant, number))",
        "CREATE TABLE invoices (tenant BIGINT NOT NULL, number VARCHAR(50) NOT NULL, sent_to TEXT, PRIMARY KEY (tenant, number))",
    );
    database.sql(create);
    database.sql("INSERT INTO invoices (tenant, number) VALUES (7, 'a'), (7, 'b')");
}

fn shape(catalog: &Catalog) -> String {
    format!("{:#?}", catalog)
}

#[test]
fn the_tracker_works_on_a_table_after_its_migration() {
    for database in databases() {
        create_invoices(&database);
        let before = database.catalog("invoices");
        let info = tracking(&before, &named(), &[]).unwrap();
        let migration = migration(&before, &info, None).unwrap();
        database.sql(&migration.up);

        let url = database.url.trim_start_matches("sqlite://");
        match database.kind {
            Kind::Sqlite => work!(OnSqlite SqliteUpdates SqliteConnection url),
            Kind::Postgres => work!(OnPostgres PostgresUpdates PgConnection url),
            Kind::Mysql => work!(OnMysql MysqlUpdates MysqlConnection url),
        }

        database.sql(&migration.down);
        assert_eq!(shape(&database.catalog("invoices")), shape(&before));
        database.sql("SELECT tenant, number, sent_to FROM invoices");
    }
}

#[test]
fn what_a_table_has_is_kept_and_the_rest_is_added() {
    for database in databases() {
        create_invoices(&database);
        let before = database.catalog("invoices");
        let info = tracking(&before, &named(), &[]).unwrap();
        database.sql(&migration(&before, &info, None).unwrap().up);

        let whole = database.catalog("invoices");
        let info = tracking(&whole, &named(), &[]).unwrap();
        let again = migration(&whole, &info, None).unwrap();
        assert!(!again.up.contains("ADD COLUMN"), "{}", again.up);
        assert_eq!(again.down, "-- Nothing was added.\n");
        let is_comment = |line: &str| line.starts_with("-- ");
        assert!(again.up.lines().all(is_comment), "{}", again.up);

        database.sql(database.pick(
            "DROP INDEX invoices_locked",
            "DROP INDEX invoices_locked",
            "DROP INDEX invoices_ready ON invoices",
        ));
        let part = migration(&database.catalog("invoices"), &info, None).unwrap();
        let (added, kept) = match database.kind {
            Kind::Mysql => ("invoices_ready", "invoices_locked"),
            _ => ("invoices_locked", "invoices_ready"),
        };
        assert!(
            part.down.contains(added) && !part.down.contains(kept),
            "{}",
            part.down
        );
        database.sql(&part.up);
    }
}

#[test]
fn rows_that_exist_can_be_taken_for_done() {
    for database in databases() {
        create_invoices(&database);
        let catalog = database.catalog("invoices");
        let info = tracking(&catalog, &[], &[]).unwrap();
        let done = StatusCode::from(40);
        database.sql(&migration(&catalog, &info, Some(&done)).unwrap().up);
        database.sql("INSERT INTO invoices (tenant, number) VALUES (7, 'c')");
        let counts = DescribedTable::new(info)
            .count_by_status(&mut database.connect())
            .unwrap();
        let mut counts: Vec<_> = counts
            .iter()
            .map(|(code, count)| (code.to_string(), *count))
            .collect();
        counts.sort();
        assert_eq!(counts, [("10".into(), 1), ("40".into(), 2)]);
    }
}

fn step(name: &str, codes: [&str; 5]) -> StepInfo {
    let [pending, in_progress, failed, succeeded, ignored] = codes.map(StatusCode::from);
    let codes = StepCodes {
        pending,
        in_progress,
        failed,
        succeeded,
        ignored,
    };
    StepInfo::new(name, codes)
}

/// Several steps, statuses that are words, names that SQL has to quote, another schema.
#[test]
fn unusual_tables_get_sql_that_their_database_takes() {
    for database in databases() {
        let quoted = |name: &str| match database.kind {
            Kind::Mysql => format!("`{name}`"),
            _ => format!("\"{name}\""),
        };
        let (table, order) = (quoted("My Orders"), quoted("order"));
        database.sql(&format!(
            "CREATE TABLE {table} ({order} INTEGER NOT NULL PRIMARY KEY)"
        ));
        let steps = [
            step(
                "load",
                ["new", "loading", "load_failed", "it's loaded", "unloadable"],
            ),
            step(
                "send",
                ["to_send", "sending", "send_failed", "sent", "unsendable"],
            )
            .with_more_pending(["it's loaded".into()]),
        ];
        let columns = [
            (Role::Lock, "group".into()),
            (Role::StartedAt, "select".into()),
        ];
        let before = database.catalog("My Orders");
        let info = tracking(&before, &columns, &steps).unwrap();
        let words = migration(&before, &info, None).unwrap();
        database.sql(&words.up);
        let after = database.catalog("My Orders");
        assert_eq!(after.columns.len(), 9);
        let names = after.indexes.iter().map(|index| &*index.name);
        let names: Vec<_> = names.filter(|name| !name.ends_with("_pkey")).collect();
        assert!(names.contains(&"My Orders_ready"), "{names:?}");
        let has_locked = database.kind != Kind::Mysql;
        assert_eq!(names.contains(&"My Orders_locked"), has_locked, "{names:?}");
        database.sql(&words.down);
        assert_eq!(shape(&database.catalog("My Orders")), shape(&before));
    }
}

#[test]
fn each_step_has_an_index_of_its_ready_rows() {
    for database in databases() {
        create_invoices(&database);
        let number = |code: i64| StatusCode::from(code);
        let codes = |first: i64| StepCodes {
            pending: number(first),
            in_progress: number(first + 1),
            failed: number(first + 2),
            succeeded: number(first + 3),
            ignored: number(first + 4),
        };
        let steps = [
            StepInfo::new("download", codes(10)),
            StepInfo::new("resize", codes(20)).with_more_pending([number(13)]),
        ];
        let catalog = database.catalog("invoices");
        let info = tracking(&catalog, &[], &steps).unwrap();
        let migration = migration(&catalog, &info, None).unwrap();
        database.sql(&migration.up);
        if database.kind != Kind::Mysql {
            assert!(migration.up.contains("invoices_ready_download ON invoices (update_at) WHERE lock IS NULL AND status IN (10, 12);"), "{}", migration.up);
            assert!(migration.up.contains("invoices_ready_resize ON invoices (update_at) WHERE lock IS NULL AND status IN (20, 22, 13);"));
        }
        database.sql(&migration.down);
    }
}

#[test]
fn a_column_that_means_something_else_is_refused_by_name() {
    for database in databases() {
        database.sql("CREATE TABLE invoices (id INTEGER NOT NULL PRIMARY KEY, lock_at INTEGER)");
        let catalog = database.catalog("invoices");
        let info = tracking(&catalog, &[], &[]).unwrap();
        let error = migration(&catalog, &info, None).unwrap_err();
        assert!(
            matches!(
                error,
                Error::Misfit {
                    role: "lock_at",
                    ..
                }
            ),
            "{error}"
        );
        let message = error.to_string();
        assert!(
            message.contains("`lock_at` of `invoices`") && message.contains("lock_at=…"),
            "{message}"
        );

        let other = tracking(&catalog, &[(Role::LockAt, "held_since".into())], &[]).unwrap();
        database.sql(&migration(&catalog, &other, None).unwrap().up);
    }
}

#[test]
fn a_table_that_is_not_there_or_has_no_key_is_refused() {
    for database in databases() {
        database.sql("CREATE TABLE notes (text VARCHAR(10))");
        let error = Catalog::read(&mut database.connect(), "invoices").unwrap_err();
        assert!(matches!(error, Error::NoTable(_)), "{error}");
        let error = Catalog::read(&mut database.connect(), "billing.invoices").unwrap_err();
        assert!(error.to_string().contains("`billing.invoices`"), "{error}");
        let error = tracking(&database.catalog("notes"), &[], &[]).unwrap_err();
        assert!(matches!(error, Error::NoKey(_)), "{error}");
    }
}

#[test]
fn a_table_in_another_schema_is_found_and_changed_there() {
    let Some(database) = TestDatabase::new(Kind::Postgres) else {
        return;
    };
    database.sql("CREATE SCHEMA billing; CREATE TABLE billing.invoices (id uuid PRIMARY KEY, create_at timestamptz NOT NULL DEFAULT now(), update_at timestamptz)");
    let before = database.catalog("billing.invoices");
    assert_eq!(before.to_string(), "billing.invoices");
    let info = tracking(&before, &[], &[]).unwrap();
    assert!(info.is_zoned(Role::CreateAt) && info.is_nullable(Role::UpdateAt));
    let migration = migration(&before, &info, None).unwrap();
    assert!(
        migration.up.contains("(update_at NULLS FIRST)"),
        "{}",
        migration.up
    );
    database.sql(&migration.up);
    assert!(
        DescribedTable::new(info)
            .find(
                &mut database.connect(),
                "6b0d6b2f-4e35-4e6d-b29b-0ddc1a3f5c1d"
            )
            .unwrap()
            .is_none()
    );
    database.sql(&migration.down);
    assert_eq!(shape(&database.catalog("billing.invoices")), shape(&before));
}

#[test]
fn sqlite_finds_tables_by_url() {
    // The URL of the console and Diesel's own name the same file.
    let database = TestDatabase::new(Kind::Sqlite).unwrap();
    create_invoices(&database);
    let mut conn = ConsoleConnection::establish(&database.url).unwrap();
    assert_eq!(
        Catalog::read(&mut conn, "INVOICES").unwrap().name,
        "invoices"
    );
}
