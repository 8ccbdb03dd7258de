//! Files that the pages need. They are part of the program.

use axum::extract::Path;
use axum::http::StatusCode;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};

const CSS: &str = "text/css; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";

/// Name, type and content.
const ASSETS: [(&str, &str, &str); 4] = [
    (
        "pico.css",
        CSS,
        include_str!("../../assets/pico.classless.min.css"),
    ),
    ("console.css", CSS, include_str!("../../assets/console.css")),
    ("htmx.js", SCRIPT, include_str!("../../assets/htmx.min.js")),
    (
        "console.js",
        SCRIPT,
        include_str!("../../assets/console.js"),
    ),
];

pub(super) async fn asset(Path(name): Path<String>) -> Response {
    match ASSETS.iter().find(|(other, ..)| *other == name) {
        None => (StatusCode::NOT_FOUND, "there is no such file").into_response(),
        Some((_, kind, content)) => {
            // The links name the version.
            let headers = [
                (CONTENT_TYPE, *kind),
                (CACHE_CONTROL, "private, max-age=86400"),
            ];
            (headers, *content).into_response()
        }
    }
}
