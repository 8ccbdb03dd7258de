use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use diesel::SqliteConnection;
use diesel::connection::SimpleConnection;
use diesel::r2d2::{self, ConnectionManager};

use super::*;
use crate::table::Source;
use crate::testing::described;

#[test]
fn a_form_of_megabytes_is_refused() {
    on_each_database(|table| {
        let app = App::new(table, true);
        let form = pairs(&[("table", &"x".repeat(2_000_000))]);
        assert_eq!(
            app.post("/admin/act", &form).status,
            StatusCode::PAYLOAD_TOO_LARGE
        );
    });
}

#[test]
fn a_form_with_too_many_jobs_is_refused() {
    on_each_database(|table| {
        let app = App::new(table, true);
        let mut form = pairs(&[
            ("table", table.name()),
            ("action", "reset"),
            ("seen_at", "1"),
        ]);
        let mark = ("mark".to_owned(), "{\"key\":[\"1\",\"a\"]}".to_owned());
        form.resize(form.len() + 500, mark.clone());
        app.post("/admin/act", &form).ok().has("500 passed over");
        form.push(mark);
        let answer = app.post("/admin/act", &form);
        assert_eq!(answer.status, StatusCode::BAD_REQUEST);
        answer.has("choose them by a filter");
    });
}

/// A table whose database gives no connection, with what counts those that it has given.
fn small_pool() -> (SqlitePool, Arc<AtomicUsize>) {
    #[derive(Debug)]
    struct Counter(Arc<AtomicUsize>);
    impl r2d2::HandleEvent for Counter {
        fn handle_checkout(&self, _: r2d2::event::CheckoutEvent) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }
    let given = Arc::new(AtomicUsize::new(0));
    let pool = r2d2::Pool::builder()
        .max_size(1)
        .event_handler(Box::new(Counter(Arc::clone(&given))))
        .build(ConnectionManager::new(":memory:"));
    (pool.unwrap(), given)
}

type SqlitePool = r2d2::Pool<ConnectionManager<SqliteConnection>>;

#[test]
fn a_database_that_gives_no_connection_does_not_keep_others_waiting() {
    on_each_database(|table| {
        let (pool, _) = small_pool();
        let stuck = Source::new(described("stuck"), pool.clone());
        let console = Console::new().source(table.source.clone()).unwrap();
        let app = App(console.source(stuck).unwrap().router());
        let held = pool.get().unwrap();
        let asked: Vec<_> = (0..8)
            .map(|_| {
                let request = Request::get("/jobs?table=stuck").body(Body::empty());
                RUNTIME.spawn(app.0.clone().oneshot(request.unwrap()))
            })
            .collect();
        for _ in 0..8 {
            app.get(&format!("/jobs?table={}", table.name())).ok();
        }
        drop(held);
        for one in asked {
            RUNTIME.block_on(one).unwrap().unwrap();
        }
    });
}

#[test]
fn many_open_overviews_cost_no_more_than_a_few() {
    let (pool, given) = small_pool();
    let console = Console::new().source(Source::new(described("jobs"), pool));
    let router: Router = console.unwrap().router();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let asked: Vec<_> = (0..20)
            .map(|_| {
                let request = Request::get("/").body(Body::empty()).unwrap();
                tokio::spawn(router.clone().oneshot(request))
            })
            .collect();
        for one in asked {
            assert_eq!(one.await.unwrap().unwrap().status(), StatusCode::OK);
        }
    });
    let given = given.load(Ordering::Relaxed);
    assert!((1..10).contains(&given), "{given}");
}

#[test]
fn a_list_that_takes_too_long_says_so_and_the_rest_of_the_page_stands() {
    on_each_database(|table| {
        // SQLite has no limit of the time.
        if table.is_sqlite() {
            return;
        }
        let app = App::new(table, true);
        let mut conn = table.pool().get().unwrap();
        let lock = match &*conn {
            crate::ConsoleConnection::Mysql(_) => format!("LOCK TABLES {} WRITE", table.name()),
            _ => format!("BEGIN; LOCK TABLE {}", table.name()),
        };
        conn.batch_execute(&lock).unwrap();
        let answer = app.page(table, "jobs", "").ok();
        answer.has("did not answer the query JOBS");
        answer.has("an index on the status");
        answer.has("Show all");
        // MySQL has no limit for what the tracker itself reads.
        if matches!(&*conn, crate::ConsoleConnection::Postgres(_)) {
            let answer = app.page(table, "job", "key=1&key=a");
            assert_eq!(answer.status, StatusCode::INTERNAL_SERVER_ERROR);
            answer.has("canceling statement due to statement timeout");
        }
        let unlock = match &*conn {
            crate::ConsoleConnection::Mysql(_) => "UNLOCK TABLES",
            _ => "ROLLBACK",
        };
        conn.batch_execute(unlock).unwrap();
        app.page(table, "jobs", "").ok().has("There are none.");
    });
}
