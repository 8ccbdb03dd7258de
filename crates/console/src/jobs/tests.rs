mod many;

use std::time::Duration;

use diesel_status_tracker::SortBy;

use super::*;
use crate::status::Status;
use crate::testing::{TestRow, TestTable, on_each_database};

fn rows_of_all_kinds() -> Vec<TestRow> {
    let codes = [10, 20, 30, 40, 50, 110, 120, 130, 140, 150];
    let mut rows = Vec::new();
    for n in 0..40 {
        let status = codes[n % codes.len()];
        let mut row = TestRow::new(&format!("job-{n:02}"), status)
            // Some have one time, so that the key decides.
            .changed(f64::from(u32::try_from(n / 4 * 60).unwrap()) + 30.0);
        row.tenant = i64::try_from(n % 3).unwrap();
        row.created = f64::from(u32::try_from(n * 7919 % 4000).unwrap()) + 10_000.0;
        if status % 100 == 20 {
            row = row.locked(if n % 4 == 1 { 5.0 } else { 5000.0 });
        }
        if n % 5 == 0 {
            row.run_in = Some(1000.0);
        }
        if status % 100 == 30 {
            row = row.failed_with(&format!("host {n} is \"down\""));
        }
        rows.push(row);
    }
    rows
}

/// Each time is that of one statement, so that rows with one time really have it.
fn equal_times(table: &TestTable) {
    table.sql(&format!(
        "UPDATE {} SET update_at = (SELECT MIN(x.update_at) FROM (SELECT update_at, status FROM {0}) AS x WHERE x.status = {0}.status) WHERE status IN (10, 40)",
        table.name()
    ));
}

fn keys(jobs: &[JobRow]) -> Vec<Vec<String>> {
    jobs.iter().map(|job| job.key.parts().to_vec()).collect()
}

/// All pages, forward and back, which have to have the same rows.
fn all(source: &Source, filter: &Filter, limit: usize) -> Vec<JobRow> {
    let mut all = Vec::new();
    let mut from = From::Start;
    let last = loop {
        let page = page(source, filter, &from, limit).unwrap();
        assert_eq!(page.has_previous, from != From::Start);
        let last = page.jobs.last().map(JobRow::place);
        all.extend(page.jobs);
        match last {
            Some(last) if page.has_next => from = From::After(last),
            _ => break from,
        }
    };
    if let From::After(_) = last {
        let mut back = Vec::new();
        let mut from = From::Before(all.last().unwrap().place());
        loop {
            let page = page(source, filter, &from, limit).unwrap();
            assert!(page.has_next);
            let first = page.jobs.first().map(JobRow::place);
            back.splice(0..0, page.jobs);
            match first {
                Some(first) if page.has_previous => from = From::Before(first),
                _ => break,
            }
        }
        assert_eq!(keys(&back), keys(&all[..all.len() - 1]));
    }
    all
}

#[test]
fn pages_have_each_row_once_and_in_order() {
    on_each_database(|table| {
        table.insert_all(&rows_of_all_kinds());
        equal_times(table);
        for by in [SortBy::UpdateAt, SortBy::CreateAt] {
            for oldest_first in [true, false] {
                let filter = Filter {
                    by,
                    oldest_first,
                    ..Filter::default()
                };
                let jobs = all(&table.source, &filter, 7);
                assert_eq!(jobs.len(), 40);
                let place = |job: &JobRow| {
                    let time = if by == SortBy::UpdateAt {
                        job.update_at
                    } else {
                        job.create_at
                    };
                    let [tenant, id] = job.key.parts() else {
                        panic!()
                    };
                    (time.unwrap(), tenant.parse::<i64>().unwrap(), id.clone())
                };
                let is_sorted = jobs.is_sorted_by(|a, b| (place(a) < place(b)) == oldest_first);
                assert!(is_sorted, "{by:?} {oldest_first} {jobs:#?}");
            }
        }
    });
}

#[test]
fn a_filter_finds_what_a_model_finds() {
    on_each_database(|table| {
        let rows = rows_of_all_kinds();
        table.insert_all(&rows);
        let expect = |name: &str, filter: Filter, model: &dyn Fn(&TestRow) -> bool| {
            let mut found: Vec<_> = all(&table.source, &filter, 6)
                .iter()
                .map(|job| job.key.parts()[1].clone())
                .collect();
            found.sort();
            let mut expected: Vec<_> = rows
                .iter()
                .filter(|row| model(row))
                .map(|row| row.id.clone())
                .collect();
            expected.sort();
            assert!(!expected.is_empty(), "{name}");
            assert_eq!(found, expected, "{name}");
        };
        let all = Filter::default;
        expect("all", all(), &|_| true);
        expect(
            "step",
            Filter {
                step: Some("send".into()),
                ..all()
            },
            &|row| row.status < 100,
        );
        expect(
            "expired",
            Filter {
                expired: true,
                ..all()
            },
            &|row| row.locked.is_some_and(|ago| ago > 900.0),
        );
        // The end of `send` is where `pay` begins.
        expect(
            "step and status",
            Filter {
                step: Some("pay".into()),
                statuses: vec![Status::MorePending, Status::Failed],
                ..all()
            },
            &|row| [40, 130].contains(&row.status),
        );
        expect(
            "statuses",
            Filter {
                statuses: vec![Status::Failed, Status::InProgress],
                ..all()
            },
            &|row| [20, 30].contains(&(row.status % 100)),
        );
        expect(
            "running",
            Filter {
                statuses: vec![Status::InProgress],
                ..all()
            },
            &|row| row.status % 100 == 20,
        );
        expect(
            "older",
            Filter {
                older: Some(Duration::from_secs(300)),
                ..all()
            },
            &|row| row.changed > 300.0,
        );
        expect(
            "newer",
            Filter {
                newer: Some(Duration::from_secs(300)),
                ..all()
            },
            &|row| row.changed < 300.0,
        );
        expect(
            "locked",
            Filter {
                locked: true,
                ..all()
            },
            &|row| row.locked.is_some(),
        );
        expect(
            "later",
            Filter {
                later: true,
                ..all()
            },
            &|row| row.run_in.is_some(),
        );
        expect(
            "exact key",
            Filter {
                key: vec!["1".into(), "job-01".into()],
                ..all()
            },
            &|row| row.id == "job-01",
        );
        expect(
            "part of the key",
            Filter {
                key: vec!["2".into(), String::new()],
                ..all()
            },
            &|row| row.tenant == 2,
        );
        expect(
            "beginning",
            Filter {
                key: vec![String::new(), "job-3*".into()],
                ..all()
            },
            &|row| row.id.starts_with("job-3"),
        );
        expect(
            "error",
            Filter {
                error: Some("HOST 2 is \"DOWN\"".into()),
                ..all()
            },
            &|row| row.errors.contains("host 2 is"),
        );
        expect(
            "group",
            Filter {
                group: Some("host # is \"…\"".into()),
                ..all()
            },
            &|row| row.errors.contains("host"),
        );
    });
}

/// What has succeeded keeps its errors. They are past, and most of the table.
#[test]
fn an_error_is_sought_in_succeeded_jobs_only_where_they_are_chosen() {
    on_each_database(|table| {
        for (id, status) in [("failed", 130), ("pending", 110), ("done", 140)] {
            table.insert(&TestRow::new(id, status).failed_with("timeout after 5 s"));
        }
        let found = |filter: Filter| {
            let jobs = all(&table.source, &filter, 5);
            let mut ids: Vec<_> = jobs.iter().map(|job| job.key.parts()[1].clone()).collect();
            ids.sort();
            ids
        };
        let text = Filter {
            error: Some("timeout".into()),
            ..Filter::default()
        };
        let group = Filter {
            group: Some("timeout after # s".into()),
            ..Filter::default()
        };
        for filter in [text, group] {
            assert_eq!(found(filter.clone()), ["failed", "pending"]);
            let chosen = Filter {
                statuses: vec![Status::Succeeded],
                ..filter
            };
            assert_eq!(found(chosen), ["done"]);
        }
    });
}

#[test]
fn a_hidden_time_is_in_no_list_and_in_no_link() {
    on_each_database(|table| {
        let rows = (0..5).map(|n| TestRow::new(&n.to_string(), 140).changed(f64::from(n)));
        table.insert_all(&rows.collect::<Vec<_>>());
        let info = table.source.info().clone();
        let info = info.with_hidden(["update_at", "create_at"]);
        let described = diesel_status_tracker::DescribedTable::new(info);
        let source = Source::new(described, table.pool());
        for by in [SortBy::UpdateAt, SortBy::CreateAt] {
            let filter = Filter {
                by,
                ..Filter::default()
            };
            let (mut from, mut found) = (From::Start, Vec::new());
            loop {
                let page = page(&source, &filter, &from, 2).unwrap();
                for job in &page.jobs {
                    assert_eq!(
                        (&job.time, job.update_at, job.create_at),
                        (&None, None, None)
                    );
                    found.push(job.key.parts()[1].clone());
                }
                match page.jobs.last().filter(|_| page.has_next) {
                    Some(last) => from = From::After(last.place()),
                    None => break,
                }
            }
            assert_eq!(found, ["4", "3", "2", "1", "0"]);
        }
        let durations = crate::durations::of(&source);
        let pay = durations[1].1.as_ref().unwrap();
        assert!(pay.ran.is_none() && pay.took.is_none(), "{pay:?}");
    });
}

#[test]
fn a_row_shows_what_it_holds() {
    on_each_database(|table| {
        table.insert(&TestRow::new("a/b ?#%'\"\\", 30).failed_with("it's <b>bad</b>"));
        table.insert(&TestRow::new("held", 20).locked(100.0));
        let jobs = all(&table.source, &Filter::default(), 50);
        let failed = jobs.iter().find(|job| job.status == 30.into()).unwrap();
        assert_eq!(failed.key.parts(), ["1", "a/b ?#%'\"\\"]);
        assert_eq!(failed.error.as_deref(), Some("it's <b>bad</b>"));
        assert!(!failed.is_locked && failed.lock_at.is_none());
        let age = Utc::now() - failed.update_at.unwrap();
        assert!((9..60).contains(&age.num_seconds()), "{age}");
        let held = jobs.iter().find(|job| job.is_locked).unwrap();
        assert!(held.lock_at < held.update_at);
        // It is found by its key again.
        let filter = Filter {
            key: failed.key.parts().to_vec(),
            ..Filter::default()
        };
        assert_eq!(
            keys(&all(&table.source, &filter, 5)),
            [failed.key.parts().to_vec()]
        );
    });
}
