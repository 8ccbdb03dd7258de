use super::*;
use crate::overview::Count;

fn status(table: &TestTable, id: &str) -> String {
    let key = ["1", id].into();
    table.source.find(&key).unwrap().unwrap().status.to_string()
}

#[test]
fn one_job_is_reset_by_the_form_of_its_page() {
    on_each_database(|table| {
        table.insert(&TestRow::new("a \"b\" & <c>", 50));
        let app = App::new(table, true);
        let page = app
            .page(table, "job", "key=1&key=a+%22b%22+%26+%3Cc%3E")
            .ok();
        let mut form = page.form("/admin/act");
        form.push(("action".into(), "reset".into()));
        app.post("/admin/act", &form).ok().has("1 job was reset.");
        assert_eq!(status(table, "a \"b\" & <c>"), "10");
    });
}

#[test]
fn marked_jobs_are_ignored_with_a_reason() {
    on_each_database(|table| {
        table.insert_all(&[
            TestRow::new("a", 30),
            TestRow::new("b", 30),
            TestRow::new("held", 20).locked(1.0),
        ]);
        let app = App::new(table, true);
        let page = app.page(table, "jobs", "").ok();
        let mut form = page.form("/admin/act");
        for mark in page
            .attributes("value")
            .into_iter()
            .filter(|value| value.starts_with("{\"key\""))
        {
            form.push(("mark".into(), mark));
        }
        form.push(("action".into(), "ignore".into()));
        let answer = app.post("/admin/act", &form);
        assert_eq!(answer.status, StatusCode::BAD_REQUEST);
        answer.has("give a reason");
        assert_eq!(status(table, "a"), "30");

        form.push(("reason".into(), "a test".into()));
        let answer = app.post("/admin/act", &form).ok();
        answer.has("2 jobs were ignored.");
        answer.has("1 passed over");
        assert_eq!(
            (status(table, "a"), status(table, "held")),
            ("50".into(), "20".into())
        );
    });
}

#[test]
fn a_mark_holds_how_the_job_was_when_the_page_was_made() {
    on_each_database(|table| {
        table.insert(&TestRow::new("a", 30).changed(90.0));
        let app = App::new(table, true);
        for page in ["jobs", "job"] {
            let page = app.page(table, page, "key=1&key=a").ok();
            let mut form = page.form("/admin/act");
            if !form.iter().any(|(name, _)| name == "mark") {
                let marks = page.attributes("value").into_iter();
                let mut marks = marks.filter(|value| value.starts_with("{\"key\""));
                form.push(("mark".into(), marks.next().unwrap()));
            }
            form.push(("action".into(), "reset".into()));
            // Succeeded by a transaction that was committed only now.
            table.sql(&format!("DELETE FROM {}", table.name()));
            table.insert(&TestRow::new("a", 40).changed(60.0));
            let answer = app.post("/admin/act", &form).ok();
            answer.has("Nothing was changed");
            answer.has("1 / a: it has changed since it was shown");
            assert_eq!(status(table, "a"), "40");
            table.sql(&format!("DELETE FROM {}", table.name()));
            table.insert(&TestRow::new("a", 30).changed(90.0));
        }
    });
}

#[test]
fn a_group_of_failures_is_reset_after_a_look_and_in_pieces() {
    on_each_database(|table| {
        let mut rows: Vec<_> = (0..700)
            .map(|n| {
                TestRow::new(&n.to_string(), if n % 2 == 0 { 30 } else { 50 })
                    .failed_with(&format!("timeout after {n} s"))
            })
            .collect();
        rows.push(TestRow::new("other", 30).failed_with("no such file"));
        table.insert_all(&rows);
        let app = App::new(table, true);
        let failures = app.page(table, "failures", "").ok();
        let link = failures
            .attributes("href")
            .into_iter()
            .find(|link| link.contains("act-all"))
            .unwrap();
        let preview = app.get(&link).ok();
        preview.has("<strong>700</strong> jobs now");
        assert_eq!(status(table, "0"), "30");

        let mut answer = app
            .post("/admin/act-all", &preview.form("/admin/act-all"))
            .ok();
        let mut pieces = 1;
        while answer.text.contains("Go on") {
            answer.has("role=\"button\">Stop</a>");
            answer = app
                .post("/admin/act-all", &answer.form("/admin/act-all"))
                .ok();
            pieces += 1;
        }
        assert!(pieces > 1, "{pieces}");
        answer.has("700 jobs were reset.");
        assert_eq!(
            (status(table, "699"), status(table, "other")),
            ("10".into(), "30".into())
        );
        let left = crate::failures::of(&table.source, None).unwrap();
        assert_eq!(left.looked_at, 1);
        let pending = crate::jobs::filter::Filter {
            step: Some("send".into()),
            statuses: vec![crate::status::Status::Pending],
            ..Default::default()
        };
        assert_eq!(
            crate::actions::count(&table.source, &pending)
                .unwrap()
                .count,
            Count::Exactly(700)
        );
    });
}

#[test]
fn a_reset_of_a_list_by_its_errors_leaves_finished_jobs_alone() {
    on_each_database(|table| {
        let codes = [
            ("failed", 130),
            ("ignored", 150),
            ("done", 140),
            ("new", 110),
        ];
        let rows = codes.map(|(id, code)| TestRow::new(id, code).failed_with("timeout"));
        table.insert_all(&rows);
        let app = App::new(table, true);
        let link = |query: &str| {
            let page = app.page(table, "jobs", query).ok();
            let mut links = page.attributes("href").into_iter();
            links.find(|link| link.contains("action=reset")).unwrap()
        };
        for query in ["error=timeout", "older=1s"] {
            let preview = app.get(&link(query)).ok();
            preview.has("<strong>2</strong> jobs now: 1 failed, 1 ignored. ");
            preview.has_not("run again");
        }
        let chosen = "error=timeout&status=succeeded&status=failed&step=pay";
        let preview = app.get(&link(chosen)).ok();
        preview.has("<strong>2</strong> jobs now: 1 succeeded, 1 failed. ");
        preview.has("Jobs that have finished are among them, and will run again.");

        // Whoever leaves the statuses out of the form means the same.
        let preview = app.get(&link("error=timeout")).ok();
        let mut form = preview.form("/admin/act-all");
        form.retain(|(name, _)| name != "status");
        let answer = app.post("/admin/act-all", &form).ok();
        answer.has("2 jobs were reset.");
        assert_eq!(status(table, "done"), "140");
    });
}

#[test]
fn a_piece_that_has_failed_may_be_tried_again() {
    on_each_database(|table| {
        let rows = (0..150).map(|n| TestRow::new(&format!("{n:03}"), 30));
        table.insert_all(&rows.collect::<Vec<_>>());
        let app = App::new(table, true);
        let preview = app
            .page(table, "act-all", "action=reset&status=failed")
            .ok();
        let first = app
            .post("/admin/act-all", &preview.form("/admin/act-all"))
            .ok();
        first.has("100 jobs were reset.");
        let rename =
            |from: &str, to: &str| table.sql(&format!("ALTER TABLE {from} RENAME TO {to}"));
        let away = format!("{}_away", table.name());
        rename(table.name(), &away);
        let failed = app.post("/admin/act-all", &first.form("/admin/act-all"));
        assert_eq!(failed.status, StatusCode::INTERNAL_SERVER_ERROR);
        failed.has("Before that: 100 jobs were reset.");
        rename(&away, table.name());
        app.post("/admin/act-all", &failed.form("/admin/act-all"))
            .ok()
            .has("150 jobs were reset.");
    });
}

#[test]
fn old_finished_jobs_are_pruned_and_no_others() {
    on_each_database(|table| {
        let mut rows: Vec<_> = (0..30)
            .map(|n| TestRow::new(&n.to_string(), 140).changed(f64::from(n * 3600)))
            .collect();
        rows.push(TestRow::new("ready", 10).changed(1e6));
        rows.push(TestRow::new("next step's", 40).changed(1e6));
        rows.push(TestRow::new("ignored", 150).changed(1e6));
        table.insert_all(&rows);
        let app = App::new(table, true);
        let link = |page: Answer| {
            page.ok()
                .attributes("href")
                .into_iter()
                .find(|link| link.contains("action=prune"))
        };
        assert_eq!(link(app.page(table, "jobs", "")), None);
        assert_eq!(
            link(app.page(table, "jobs", "status=succeeded&step=pay")),
            None
        );
        // Where one step ends the next begins.
        assert_eq!(
            link(app.page(table, "jobs", "status=succeeded&older=30m")),
            None
        );
        let answer = app.page(table, "act-all", "action=prune&status=succeeded&older=30m");
        assert_eq!(answer.status, StatusCode::BAD_REQUEST);
        answer.has("step pay still works on jobs with the status 40");
        app.page(
            table,
            "act-all",
            "action=prune&status=succeeded&step=pay&older=1h&error=x",
        )
        .has("choose succeeded or ignored");

        let link = link(app.page(table, "jobs", "status=succeeded&step=pay&older=630m")).unwrap();
        let preview = app.get(&link).ok();
        preview.has("<strong>19</strong> jobs now");
        let mut form = preview.form("/admin/act-all");
        app.post("/admin/act-all", &form)
            .ok()
            .has("19 jobs were deleted.");
        let left = table
            .source
            .session(crate::overview::PAGE_LIMIT, |session| {
                crate::jobs::rows(
                    session,
                    &crate::jobs::filter::Filter::default(),
                    &crate::jobs::filter::From::Start,
                    100,
                )
            });
        assert_eq!(left.unwrap().len(), 14);

        // What the form says is checked again.
        form.retain(|(name, _)| name != "older");
        let answer = app.post("/admin/act-all", &form);
        assert_ne!(answer.status, StatusCode::OK);
        answer.has("cannot be pruned");
    });
}

#[test]
fn a_read_only_console_changes_nothing() {
    on_each_database(|table| {
        table.insert(&TestRow::new("a", 50));
        let form = App::new(table, true)
            .page(table, "job", "key=1&key=a")
            .ok()
            .form("/admin/act");
        let app = App::new(table, false);
        for page in PAGES {
            app.page(table, page, "key=1&key=a")
                .ok()
                .has_not("method=\"post\" action=\"/admin/act-all\"");
        }
        app.page(table, "job", "key=1&key=a")
            .ok()
            .has_not("/admin/act\"");
        let mut form = form;
        form.push(("action".into(), "reset".into()));
        for path in ["/admin/act", "/admin/act-all"] {
            let answer = app.post(path, &form);
            assert_eq!(answer.status, StatusCode::FORBIDDEN);
            answer.has("read-only");
        }
        assert_eq!(status(table, "a"), "50");
    });
}

#[test]
fn only_a_page_of_the_console_changes_something() {
    on_each_database(|table| {
        table.insert(&TestRow::new("a", 50));
        let app = App::new(table, true);
        let mut form = app
            .page(table, "job", "key=1&key=a")
            .ok()
            .form("/admin/act");
        form.push(("action".into(), "reset".into()));
        let refused: [&[(&str, &str)]; 6] = [
            &[],
            &[("sec-fetch-site", "cross-site")],
            &[
                ("sec-fetch-site", "same-site"),
                ("origin", "http://jobs.test"),
                ("host", "jobs.test"),
            ],
            &[("origin", "http://evil.test"), ("host", "jobs.test")],
            &[("origin", "null"), ("host", "jobs.test")],
            &[("host", "jobs.test")],
        ];
        for headers in refused {
            let answer = app.post_with("/admin/act", &form, headers);
            assert_eq!(answer.status, StatusCode::FORBIDDEN, "{headers:?}");
        }
        assert_eq!(status(table, "a"), "50");
        // A link changes nothing either.
        let query = form_urlencoded::Serializer::new(String::new())
            .extend_pairs(&form)
            .finish();
        assert_eq!(
            app.get(&format!("/admin/act?{query}")).status,
            StatusCode::METHOD_NOT_ALLOWED
        );
        app.get(&format!("/admin/act-all?{query}")).ok();
        assert_eq!(status(table, "a"), "50");

        let own = [
            ("origin", "http://jobs.test:8080"),
            ("host", "jobs.test:8080"),
        ];
        app.post_with("/admin/act", &form, &own).ok();
        assert_eq!(status(table, "a"), "10");
    });
}
