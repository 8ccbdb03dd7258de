//! Lists of tables with many rows: how many of them are read.

use diesel::prelude::*;

use super::*;
use crate::database::{ConsoleConnection, Pool, connect};
use crate::testing::described;

/// So many rows has this connection read so far.
fn rows_read(pool: &Pool) -> i64 {
    #[derive(diesel::QueryableByName)]
    struct Counter {
        #[diesel(sql_type = diesel::sql_types::Text, column_name = "Value")]
        value: String,
    }
    let ConsoleConnection::Mysql(conn) = &mut *pool.get().unwrap() else {
        panic!()
    };
    let counters = diesel::sql_query("SHOW SESSION STATUS LIKE 'Handler_read%'");
    let counters: Vec<Counter> = counters.load(conn).unwrap();
    let numbers = counters.iter().map(|counter| counter.value.parse::<i64>());
    numbers.map(Result::unwrap).sum()
}

/// MariaDB would read all rows with the status to come to those in their midst.
#[test]
fn a_page_in_the_midst_of_many_rows_reads_few_of_them() {
    on_each_database(|table| {
        if !table.is_mysql() {
            return;
        }
        table.insert(&TestRow::new("a", 140));
        for n in 0..14 {
            table.sql(&format!(
                "INSERT INTO {0} (tenant, id, status, create_at, update_at, errors) \
                 SELECT tenant + {1}, id, status, create_at, update_at, errors FROM {0}",
                table.name(),
                1 << n
            ));
        }
        table.sql(&format!(
            "UPDATE {0} SET update_at = UTC_TIMESTAMP(6) - INTERVAL tenant SECOND, id = CONCAT('job-', tenant);
             CREATE INDEX {0}_id ON {0} (id); CREATE INDEX {0}_ready ON {0} (status, update_at); ANALYZE TABLE {0}",
            table.name()
        ));
        // All on one connection, which counts.
        let pool = connect(&std::env::var("MYSQL_URL").unwrap(), 1).unwrap();
        let source = Source::new(described(table.name()), pool.clone());
        let pay = Filter {
            step: Some("pay".into()),
            statuses: vec![Status::Succeeded],
            ..Filter::default()
        };
        let older = Filter {
            older: Some(Duration::from_secs(8_000)),
            ..pay.clone()
        };
        let place = page(&source, &older, &From::Start, 1).unwrap().jobs[0].place();
        let beginning = Filter {
            key: vec![String::new(), "job-1599*".into()],
            ..pay.clone()
        };
        for (filter, from, expected) in [
            (&older, From::Start, 50),
            (&pay, From::After(place.clone()), 50),
            (&pay, From::Before(place), 50),
            (&beginning, From::Start, 11),
        ] {
            let before = rows_read(&pool);
            let jobs = page(&source, filter, &from, 50).unwrap().jobs;
            let read = rows_read(&pool) - before;
            assert_eq!(jobs.len(), expected);
            assert!(read < 500, "{read} rows, {from:?}");
        }
    });
}

/// MySQL's indexes begin with the status.
#[test]
fn a_lock_is_sought_in_jobs_in_progress_where_nothing_else_is_indexed() {
    on_each_database(|table| {
        table.insert_all(&[
            TestRow::new("dead", 120).locked(5000.0),
            TestRow::new("odd", 140).locked(5000.0),
        ]);
        let expired = Filter {
            expired: true,
            ..Filter::default()
        };
        let found = page(&table.source, &expired, &From::Start, 5).unwrap();
        assert_eq!(found.means_in_progress, table.is_mysql());
        assert_eq!(found.jobs.len(), if table.is_mysql() { 1 } else { 2 });
        let chosen = Filter {
            statuses: vec![Status::Succeeded],
            ..expired
        };
        let found = page(&table.source, &chosen, &From::Start, 5).unwrap();
        assert_eq!((found.means_in_progress, found.jobs.len()), (false, 1));
    });
}

#[test]
fn a_beginning_of_a_key_is_what_it_says_and_an_index_finds_it() {
    on_each_database(|table| {
        let ids = [
            "a%b", "a_b", "a|b", r"a\b", "a*b", "a[b", "a?b", "axb", "a'b",
        ];
        table.insert_all(&ids.map(|id| TestRow::new(id, 140)));
        for id in ids {
            let filter = Filter {
                key: vec![String::new(), format!("{}*", &id[..2])],
                ..Filter::default()
            };
            let jobs = all(&table.source, &filter, 5);
            assert_eq!(keys(&jobs), [["1", id]], "{filter:?}");
        }
        // Where the primary key finds it too.
        for id in ids {
            let filter = Filter {
                key: vec!["1".into(), format!("{}*", &id[..2])],
                ..Filter::default()
            };
            let jobs = all(&table.source, &filter, 5);
            assert_eq!(keys(&jobs), [["1", id]], "{filter:?}");
        }
        // A number begins with digits.
        let tenant = Filter {
            key: vec!["1*".into(), String::new()],
            ..Filter::default()
        };
        assert_eq!(all(&table.source, &tenant, 5).len(), ids.len());
        if table.is_sqlite() || table.is_mysql() {
            return;
        }
        table.sql(&format!(
            "INSERT INTO {0} (tenant, id, status, create_at, update_at, errors) \
             SELECT n, 'job-' || n, 140, create_at, update_at, errors FROM {0}, generate_series(1, 5000) n WHERE id = 'axb';
             CREATE INDEX ON {0} (id text_pattern_ops); ANALYZE {0}",
            table.name()
        ));
        let plan = table.source.session(PAGE_LIMIT, |session| {
            let condition = session.names().key_is(&[String::new(), "job-49*".into()]);
            let given = [("condition", Part::joined(condition, " AND "))];
            session.ask(&statements::ESTIMATE, QUERY_LIMIT, &given)
        });
        let plan = plan.unwrap();
        let plan = plan[0].text(0).unwrap();
        assert!(
            plan.contains("Index Cond") && plan.contains("job-49"),
            "{plan}"
        );
    });
}

/// SQLite asks the index whenever it can, and sorts what it finds.
#[test]
fn sqlite_finds_few_keys_by_their_index_and_many_by_their_order() {
    on_each_database(|table| {
        if !table.is_sqlite() {
            return;
        }
        table.insert(&TestRow::new("x", 140));
        table.sql(&format!(
            "WITH RECURSIVE numbers (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < 3000)
             INSERT INTO {0} (tenant, id, status, create_at, update_at, errors)
             SELECT 1, 'job-' || n, 140, create_at, update_at, errors FROM {0}, numbers WHERE id = 'x'",
            table.name()
        ));
        for (beginning, is_few, found) in [("job-29*", true, 111), ("job*", false, 3000)] {
            let filter = Filter {
                key: vec!["1".into(), beginning.into()],
                ..Filter::default()
            };
            let few = table
                .source
                .session(PAGE_LIMIT, |session| few_keys(session, &filter));
            assert_eq!(few.unwrap().is_some(), is_few, "{beginning}");
            assert_eq!(all(&table.source, &filter, 500).len(), found);
        }
        #[derive(diesel::QueryableByName)]
        struct Plan {
            #[diesel(sql_type = diesel::sql_types::Text)]
            detail: String,
        }
        let query = format!(
            "EXPLAIN QUERY PLAN SELECT * FROM {} WHERE tenant = 1 AND id GLOB ?",
            table.name()
        );
        let query = diesel::sql_query(query).bind::<diesel::sql_types::Text, _>("job-29*");
        let ConsoleConnection::Sqlite(conn) = &mut *table.pool().get().unwrap() else {
            panic!()
        };
        let plan: Vec<Plan> = query.load(conn).unwrap();
        assert!(
            plan[0].detail.contains("id>? AND id<?"),
            "{}",
            plan[0].detail
        );
    });
}

#[test]
fn a_text_that_no_error_holds_is_sought_in_some_rows_and_then_further() {
    on_each_database(|table| {
        table.insert(&TestRow::new("a", 130).failed_with("usual").changed(50.0));
        for n in 0..13 {
            table.sql(&format!(
                "INSERT INTO {0} (tenant, id, status, create_at, update_at, errors) \
                 SELECT tenant + {1}, id, status, create_at, update_at, errors FROM {0}",
                table.name(),
                1 << n
            ));
        }
        table.insert(&TestRow::new("rare", 130).failed_with("rare").changed(500.0));
        let rare = Filter {
            error: Some("rare".into()),
            ..Filter::default()
        };
        let first = page(&table.source, &rare, &From::Start, 5).unwrap();
        assert!(first.jobs.is_empty());
        let from = From::After(first.searched_to.unwrap());
        let second = page(&table.source, &rare, &from, 5).unwrap();
        assert_eq!(keys(&second.jobs), [["1", "rare"]]);
        assert_eq!(second.searched_to, None);
        let usual = Filter {
            error: Some("usual".into()),
            ..Filter::default()
        };
        let many = page(&table.source, &usual, &From::Start, 5).unwrap();
        assert_eq!(
            (many.jobs.len(), many.has_next, many.searched_to),
            (5, true, None)
        );
    });
}
