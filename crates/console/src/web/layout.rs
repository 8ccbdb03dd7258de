//! What all pages have.

use chrono::{DateTime, SecondsFormat, Utc};
use diesel_status_tracker::RowKey;
use maud::{DOCTYPE, Markup, html};

use super::request::Request;
use crate::overview::{cut, span};

/// Has htmx write no style and no script into the page.
const HTMX: &str = r#"{"includeIndicatorStyles":false,"allowEval":false,"selfRequestsOnly":true,"historyCacheSize":0}"#;

const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The links around a page.
pub(super) struct Frame {
    base: String,
    title: String,
    /// Of the table: address and text.
    links: Vec<(String, &'static str)>,
}

impl Frame {
    pub fn of(request: &Request, title: &str, table: Option<&str>) -> Self {
        let links = table.map(|table| {
            let pages = [
                ("jobs", "Jobs"),
                ("failures", "Failures"),
                ("durations", "Durations"),
            ];
            pages
                .map(|(page, text)| (request.link(page, [("table", table)]), text))
                .into()
        });
        Self {
            base: request.base.clone(),
            title: match table {
                Some(table) => format!("{title} · {table}"),
                None => title.into(),
            },
            links: links.unwrap_or_default(),
        }
    }

    pub fn page(&self, content: &Markup) -> Markup {
        // A nested router answers at its path without a slash at the end.
        let home = if self.base.is_empty() {
            "/"
        } else {
            &self.base
        };
        let asset = |name: &str| format!("{}/assets/{name}?v={VERSION}", self.base);
        html! {
            (DOCTYPE)
            html lang="en" {
                head {
                    meta charset="utf-8";
                    meta name="viewport" content="width=device-width, initial-scale=1";
                    meta name="color-scheme" content="light dark";
                    meta name="htmx-config" content=(HTMX);
                    title { (self.title) }
                    link rel="icon" href="data:,";
                    link rel="stylesheet" href=(asset("pico.css"));
                    link rel="stylesheet" href=(asset("console.css"));
                    script src=(asset("htmx.js")) defer {}
                    script src=(asset("console.js")) defer {}
                }
                body {
                    header {
                        nav aria-label="pages" {
                            ul {
                                li { a href=(home) { "Overview" } }
                                @for (link, text) in &self.links {
                                    li { a href=(link) { (text) } }
                                }
                            }
                        }
                    }
                    main { (content) }
                    footer { small { "Times are in your zone; without JavaScript, in UTC." } }
                }
            }
        }
    }
}

/// A part of a page that is read anew from time to time.
pub(super) fn live(request: &Request, content: &Markup) -> Markup {
    html! {
        div id="live" hx-get=(request.url) hx-select="#live" hx-swap="outerHTML" hx-sync="this:drop"
            hx-trigger="refresh from:body" {
            (content)
        }
    }
}

/// A message that something did not work.
pub(super) fn problem(message: &str) -> Markup {
    html! { p class="problem foreign" role="alert" { (cut(message, 2000)) } }
}

/// A time, which the script shows in the viewer's zone.
pub(super) fn time(at: Option<DateTime<Utc>>) -> Markup {
    match at {
        None => html! { "–" },
        Some(at) => html! {
            time datetime=(at.to_rfc3339_opts(SecondsFormat::Millis, true)) {
                (at.format("%Y-%m-%d %H:%M:%S%.3f UTC"))
            }
        },
    }
}

/// How long ago that is, or how far ahead.
pub(super) fn ago(at: Option<DateTime<Utc>>, now: Option<DateTime<Utc>>) -> Option<String> {
    let passed = now? - at?;
    Some(match passed.to_std() {
        Ok(passed) => format!("{} ago", span(passed)),
        Err(_) => format!("in {}", span((-passed).to_std().ok()?)),
    })
}

/// A key as people read it.
pub(super) fn key_text(key: &RowKey) -> String {
    let parts = key.parts().iter();
    // A line that breaks or goes backward would hide what it is.
    let parts = parts.map(|part| {
        cut(
            &part
                .escape_debug()
                .to_string()
                .replace("\\\"", "\"")
                .replace("\\'", "'"),
            100,
        )
    });
    parts.collect::<Vec<_>>().join(" / ")
}

/// A word as a class.
pub(super) fn class(word: &str) -> String {
    word.replace(' ', "-")
}
