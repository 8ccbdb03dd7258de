//! The pages, through the router.

mod actions;
mod hostile;
mod limits;

use std::sync::LazyLock;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::header::{CONTENT_TYPE, HeaderMap};
use axum::http::{Request, StatusCode};
use tokio::runtime::Runtime;
use tower::ServiceExt;

use crate::console::Console;
use crate::testing::{TestRow, TestTable, on_each_database};

static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| Runtime::new().unwrap());

/// An application that has the console under `/admin`.
struct App(Router);

struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    text: String,
}

impl App {
    fn new(table: &TestTable, has_actions: bool) -> Self {
        let console = Console::new().source(table.source.clone()).unwrap();
        let console = console.actions(has_actions).who("x-user".parse().unwrap());
        Self(Router::new().nest("/admin", console.router()))
    }

    fn send(&self, request: Request<Body>) -> Answer {
        RUNTIME.block_on(async {
            let response = self.0.clone().oneshot(request).await.unwrap();
            let (parts, body) = response.into_parts();
            let body = to_bytes(body, usize::MAX).await.unwrap();
            Answer {
                status: parts.status,
                headers: parts.headers,
                text: String::from_utf8(body.into()).unwrap(),
            }
        })
    }

    fn get(&self, path: &str) -> Answer {
        self.send(Request::get(path).body(Body::empty()).unwrap())
    }

    fn post(&self, path: &str, pairs: &[(String, String)]) -> Answer {
        self.post_with(path, pairs, &[("sec-fetch-site", "same-origin")])
    }

    fn post_with(
        &self,
        path: &str,
        pairs: &[(String, String)],
        headers: &[(&str, &str)],
    ) -> Answer {
        let body = form_urlencoded::Serializer::new(String::new())
            .extend_pairs(pairs)
            .finish();
        let mut request =
            Request::post(path).header(CONTENT_TYPE, "application/x-www-form-urlencoded");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        self.send(request.body(Body::from(body)).unwrap())
    }

    /// A page of the table.
    fn page(&self, table: &TestTable, page: &str, query: &str) -> Answer {
        self.get(&format!("/admin/{page}?table={}&{query}", table.name()))
    }
}

impl Answer {
    #[track_caller]
    fn ok(self) -> Self {
        assert_eq!(self.status, StatusCode::OK, "{}", self.text);
        self
    }

    #[track_caller]
    fn has(&self, text: &str) {
        assert!(self.text.contains(text), "no {text:?} in {}", self.text);
    }

    #[track_caller]
    fn has_not(&self, text: &str) {
        assert!(!self.text.contains(text), "{text:?} in {}", self.text);
    }

    /// The values of an attribute, as a browser has them.
    fn attributes(&self, name: &str) -> Vec<String> {
        let start = format!(" {name}=\"");
        let pieces = self.text.split(&start).skip(1);
        pieces
            .map(|piece| unescaped(piece.split('"').next().unwrap()))
            .collect()
    }

    /// The hidden fields of the first form with this address, and where it goes.
    fn form(&self, action: &str) -> Vec<(String, String)> {
        let start = self
            .text
            .find(&format!("action=\"{action}\""))
            .unwrap_or_else(|| panic!("{}", self.text));
        let form = self.text[start..].split("</form>").next().unwrap();
        let inputs = form.split("<input type=\"hidden\" ").skip(1).map(|input| {
            let value = |name: &str| {
                let rest = input.split(&format!("{name}=\"")).nth(1).unwrap();
                unescaped(rest.split('"').next().unwrap())
            };
            (value("name"), value("value"))
        });
        inputs.collect()
    }
}

fn unescaped(text: &str) -> String {
    text.replace("&lt;", "<")
        .replace("&gt;", ">")
        .replace("&quot;", "\"")
        .replace("&amp;", "&")
}

fn pairs(some: &[(&str, &str)]) -> Vec<(String, String)> {
    some.iter()
        .map(|(name, value)| ((*name).into(), (*value).into()))
        .collect()
}

const PAGES: [&str; 4] = ["jobs", "failures", "durations", "job"];

#[test]
fn every_page_shows_its_rows_and_links_within_the_console() {
    on_each_database(|table| {
        table.insert_all(&[
            TestRow::new("a", 30).failed_with("no answer from host 7"),
            TestRow::new("b", 40).changed(5.0),
            TestRow::new("c", 20).locked(3.0),
            TestRow::new("d", 77),
        ]);
        let app = App::new(table, false);
        let overview = app.get("/admin").ok();
        overview.has(table.name());
        overview.has("<strong class=\"foreign\">send</strong>");
        overview.has(">failing<");
        // Beside the name of the table.
        for page in ["failures", "durations"] {
            let link = format!("/admin/{page}?table={}", table.name());
            assert!(overview.attributes("href").contains(&link), "{link}");
        }
        let mut key = overview.form("/admin/job");
        overview.has("Job with <span class=\"foreign\">tenant</span><input name=\"key\"");
        key.extend(pairs(&[("key", "1"), ("key", "a")]));
        let query = form_urlencoded::Serializer::new(String::new())
            .extend_pairs(&key)
            .finish();
        app.get(&format!("/admin/job?{query}"))
            .ok()
            .has("no answer from host 7");
        app.page(table, "jobs", "")
            .ok()
            .has("no answer from host 7");
        app.page(table, "jobs", "status=failed")
            .ok()
            .has_not(">1 / c<");
        app.page(table, "failures", "")
            .ok()
            .has("no answer from host #");
        let durations = app.page(table, "durations", "").ok();
        durations.has("90 % within");
        durations.has("only 1 finished in the last hour");
        let job = app.page(table, "job", "key=1&key=a").ok();
        job.has("no answer from host 7");
        job.has("The console is read-only.");
        job.has_not("hush");
        app.page(table, "job", "key=1&key=d")
            .ok()
            .has("which no step knows");

        // Each link of each page leads to a page.
        let mut seen = 0;
        let all = PAGES.map(|page| app.page(table, page, "key=1&key=b").ok());
        for page in all.into_iter().chain([overview]) {
            for link in page.attributes("href") {
                if link == "data:," {
                    continue;
                }
                assert!(link == "/admin" || link.starts_with("/admin/"), "{link}");
                app.get(&link).ok();
                seen += 1;
            }
            for source in page.attributes("src") {
                app.get(&source).ok();
            }
        }
        assert!(seen > 40, "{seen}");
    });
}

#[test]
fn answers_forbid_what_a_page_does_not_need() {
    on_each_database(|table| {
        let app = App::new(table, true);
        let jobs = format!("/admin/jobs?table={}", table.name());
        for path in ["/admin", &jobs, "/admin/nothing", "/admin/assets/htmx.js"] {
            let answer = app.get(path);
            let policy = answer.headers["content-security-policy"].to_str().unwrap();
            assert!(
                policy.starts_with("default-src 'none'; script-src 'self'; style-src 'self';"),
                "{policy}"
            );
            assert!(!policy.contains("unsafe"), "{policy}");
            assert_eq!(answer.headers["x-content-type-options"], "nosniff");
            if !path.contains("assets") {
                assert_eq!(answer.headers["cache-control"], "no-store");
                // Neither of these would run under the policy.
                answer.has_not(" style=");
                answer.has_not(" onclick=");
                assert_eq!(
                    answer.text.matches("<script").count(),
                    answer.attributes("src").len()
                );
            }
        }
    });
}

#[test]
fn what_is_not_there_is_said_so() {
    on_each_database(|table| {
        let app = App::new(table, false);
        let answer = app.get("/admin/jobs?table=nothing");
        assert_eq!(answer.status, StatusCode::NOT_FOUND);
        answer.has("the console has no table `nothing`");
        let answer = app.page(table, "job", "key=1&key=missing");
        assert_eq!(answer.status, StatusCode::NOT_FOUND);
        answer.has("has no job with the key 1 / missing");
        let answer = app.page(table, "job", "key=1");
        assert_eq!(answer.status, StatusCode::BAD_REQUEST);
        answer.has("not one `key` for each of the columns");
        let answer = app.page(table, "jobs", "step=nothing");
        assert_eq!(answer.status, StatusCode::BAD_REQUEST);
        answer.has("has no step `nothing`");
        let answer = app.page(table, "jobs", "older=soon");
        assert_eq!(answer.status, StatusCode::BAD_REQUEST);
        assert_eq!(app.get("/admin/nothing").status, StatusCode::NOT_FOUND);
        assert_eq!(app.get("/admin/assets/x").status, StatusCode::NOT_FOUND);
    });
}

#[test]
fn a_table_that_is_missing_does_not_hide_the_others() {
    on_each_database(|table| {
        table.insert(&TestRow::new("a", 10));
        let mut broken = crate::testing::described("no_such_table");
        broken = diesel_status_tracker::DescribedTable::new(broken.info().clone());
        let console = Console::new().source(table.source.clone()).unwrap();
        let console = console
            .source(crate::table::Source::new(broken, table.pool()))
            .unwrap();
        let app = App(Router::new().merge(console.router()));
        let overview = app.get("/").ok();
        overview.has("refused the query");
        overview.has(table.name());
        overview.has("href=\"/jobs?table=");
        app.get("/jobs?table=no_such_table")
            .ok()
            .has("refused the query");
    });
}

#[test]
fn the_number_of_expired_locks_leads_to_their_jobs() {
    on_each_database(|table| {
        table.insert_all(&[
            TestRow::new("alive", 20).locked(5.0),
            TestRow::new("dead", 20).locked(5000.0),
        ]);
        let app = App::new(table, true);
        let links = app.get("/admin").ok().attributes("href");
        let link = links.iter().find(|link| link.contains("expired=1"));
        let jobs = app.get(link.unwrap()).ok();
        jobs.has("1 / dead");
        jobs.has_not("1 / alive");

        // What is not possible with any of these jobs is not offered.
        let actions = |query: &str| {
            let links = app.page(table, "jobs", query).ok().attributes("href");
            let actions = links.into_iter().filter_map(|link| {
                let (_, action) = link.split_once("&action=")?;
                Some(action.split('&').next()?.to_owned())
            });
            actions.collect::<Vec<_>>()
        };
        table.insert(&TestRow::new("done", 140));
        assert_eq!(actions("status=in_progress"), ["reset", "ignore", "expire"]);
        assert_eq!(actions("status=succeeded"), ["reset"]);
        app.page(table, "act-all", "action=expire&status=in_progress")
            .ok()
            .has("also those whose workers are alive");
    });
}

#[test]
fn pages_of_a_list_are_reached_by_its_links() {
    on_each_database(|table| {
        for n in 0..120 {
            table.insert(&TestRow::new(&format!("job {n:03}"), 30).changed(f64::from(n) + 1.0));
        }
        let app = App::new(table, false);
        let link = |answer: &Answer, rel: &str| {
            let start = answer.text.find(&format!("rel=\"{rel}\""))?;
            let rest = &answer.text[start..];
            Some(unescaped(rest.split("href=\"").nth(1)?.split('"').next()?))
        };
        let first = app.page(table, "jobs", "status=failed").ok();
        assert_eq!(link(&first, "prev"), None);
        let second = app.get(&link(&first, "next").unwrap()).ok();
        second.has("job 050");
        let third = app.get(&link(&second, "next").unwrap()).ok();
        third.has("job 119");
        assert_eq!(link(&third, "next"), None);
        let back = app.get(&link(&third, "prev").unwrap()).ok();
        back.has("job 099");
        back.has_not("job 100");
        back.has("job 050");
    });
}
