use super::*;

/// What somebody may have written into a row, and what a page must never have as it is.
const HOSTILE: [&str; 6] = [
    "<script>alert(1)</script>",
    "\"><img src=x onerror=alert(1)>",
    "' OR '1'='1'; DROP TABLE jobs; --",
    "a/b?c=d#e%20f&g=h+i;j\\k",
    "\u{202e}gnirts \u{200f}\u{2066}txet\u{0007}",
    "🦀 é \u{1}\u{7f}",
];

#[test]
fn keys_and_errors_of_any_text_are_shown_harmlessly() {
    on_each_database(|table| {
        for text in HOSTILE {
            table.insert(&TestRow::new(text, 30).failed_with(text));
        }
        let app = App::new(table, true);
        for text in HOSTILE {
            let filter = form_urlencoded::Serializer::new(String::new())
                .extend_pairs([("error", text), ("key", ""), ("key", text), ("group", text)])
                .finish();
            app.page(table, "jobs", &filter).ok();
            let reason = form_urlencoded::Serializer::new(String::new())
                .extend_pairs([("action", "reset"), ("error", text)])
                .finish();
            let preview = app.page(table, "act-all", &reason).ok();
            for page in [preview, app.page(table, "jobs", &filter)] {
                page.has_not("<img src=x");
                page.has_not("<script>alert");
            }
        }
        for page in ["jobs", "failures"] {
            let answer = app.page(table, page, "").ok();
            answer.has_not("<script>alert");
            answer.has_not("<img src=x");
            if page == "jobs" {
                // Each leads to its own job, whatever is in its key.
                let links: Vec<_> = answer
                    .attributes("href")
                    .into_iter()
                    .filter(|link| link.contains("/job?"))
                    .collect();
                assert_eq!(links.len(), HOSTILE.len());
                for link in links {
                    let job = app.get(&link).ok();
                    job.has_not("<script>alert");
                    job.has_not("<img src=x");
                    job.has("Timeline");
                    let mut form = job.form("/admin/act");
                    form.push(("action".into(), "reset".into()));
                    app.post("/admin/act", &form).ok().has("1 job was reset.");
                }
            }
        }
    });
}

#[test]
fn text_that_runs_backward_stays_within_its_place() {
    on_each_database(|table| {
        table.insert(&TestRow::new(HOSTILE[4], 30).failed_with(HOSTILE[4]));
        let app = App::new(table, false);
        let jobs = app.page(table, "jobs", "").ok();
        // In a key the signs are named; an error stands in a place of its own.
        jobs.has("\\u{202e}gnirts");
        jobs.has("<td class=\"text foreign\">\u{202e}gnirts");
    });
}

#[test]
fn documents_of_any_kind_are_shown_as_they_are() {
    on_each_database(|table| {
        let documents = [
            "",
            "null",
            "[1, 2",
            "{\"error\": 7}",
            "{\"history\": \"x\"}",
            "no JSON <b>",
            "{\"error\":\"cut",
            "\"text\"",
        ];
        for (n, document) in documents.into_iter().enumerate() {
            let mut row = TestRow::new(&n.to_string(), 30);
            row.errors = document.into();
            table.insert(&row);
        }
        let app = App::new(table, false);
        for page in ["jobs", "failures"] {
            let answer = app.page(table, page, "").ok();
            answer.has("no JSON &lt;b&gt;");
            answer.has("[1, 2");
        }
        for n in 0..documents.len() {
            app.page(table, "job", &format!("key=1&key={n}"))
                .ok()
                .has("Timeline");
        }
        let found = app.page(table, "jobs", "error=no+json").ok();
        found.has("no JSON");
        found.has("Jobs that have succeeded were not searched");
    });
}

#[test]
fn errors_of_megabytes_make_no_pages_of_megabytes() {
    on_each_database(|table| {
        let long = "all of it is bad; ".repeat(600_000);
        table.insert(&TestRow::new("long", 30));
        let expression = if table.is_sqlite() {
            "replace(hex(zeroblob(300000)), '00', 'all of it is bad; ')"
        } else {
            "repeat('all of it is bad; ', 300000)"
        };
        table.sql(&format!(
            "UPDATE {} SET errors = {expression}",
            table.name()
        ));
        let mut second = TestRow::new("document", 30);
        second = second.failed_with(&long[..5000]);
        table.insert(&second);
        let app = App::new(table, false);
        for page in ["jobs", "failures"] {
            let answer = app.page(table, page, "").ok();
            answer.has("all of it is bad");
            assert!(answer.text.len() < 50_000, "{page}: {}", answer.text.len());
        }
        let answer = app.page(table, "job", "key=1&key=long").ok();
        assert!(answer.text.len() < 100_000, "{}", answer.text.len());
        answer.has("It is longer than what was read.");
    });
}

#[test]
fn times_and_codes_that_are_none_are_shown_as_none() {
    on_each_database(|table| {
        table.insert(&TestRow::new("a", 999_999));
        table.insert(&TestRow::new("b", 30));
        if table.is_sqlite() {
            table.sql(&format!(
                "UPDATE {} SET create_at = 'yesterday', lock_at = x'ff00', errors = x'ff3c73' WHERE id = 'b'",
                table.name()
            ));
        }
        let app = App::new(table, false);
        app.get("/admin").ok();
        app.page(table, "jobs", "").ok();
        app.page(table, "failures", "").ok();
        app.page(table, "job", "key=1&key=a")
            .ok()
            .has("which no step knows");
        let job = app.page(table, "job", "key=1&key=b").ok();
        if table.is_sqlite() {
            // What is tracked of it cannot be read, and the rest is shown.
            job.has("invalid utf-8");
            job.has("yesterday");
        }
        app.page(table, "durations", "").ok();
    });
}
