use diesel::Connection;
use diesel::connection::SimpleConnection;

use super::*;
use crate::overview::Count;
use crate::testing::{TestRow, TestTable, logged, on_each_database};

fn order(action: Action) -> Order {
    Order {
        action,
        reason: "the customer is gone".into(),
        step: None,
        seen_at: Utc::now(),
        who: "ada".into(),
    }
}

fn key(id: &str) -> RowKey {
    ["1", id].into()
}

fn status(table: &TestTable, id: &str) -> i64 {
    let state = table.source.find(&key(id)).unwrap().unwrap();
    state.status.to_string().parse().unwrap()
}

#[test]
fn each_job_is_changed_or_passed_over_with_a_reason() {
    on_each_database(|table| {
        table.insert_all(&[
            TestRow::new("failed", 30),
            TestRow::new("ignored", 150),
            TestRow::new("done", 40),
            TestRow::new("held", 20).locked(5.0),
            TestRow::new("dead", 120).locked(5000.0),
            TestRow::new("unknown", 77),
        ]);
        let all = [
            "failed", "ignored", "done", "held", "dead", "unknown", "missing",
        ];
        let done = on_jobs(&table.source, &order(Action::Reset), all.map(key)).unwrap();
        assert_eq!(done.count, 4, "{done:?}");
        let why_not = |id: &str| {
            let found = done.passed_over.iter().find(|job| job.key == key(id));
            found.map(|job| &*job.why).unwrap_or_default()
        };
        assert!(why_not("held").contains("locked"), "{done:?}");
        assert!(why_not("unknown").contains("no step knows"), "{done:?}");
        assert!(why_not("missing").contains("no such job"), "{done:?}");
        // Each is pending in its own step.
        for (id, code) in [
            ("failed", 10),
            ("ignored", 110),
            ("done", 10),
            ("held", 20),
            ("dead", 110),
            ("unknown", 77),
        ] {
            assert_eq!(status(table, id), code, "{id}");
        }
    });
}

#[test]
fn ignoring_keeps_the_reason_and_expiring_spares_what_was_renewed() {
    on_each_database(|table| {
        table.insert_all(&[
            TestRow::new("failed", 30),
            TestRow::new("done", 140),
            TestRow::new("held", 20).locked(5.0),
            TestRow::new("renewed", 20).locked(-60.0),
        ]);
        let done = on_jobs(
            &table.source,
            &order(Action::Ignore),
            ["failed", "done", "held"].map(key),
        )
        .unwrap();
        assert_eq!((done.count, done.passed_over.len()), (1, 2), "{done:?}");
        let job = crate::job::with_key(&table.source, &key("failed"))
            .unwrap()
            .unwrap();
        assert!(
            job.errors[0].error.contains("the customer is gone"),
            "{:?}",
            job.errors
        );
        assert_eq!(status(table, "failed"), 50);

        let done = on_jobs(
            &table.source,
            &order(Action::Expire),
            ["held", "renewed", "done"].map(key),
        )
        .unwrap();
        assert_eq!((done.count, done.passed_over.len()), (1, 2), "{done:?}");
        assert_eq!(status(table, "held"), 30);
        assert_eq!(status(table, "renewed"), 20);
    });
}

#[test]
fn a_job_that_has_changed_since_it_was_shown_is_passed_over() {
    on_each_database(|table| {
        // It had failed when the page was made, and has succeeded since.
        table.insert(&TestRow::new("finished meanwhile", 140).changed(5.0));
        table.insert(&TestRow::new("failed again", 30).changed(5.0));
        table.insert(&TestRow::new("as it was", 30).changed(60.0));
        let ids = ["finished meanwhile", "failed again", "as it was"];
        for action in [Action::Reset, Action::Ignore] {
            let mut order = order(action);
            order.seen_at -= chrono::TimeDelta::seconds(30);
            let done = on_jobs(&table.source, &order, ids[..2].iter().copied().map(key));
            let done = done.unwrap();
            assert_eq!((done.count, done.passed_over.len()), (0, 2), "{done:?}");
            assert!(
                done.passed_over[1].why.contains("look at it again"),
                "{done:?}"
            );
        }
        assert_eq!((status(table, ids[0]), status(table, ids[1])), (140, 30));
        let mut order = order(Action::Reset);
        order.seen_at -= chrono::TimeDelta::seconds(30);
        on_jobs(&table.source, &order, vec![key(ids[2])]).unwrap();
        assert_eq!(status(table, ids[2]), 10);
    });
}

#[test]
fn a_row_that_another_transaction_holds_is_passed_over_in_words_that_help() {
    on_each_database(|table| {
        // There, a writer keeps all others from the whole database.
        if table.is_sqlite() {
            return;
        }
        table.insert_all(&[
            TestRow::new("failed", 30),
            TestRow::new("dead", 20).locked(5000.0),
        ]);
        let pool = table.pool();
        let mut conn = pool.get().unwrap();
        conn.test_transaction::<_, diesel::result::Error, _>(|conn| {
            conn.batch_execute(&format!("UPDATE {} SET retry = 2", table.name()))?;
            for (action, id) in [
                (Action::Reset, "failed"),
                (Action::Ignore, "failed"),
                (Action::Expire, "dead"),
            ] {
                let done = on_jobs(&table.source, &order(action), [key(id)]).unwrap();
                assert_eq!(done.count, 0, "{action}");
                assert_eq!(done.passed_over[0].why, IS_HELD, "{action}");
            }
            Ok(())
        });
    });
}

/// A transaction writes the time at which it ends its job, and commits later: a page that is
/// made in between shows the job as it was, and is newer than that time.
#[test]
fn a_change_that_was_committed_late_is_none_that_was_seen() {
    on_each_database(|table| {
        let row = |status, ago| TestRow::new("late", status).changed(ago);
        table.insert(&row(30, 90.0));
        let jobs = |table: &TestTable| {
            let filter = Filter::default();
            let page = crate::jobs::page(&table.source, &filter, &From::Start, 10);
            page.unwrap().jobs
        };
        let shown = Meant::from(&jobs(table)[0]);
        assert!(shown.seen.is_some());
        table.sql(&format!("DELETE FROM {}", table.name()));
        table.insert(&row(40, 60.0));

        for action in [Action::Reset, Action::Ignore] {
            let done = on_jobs(&table.source, &order(action), [shown.clone()]).unwrap();
            assert_eq!(done.count, 0, "{done:?}");
        }
        assert_eq!(status(table, "late"), 40);
        // What is seen now is meant.
        let shown = Meant::from(&jobs(table)[0]);
        let done = on_jobs(&table.source, &order(Action::Reset), [shown]).unwrap();
        assert_eq!(done.count, 1, "{done:?}");
    });
}

/// Somebody comes between the look at a job and the statement that changes it.
#[test]
fn the_statement_itself_holds_that_a_job_has_not_changed() {
    on_each_database(|table| {
        table.insert(&TestRow::new("a", 30).changed(90.0));
        let seen = table.source.find(&key("a")).unwrap().unwrap().seen();
        table.sql(&format!("DELETE FROM {}", table.name()));
        table.insert(&TestRow::new("a", 40).changed(60.0));

        let late = table.source.reset("send", &key("a"), &seen).unwrap_err();
        assert!(late.to_string().contains("has changed since"), "{late}");
        table
            .source
            .ignore("send", &key("a"), &seen, "x")
            .unwrap_err();
        assert_eq!(status(table, "a"), 40);
    });
}

#[test]
fn a_prune_ends_where_rows_cannot_be_deleted() {
    on_each_database(|table| {
        let rows = (0..PRUNED_AT_ONCE).map(|n| {
            let mut row = TestRow::new(&n.to_string(), 140).changed(9000.0);
            row.locked = Some(9000.0);
            row
        });
        table.insert_all(&rows.collect::<Vec<_>>());
        let filter = Filter {
            step: Some("pay".into()),
            statuses: vec![Status::Succeeded],
            older: Some(Duration::from_secs(60)),
            ..Filter::default()
        };
        let chunk = on_filter(&table.source, &order(Action::Prune), &filter, None).unwrap();
        assert_eq!((chunk.done.count, chunk.next), (0, None));
    });
}

#[test]
fn a_filter_is_worked_off_in_pieces_each_job_once() {
    on_each_database(|table| {
        for n in 0..250 {
            let row = match n % 5 {
                // These stay as they are, and are met once all the same.
                0 => TestRow::new(&format!("{n:03}"), 20).locked(5.0),
                1 => TestRow::new(&format!("{n:03}"), 30).failed_with("other"),
                _ => TestRow::new(&format!("{n:03}"), 30).failed_with(&format!("timeout {n}")),
            };
            table.insert(&row);
        }
        let filter = Filter {
            step: Some("send".into()),
            statuses: vec![Status::Failed, Status::InProgress],
            ..Filter::default()
        };
        assert_eq!(
            count(&table.source, &filter).unwrap().count,
            Count::Exactly(250)
        );
        let group = Filter {
            group: Some("timeout #".into()),
            ..filter.clone()
        };
        assert_eq!(
            count(&table.source, &group).unwrap().count,
            Count::Exactly(150)
        );

        let run = |filter: &Filter| {
            let order = order(Action::Reset);
            let (mut after, mut pieces, mut all) = (None, 0, Done::default());
            loop {
                let chunk = on_filter(&table.source, &order, filter, after).unwrap();
                pieces += 1;
                all.count += chunk.done.count;
                all.passed_over.extend(chunk.done.passed_over);
                match chunk.next {
                    Some(next) => after = Some(next),
                    None => return (pieces, all),
                }
            }
        };
        let (_, done) = run(&group);
        assert_eq!((done.count, done.passed_over.len()), (150, 0));
        let (pieces, done) = run(&filter);
        assert_eq!((pieces, done.count, done.passed_over.len()), (2, 50, 50));
        assert_eq!(status(table, "002"), 10);
        assert_eq!(status(table, "000"), 20);
    });
}

#[test]
fn what_is_changed_is_logged_with_who_did_it() {
    on_each_database(|table| {
        table.insert_all(&[
            TestRow::new("a", 30),
            TestRow::new("b", 30),
            TestRow::new("held", 20).locked(5.0),
        ]);
        let text = logged(|| {
            on_jobs(&table.source, &order(Action::Reset), ["a", "held"].map(key)).unwrap();
            let filter = Filter {
                statuses: vec![Status::Failed],
                ..Filter::default()
            };
            on_filter(&table.source, &order(Action::Ignore), &filter, None).unwrap();
        });
        let lines: Vec<_> = text
            .lines()
            .filter(|line| line.contains("console: jobs were changed"))
            .collect();
        assert_eq!(lines.len(), 2, "{text}");
        let has = |line: &str, parts: &[&str]| parts.iter().all(|part| line.contains(part));
        let table = format!("table=\"{}\"", table.name());
        assert!(
            has(
                lines[0],
                &[
                    "action=\"reset\"",
                    &table,
                    "held",
                    "who=\"ada\"",
                    "count=1",
                    "passed_over=1"
                ]
            ),
            "{text}"
        );
        assert!(
            has(
                lines[1],
                &[
                    "action=\"ignore\"",
                    &table,
                    "filter=\"jobs that are failed\"",
                    "the customer is gone",
                    "count=1"
                ]
            ),
            "{text}"
        );
    });
}

/// What has succeeded keeps its errors.
#[test]
fn a_reset_of_many_means_failed_and_ignored_jobs_unless_others_are_chosen() {
    let rows = || {
        let ids = [
            ("failed", 130),
            ("ignored", 150),
            ("done", 140),
            ("pending", 110),
            // Ends the first step, and is where the second begins.
            ("half", 40),
        ];
        let rows = ids.map(|(id, code)| TestRow::new(id, code).failed_with("timeout after 5 s"));
        [TestRow::new("dead", 120).locked(5000.0)]
            .into_iter()
            .chain(rows)
    };
    let all = Filter::default;
    let filters = [
        Filter {
            older: Some(Duration::from_secs(1)),
            ..all()
        },
        Filter {
            error: Some("timeout".into()),
            ..all()
        },
        Filter {
            group: Some("timeout after # s".into()),
            ..all()
        },
    ];
    on_each_database(|table| {
        let refill = || {
            table.sql(&format!("DELETE FROM {}", table.name()));
            table.insert_all(&rows().collect::<Vec<_>>());
        };
        for filter in &filters {
            refill();
            let found = count(&table.source, &meant(Action::Reset, filter)).unwrap();
            assert_eq!(found.statuses(), "1 failed, 1 ignored");
            assert!(found.notes(Action::Reset).is_empty(), "{found:?}");
            let chunk = on_filter(&table.source, &order(Action::Reset), filter, None).unwrap();
            assert_eq!(chunk.done.count, 2, "{filter:?} {:?}", chunk.done);
            assert_eq!((status(table, "done"), status(table, "half")), (140, 40));
            // What a form or the command line says goes through.
            refill();
            let chosen = Filter {
                step: Some("pay".into()),
                statuses: vec![Status::Succeeded],
                ..filter.clone()
            };
            let found = count(&table.source, &meant(Action::Reset, &chosen)).unwrap();
            let notes = found.notes(Action::Reset).concat();
            assert!(notes.contains("will run again"), "{found:?}");
            on_filter(&table.source, &order(Action::Reset), &chosen, None).unwrap();
            assert_eq!((status(table, "done"), status(table, "failed")), (110, 130));
        }
        // Each action means the jobs that it is for.
        refill();
        let found = |action, filter: &Filter| {
            let found = count(&table.source, &meant(action, filter)).unwrap();
            found.statuses()
        };
        let by_age = found(Action::Ignore, &filters[0]);
        assert_eq!(
            by_age,
            "1 pending, 1 pending after an earlier step, 1 in progress, 1 failed"
        );
        assert_eq!(found(Action::Ignore, &filters[1]), "1 pending, 1 failed");
        assert_eq!(found(Action::Expire, &filters[0]), "1 in progress");
        let expired = Filter {
            expired: true,
            ..all()
        };
        assert_eq!(found(Action::Reset, &expired), "1 in progress");
    });
}
