//! A table of another shape than that of the other tests: a key of one number, codes of
//! text, times with a zone, a document as JSON, names that have to be quoted.

use diesel::connection::SimpleConnection;
use diesel_status_tracker::{
    DescribedTable, ErrorsType, RetryType, Role, StepCodes, StepInfo, TableInfo,
};

use crate::actions::{self, Action, Order};
use crate::database::{ConsoleConnection, connect};
use crate::jobs::filter::{Filter, From};
use crate::overview::Count;
use crate::status::Status;
use crate::table::Source;
use crate::{durations, failures, job, jobs, overview};

struct Shape {
    source: Source,
    sql: Box<dyn Fn(&str)>,
    is_postgres: bool,
    _folder: tempfile::TempDir,
}

const TABLE: &str = "Odd \"jobs\" `of` 'us'";

fn on_each_database(test: impl Fn(&Shape)) {
    for variable in ["", "POSTGRES_URL", "MYSQL_URL"] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("jobs.db");
        std::fs::write(&path, "").unwrap();
        let url = match variable {
            "" => format!("sqlite://{}", path.display()),
            variable => match std::env::var(variable) {
                Ok(url) => url,
                Err(_) => continue,
            },
        };
        let pool = connect(&url, 4).unwrap();
        let schema = format!("console_shapes_{}", std::process::id());
        let conn = pool.get().unwrap();
        let (is_postgres, is_sqlite) = (
            matches!(*conn, ConsoleConnection::Postgres(_)),
            matches!(*conn, ConsoleConnection::Sqlite(_)),
        );
        drop(conn);
        let quote = if is_postgres { '"' } else { '`' };
        let name = TABLE.replace(quote, &format!("{quote}{quote}"));
        let schema = if is_sqlite { "main".into() } else { schema };
        let path = format!("{quote}{schema}{quote}.{quote}{name}{quote}");
        let run = {
            let pool = pool.clone();
            let path = path.clone();
            move |sql: &str| {
                let sql = sql
                    .replace("TABLE_PATH", &path)
                    .replace('~', &quote.to_string());
                pool.get().unwrap().batch_execute(&sql).unwrap();
            }
        };
        if is_postgres {
            run(&format!(
                "DROP SCHEMA IF EXISTS {schema} CASCADE; CREATE SCHEMA {schema}; CREATE TYPE {schema}.state AS ENUM ('new', 'busy', 'bad', 'it''s \\done', 'left')"
            ));
        } else if !is_sqlite {
            run(&format!(
                "DROP DATABASE IF EXISTS {schema}; CREATE DATABASE {schema}"
            ));
        }
        let (state, time, document) = match (is_postgres, is_sqlite) {
            (true, _) => (format!("{schema}.state"), "TIMESTAMPTZ", "JSONB"),
            (_, true) => ("TEXT".into(), "TEXT", "BLOB"),
            _ => ("VARCHAR(20)".into(), "DATETIME(6)", "JSON"),
        };
        run(&format!(
            "CREATE TABLE TABLE_PATH (~The id~ BIGINT NOT NULL PRIMARY KEY, ~state of it~ {state} NOT NULL, born {time} NOT NULL,
             ~update_at~ {time} NOT NULL, lease VARCHAR(40), lease_at {time} NULL, retry SMALLINT NOT NULL, begun {time} NULL, ~the errors~ {document} NOT NULL)"
        ));
        let document = if is_sqlite {
            "jsonb(DOCUMENT)"
        } else {
            "DOCUMENT"
        };
        let at = match (is_postgres, is_sqlite) {
            (true, _) => "clock_timestamp() - interval 'AGO seconds'",
            (_, true) => "strftime('%Y-%m-%d %H:%M:%f+00:00', 'now', '-AGO seconds')",
            _ => "UTC_TIMESTAMP(6) - INTERVAL AGO SECOND",
        };
        let at = |ago: u32| at.replace("AGO", &ago.to_string());
        for (id, state, ago, lock, error) in [
            (7, "new", 40, false, None),
            (8, "busy", 30, true, None),
            (90, "bad", 20, false, Some("timeout after 7 s")),
            (91, "left", 25, false, Some("timeout after 8 s")),
            (100, "it''s \\done", 10, false, None),
        ] {
            let state = if is_postgres || is_sqlite {
                state.to_owned()
            } else {
                state.replace('\\', "\\\\")
            };
            let error = error.map_or_else(
                || "{}".into(),
                |error: &str| serde_json::json!({ "error": error, "attempt": 1 }).to_string(),
            );
            run(&format!(
                "INSERT INTO TABLE_PATH VALUES ({id}, '{state}', {}, {}, {}, {}, 1, {}, {})",
                at(500),
                at(ago),
                if lock { "'token'" } else { "NULL" },
                at(ago + 1),
                at(ago + 60),
                document.replace("DOCUMENT", &format!("'{error}'")),
            ));
        }
        let codes = StepCodes {
            pending: "new".into(),
            in_progress: "busy".into(),
            failed: "bad".into(),
            succeeded: "it's \\done".into(),
            ignored: "left".into(),
        };
        let mut info = TableInfo::named(TABLE)
            .schema(&schema)
            .key(["The id"])
            .column(Role::Status, "state of it")
            .column(Role::CreateAt, "born")
            .column(Role::Lock, "lease")
            .column(Role::LockAt, "lease_at")
            .column(Role::StartedAt, "begun")
            .column(Role::Errors, "the errors")
            .usual_columns()
            .errors(if is_postgres || is_sqlite {
                ErrorsType::Jsonb
            } else {
                ErrorsType::Json
            })
            .retry(RetryType {
                bits: 16,
                is_signed: true,
            })
            .step(StepInfo::new("work", codes));
        for (role, is_nullable) in [
            (Role::CreateAt, false),
            (Role::UpdateAt, false),
            (Role::LockAt, true),
            (Role::StartedAt, true),
        ] {
            info = info.time(role, is_postgres || is_sqlite, is_nullable);
        }
        let shape = Shape {
            source: Source::new(DescribedTable::new(info.build().unwrap()), pool),
            sql: Box::new(run),
            is_postgres,
            _folder: folder,
        };
        test(&shape);
        match (is_postgres, is_sqlite) {
            (true, _) => (shape.sql)(&format!("DROP SCHEMA {schema} CASCADE")),
            (_, true) => {}
            _ => (shape.sql)(&format!("DROP DATABASE {schema}")),
        }
    }
}

#[test]
fn a_table_of_another_shape_is_shown_and_changed_alike() {
    on_each_database(|shape| {
        let source = &shape.source;
        let overview = overview::of(source).unwrap();
        let work = &overview.steps[0];
        assert!(work.problems.is_empty(), "{work:#?}");
        assert!(
            work.counts
                .iter()
                .all(|(_, count)| *count == Some(Count::Exactly(1))),
            "{work:#?}"
        );
        assert_eq!(
            (work.running, work.expired),
            (Some(Count::Exactly(1)), Some(Count::Exactly(0)))
        );
        let hour = work.hour.as_ref().unwrap();
        assert_eq!((hour.finished, hour.failed, hour.ignored), (1, 1, 1));
        assert!(
            (40..90).contains(&work.oldest_ready_seconds.unwrap()),
            "{work:#?}"
        );

        let keys = |filter: Filter| {
            let page = jobs::page(source, &filter, &From::Start, 10).unwrap();
            page.jobs
                .iter()
                .map(|job| job.key.parts().join("/"))
                .collect::<Vec<_>>()
        };
        let all = Filter::default;
        assert_eq!(keys(all()), ["100", "90", "91", "8", "7"]);
        assert_eq!(
            keys(Filter {
                key: vec!["90".into()],
                ..all()
            }),
            ["90"]
        );
        assert_eq!(
            keys(Filter {
                key: vec!["9*".into()],
                ..all()
            }),
            ["90", "91"]
        );
        assert_eq!(
            keys(Filter {
                error: Some("AFTER 8".into()),
                ..all()
            }),
            ["91"]
        );
        assert_eq!(
            keys(Filter {
                statuses: vec![Status::InProgress],
                ..all()
            }),
            ["8"]
        );
        let no_number = jobs::page(
            source,
            &Filter {
                key: vec!["9x".into()],
                ..all()
            },
            &From::Start,
            10,
        );
        // PostgreSQL says that it is no number, the others that there is no such row.
        assert_eq!(no_number.is_err(), shape.is_postgres);
        if let Ok(page) = no_number {
            assert!(page.jobs.is_empty());
        }
        // Page by page, in the order of numbers.
        let first = jobs::page(source, &all(), &From::Start, 2).unwrap();
        let second = jobs::page(source, &all(), &From::After(first.jobs[1].place()), 2).unwrap();
        let ids: Vec<_> = second
            .jobs
            .iter()
            .map(|job| job.key.parts()[0].clone())
            .collect();
        assert_eq!(ids, ["91", "8"]);

        let groups = failures::of(source, None).unwrap().groups;
        assert_eq!(
            (groups.len(), groups[0].failed, groups[0].ignored),
            (1, 1, 1)
        );
        let durations = durations::of(source);
        let ran = durations[0].1.as_ref().unwrap().ran.clone().unwrap();
        // From `started_at`, not from the lock.
        assert!((59..62).contains(&ran.median.as_secs()), "{ran:?}");

        let failed = job::with_key(source, &"90".into()).unwrap().unwrap();
        assert_eq!(failed.errors[0].error, "timeout after 7 s");
        assert_eq!(failed.meanings[0].1, Status::Failed);
        let order = Order {
            action: Action::Reset,
            reason: String::new(),
            step: None,
            seen_at: overview.now.unwrap(),
            who: "ada".into(),
        };
        let filter = Filter {
            statuses: vec![Status::Failed, Status::Ignored],
            ..all()
        };
        assert_eq!(
            actions::count(source, &filter).unwrap().count,
            Count::Exactly(2)
        );
        let chunk = actions::on_filter(source, &order, &filter, None).unwrap();
        assert_eq!(
            (chunk.done.count, chunk.next),
            (2, None),
            "{:?}",
            chunk.done
        );
        assert_eq!(
            keys(Filter {
                statuses: vec![Status::Pending],
                ..all()
            })
            .len(),
            3
        );
    });
}
