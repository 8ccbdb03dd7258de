//! Pages of a table that is known at run time, and rows as they are shown.

use diesel_status_tracker::{DescribedTable, JobQuery, SortBy, StatusTracked, TableInfo};

use super::database::TestDb;
use super::described::{code, create, described};
use super::jobs::{Job, Status};

#[test]
fn pages_follow_each_other_both_ways_whatever_the_times() {
    let db = TestDb::new();
    let pool = db.pool(1);
    let ids: Vec<_> = (0..23).map(|n| format!("job-{n:02}")).collect();
    for id in &ids {
        create(&pool, &[id]);
    }
    // Several with one time, and none in the order of their keys.
    for (n, id) in ids.iter().enumerate() {
        let second = (n * 7) % 5;
        db.sql(&format!(
            "UPDATE jobs SET update_at = '2026-01-01 00:00:0{second}.500' WHERE id = '{id}'"
        ));
    }
    let mut sorted: Vec<_> = (0..23)
        .map(|n| ((n * 7) % 5, format!("job-{n:02}")))
        .collect();
    sorted.sort();
    let table = described();
    for newest_first in [false, true] {
        let query = JobQuery::of([code(Status::Pending)]).limit(4);
        let query = match newest_first {
            true => query.newest_first(),
            false => query,
        };
        let expected: Vec<_> = match newest_first {
            true => sorted.iter().rev().map(|(_, id)| id).collect(),
            false => sorted.iter().map(|(_, id)| id).collect(),
        };
        let (mut forth, mut pages) = (Vec::new(), vec![table.list(&pool, &query).unwrap()]);
        loop {
            let page = pages.last().unwrap();
            forth.extend(page.jobs.iter().map(|job| job.key.parts()[0].clone()));
            if !page.has_more {
                break;
            }
            let last = page.jobs.last().unwrap().place(SortBy::UpdateAt);
            pages.push(table.list(&pool, &query.clone().after(last)).unwrap());
        }
        assert_eq!(forth.iter().collect::<Vec<_>>(), expected);
        for pair in pages.windows(2) {
            let first = pair[1].jobs[0].place(SortBy::UpdateAt);
            let back = table.list(&pool, &query.clone().before(first)).unwrap();
            let keys = |page: &diesel_status_tracker::JobPage| {
                page.jobs
                    .iter()
                    .map(|job| job.key.clone())
                    .collect::<Vec<_>>()
            };
            assert_eq!(keys(&back), keys(&pair[0]));
        }
    }
    // The place of a row outlives the row.
    let query = JobQuery::of([code(Status::Pending)]).limit(3);
    let first = table.list(&pool, &query).unwrap();
    let place = first.jobs[2].place(SortBy::UpdateAt);
    let next = table
        .list(&pool, &query.clone().after(place.clone()))
        .unwrap();
    db.sql(&format!(
        "DELETE FROM jobs WHERE id = '{}'",
        place.key.parts()[0]
    ));
    let again = table.list(&pool, &query.after(place)).unwrap();
    assert_eq!(again.jobs[0].key, next.jobs[0].key);
}

#[test]
fn a_row_is_shown_as_the_database_has_it_and_cut_by_it() {
    let db = TestDb::new();
    let pool = db.pool(1);
    create(&pool, &["a", "b"]);
    let long = "ä".repeat(100_000);
    Job::run_job(&pool, "a", |_, updates| {
        updates.data = Some(serde_json::json!({ "text": long }));
        Ok(())
    })
    .unwrap();
    let table = described();
    let shown = |key: &str, most| table.row(&pool, key, most).unwrap().unwrap();
    let names: Vec<_> = shown("a", 100)
        .into_iter()
        .map(|column| column.name)
        .collect();
    let mut sorted = names.clone();
    sorted.sort();
    assert_eq!(
        sorted,
        [
            "create_at",
            "data",
            "errors",
            "id",
            "lock",
            "lock_at",
            "retry",
            "status",
            "update_at"
        ]
    );
    let of = |columns: Vec<diesel_status_tracker::ColumnText>, name: &str| {
        columns
            .into_iter()
            .find(|column| column.name == name)
            .unwrap()
    };
    let data = of(shown("a", 100), "data");
    let text = data.text.unwrap();
    assert!(data.is_cut && text.contains("ää"), "{text}");
    assert!((98..=100).contains(&text.len()), "{}", text.len());
    assert_eq!(of(shown("a", 100), "status").text.as_deref(), Some("40"));
    assert_eq!(of(shown("a", 100), "lock").text, None);
    assert_eq!(of(shown("b", 100), "data").text, None);
    assert!(table.row(&pool, "c", 100).unwrap().is_none());

    let info = TableInfo::of::<Job>().unwrap().with_hidden(["data"]);
    let columns = DescribedTable::new(info)
        .row(&pool, "a", 100)
        .unwrap()
        .unwrap();
    assert!(columns.iter().all(|column| column.name != "data"));
}
