use diesel::connection::SimpleConnection;

use super::*;

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
        let mark = ("mark".to_owned(), "[\"1\",\"a\"]".to_owned());
        form.resize(form.len() + 500, mark.clone());
        app.post("/admin/act", &form).ok().has("500 passed over");
        form.push(mark);
        let answer = app.post("/admin/act", &form);
        assert_eq!(answer.status, StatusCode::BAD_REQUEST);
        answer.has("choose them by a filter");
    });
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
