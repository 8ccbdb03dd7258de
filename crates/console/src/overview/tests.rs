use serde_json::json;

use super::count::{CAP, expected_rows};
use super::*;

#[test]
fn numbers_and_spans_are_for_people() {
    assert_eq!(grouped(0), "0");
    assert_eq!(grouped(1_234_567), "1,234,567");
    assert_eq!(grouped(-999), "-999");
    assert_eq!(Count::MoreThan(CAP).to_string(), "10,000+");
    assert_eq!(span(Duration::from_millis(52)), "52 ms");
    assert_eq!(span(Duration::from_millis(2500)), "2.5 s");
    assert_eq!(span(Duration::from_secs(3 * 3600 + 61)), "3 h 1 min");
    assert_eq!(span(Duration::from_secs(90_000)), "1 d 1 h");
}

#[test]
fn the_planners_number_is_found_in_each_databases_plan() {
    let postgres =
        json!([{ "Plan": { "Node Type": "Seq Scan", "Plan Rows": 7, "Plan Width": 4 } }]);
    let mariadb = json!({ "query_block": { "nested_loop": [{ "table": { "table_name": "jobs", "rows": 8 } }] } });
    let mysql = json!({ "query_block": { "table": { "rows_examined_per_scan": 9 } } });
    assert_eq!(expected_rows(&postgres), Some(7));
    assert_eq!(expected_rows(&mariadb), Some(8));
    assert_eq!(expected_rows(&mysql), Some(9));
    assert_eq!(
        expected_rows(&json!({ "query_block": { "message": "no rows" } })),
        None
    );
}

fn step() -> StepOverview {
    StepOverview {
        step: "job".into(),
        counts: Vec::new(),
        oldest_ready_seconds: None,
        running: Some(Count::Exactly(0)),
        expired: Some(Count::Exactly(0)),
        hour: Some(LastHour {
            curve: vec![Minute::default(); 60],
            ..LastHour::default()
        }),
        verdict: Verdict::Unknown,
        because: String::new(),
        problems: Vec::new(),
        is_oldest_known: true,
        passed_on: None,
    }
}

#[test]
fn the_verdict_follows_from_the_numbers() {
    let told = |change: &dyn Fn(&mut StepOverview)| {
        let mut step = step();
        change(&mut step);
        verdict(&step).0
    };
    assert_eq!(told(&|_| {}), Verdict::Idle);
    assert_eq!(
        told(&|step| step.running = Some(Count::Exactly(1))),
        Verdict::Working
    );
    assert_eq!(
        told(&|step| step.oldest_ready_seconds = Some(5)),
        Verdict::Working
    );
    assert_eq!(
        told(&|step| step.oldest_ready_seconds = Some(400)),
        Verdict::FallingBehind
    );
    assert_eq!(
        told(&|step| step.oldest_ready_seconds = Some(4000)),
        Verdict::Stuck
    );
    let finishes = |step: &mut StepOverview| {
        let hour = step.hour.as_mut().unwrap();
        (hour.finished, hour.curve[59].finished) = (1, 1);
        step.oldest_ready_seconds = Some(4000);
    };
    assert_eq!(told(&finishes), Verdict::FallingBehind);
    assert_eq!(
        told(&|step| step.expired = Some(Count::Exactly(1))),
        Verdict::Stuck
    );
    assert_eq!(
        told(&|step| step.hour.as_mut().unwrap().failed = 1),
        Verdict::Failing
    );
    assert_eq!(told(&|step| step.hour = None), Verdict::Unknown);
    assert_eq!(told(&|step| step.is_oldest_known = false), Verdict::Unknown);
}

#[test]
fn a_step_whose_jobs_go_on_to_the_next_is_not_taken_for_a_failing_or_a_stuck_one() {
    use crate::testing::{TestRow, on_each_database};
    on_each_database(|table| {
        table.insert_all(&[
            TestRow::new("waits", 10).changed(4000.0),
            TestRow::new("failed", 30).changed(50.0),
            TestRow::new("paid", 140).changed(20.0),
            TestRow::new("pays", 120).changed(5.0).locked(5.0),
        ]);
        let overview = of(&table.source).unwrap();
        let [send, pay] = &*overview.steps else {
            panic!("{overview:#?}");
        };
        assert_eq!(send.verdict, Verdict::FallingBehind, "{}", send.because);
        assert_eq!(pay.verdict, Verdict::Working, "{}", pay.because);

        table.sql(&format!("DELETE FROM {} WHERE status >= 110", table.name()));
        let overview = of(&table.source).unwrap();
        assert_eq!(overview.steps[0].verdict, Verdict::Stuck);
    });
}

#[test]
fn an_overview_counts_what_there_is() {
    use crate::testing::{TestRow, on_each_database};
    on_each_database(|table| {
        let expired = 20.0 * 60.0;
        table.insert_all(&[
            TestRow::new("ready", 10).changed(100.0),
            TestRow::new("failed", 30).changed(50.0),
            TestRow::new("old failure", 30).changed(4000.0),
            TestRow::new("running", 20).locked(5.0),
            TestRow::new("dead", 20).locked(expired),
            TestRow::new("done", 40).changed(70.0),
            TestRow::new("done too", 40).changed(130.0),
            TestRow::new("ignored", 50).changed(10.0),
            TestRow::new("paid", 140),
            TestRow::new("unknown", 77),
        ]);
        let mut later = TestRow::new("later", 10).changed(9000.0);
        later.run_in = Some(500.0);
        table.insert(&later);

        let overview = of(&table.source).unwrap();
        let [send, pay] = &*overview.steps else {
            panic!("{overview:#?}");
        };
        assert!(send.problems.is_empty(), "{overview:#?}");
        let count = |step: &StepOverview, status| {
            let found = step.counts.iter().find(|(other, _)| *other == status);
            found.and_then(|(_, count)| *count)
        };
        for (status, number) in [
            (Status::Pending, 2),
            (Status::InProgress, 2),
            (Status::Failed, 2),
            (Status::Succeeded, 2),
            (Status::Ignored, 1),
        ] {
            assert_eq!(
                count(send, status),
                Some(Count::Exactly(number)),
                "{status}"
            );
        }
        assert_eq!(count(pay, Status::MorePending), Some(Count::Exactly(2)));
        assert_eq!(send.running, Some(Count::Exactly(2)));
        assert_eq!(send.expired, Some(Count::Exactly(1)));
        // Not the one that is due later.
        let oldest = send.oldest_ready_seconds.unwrap();
        assert!((4000..4100).contains(&oldest), "{oldest}");
        let hour = send.hour.as_ref().unwrap();
        assert_eq!((hour.finished, hour.failed, hour.ignored), (2, 1, 1));
        assert_eq!(hour.curve.len(), 60);
        let finished: i64 = hour.curve.iter().map(|minute| minute.finished).sum();
        assert_eq!(finished, 2);
        assert_eq!(send.verdict, Verdict::Stuck);
        assert_eq!(pay.hour.as_ref().unwrap().finished, 1);
        assert!((130..200).contains(&pay.oldest_ready_seconds.unwrap()));
    });
}

#[test]
fn more_rows_than_the_cap_are_not_counted() {
    use crate::testing::{TestRow, on_each_database};
    on_each_database(|table| {
        table.insert(&TestRow::new("0", 40));
        // Twice as many each time.
        for n in 0..14 {
            table.sql(&format!(
                "INSERT INTO {0} (tenant, id, status, create_at, update_at, errors) SELECT tenant + {1}, id, status, create_at, update_at, errors FROM {0}",
                table.name(), 1 << n
            ));
        }
        // With a bound value too.
        let filter = crate::jobs::filter::Filter {
            error: Some("{".into()),
            ..Default::default()
        };
        let found = crate::actions::count(&table.source, &filter).unwrap().count;
        assert!(!matches!(found, Count::Exactly(_)), "{found:?}");
        assert_eq!(
            matches!(found, Count::About(_)),
            !table.is_sqlite() && found.number() > CAP
        );
        let overview = of(&table.source).unwrap();
        let (_, count) = overview.steps[0]
            .counts
            .iter()
            .find(|(status, _)| *status == Status::Succeeded)
            .unwrap();
        match count.unwrap() {
            Count::MoreThan(number) => assert_eq!(number, CAP),
            Count::About(number) => assert!(number > CAP, "{number}"),
            Count::Exactly(_) => panic!("{overview:#?}"),
        }
        assert_eq!(
            matches!(count.unwrap(), Count::MoreThan(_)),
            table.is_sqlite() || count.unwrap().number() == CAP
        );
    });
}

#[test]
fn what_took_too_long_to_count_is_estimated_for_a_while() {
    use crate::testing::{TestRow, on_each_database};
    on_each_database(|table| {
        table.insert_all(&[TestRow::new("a", 10), TestRow::new("b", 10)]);
        let counted = |condition: &str| {
            table
                .source
                .session(PAGE_LIMIT, |session| sum(session, vec![condition.into()]))
                .unwrap()
        };
        assert_eq!(counted("status = 10"), Count::Exactly(2));
        table.source.found_slow(&Part::from("status = 10").name());
        // A clone is the same table.
        assert!(
            table
                .source
                .clone()
                .is_slow(&Part::from("status = 10").name())
        );
        let is_estimate = matches!(counted("status = 10"), Count::About(_));
        assert_eq!(is_estimate, !table.is_sqlite());
        assert_eq!(counted("status IN (10)"), Count::Exactly(2));
    });
}

/// A planner multiplies what conditions say apart from each other.
#[test]
fn an_estimate_is_near_the_number_of_rows() {
    use crate::testing::{TestRow, on_each_database};
    on_each_database(|table| {
        table.insert_all(&[TestRow::new("pending", 110), TestRow::new("done", 140)]);
        for n in 0..14 {
            table.sql(&format!(
                "INSERT INTO {0} (tenant, id, status, create_at, update_at, errors) \
                 SELECT tenant + {1}, id, status, create_at, update_at, errors FROM {0}",
                table.name(),
                1 << n
            ));
        }
        let is_postgres = !table.is_sqlite() && !table.is_mysql();
        let counts = |statuses: &[Status]| {
            if is_postgres {
                table.sql(&format!("ANALYZE {}", table.name()));
            }
            let overview = of(&table.source).unwrap();
            let pay = &overview.steps[1];
            let of_status = |status: &Status| {
                let mut counts = pay.counts.iter();
                counts.find(|(other, _)| other == status).unwrap().1
            };
            let counts: Vec<_> = statuses.iter().map(of_status).collect();
            (counts, pay.running)
        };
        let check = |count: Option<Count>| {
            let count = count.unwrap();
            assert!(count.number() >= CAP, "{count:?}");
            let is_near = matches!(count, Count::About(15_000..=18_000));
            assert!(is_near || !is_postgres, "{count:?}");
        };
        let (found, _) = counts(&[Status::Pending, Status::Succeeded]);
        found.into_iter().for_each(check);
        table.sql(&format!(
            "UPDATE {} SET status = 120, {} = 'token', lock_at = update_at WHERE status = 140",
            table.name(),
            table.lock()
        ));
        let (found, running) = counts(&[Status::InProgress]);
        found.into_iter().chain([running]).for_each(check);
    });
}
