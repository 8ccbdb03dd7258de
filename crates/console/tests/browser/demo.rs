//! The demonstration, as somebody sees it in the first minute; the pictures of README.md
//! are taken here: `SCREENSHOTS=crates/console/screenshots scripts/with-browser cargo test
//! -p diesel_status_console --test browser demo`.

use std::process::{Command, Stdio};

use crate::pages::Pages;
use crate::window::Window;

#[tokio::test]
async fn the_demonstration_shows_work_and_failures_of_three_tables() {
    let folder = tempfile::tempdir().unwrap();
    let mut program = Command::new(env!("CARGO_BIN_EXE_status-console"));
    program.arg("demo").env("TMPDIR", folder.path());
    let demo = Pages::of(program.stderr(Stdio::null()));
    let url = format!("http://{}", demo.address);
    let window = Window::open().await;
    window.goto(&url).await;
    for table in ["invoices", "photos", "webhooks"] {
        window.named(table).await;
    }
    // The page is read anew by itself, until jobs have failed and are done.
    window.find("a[href*='status=failed']:not(:empty)").await;
    window.says("finished").await;
    window.picture("overview").await;

    window.goto(&format!("{url}/failures?table=webhooks")).await;
    window.reload_until("tbody tr").await;
    window.picture("failures").await;
    window.click("Show").await;
    window.says("Only jobs with the error").await;
    window.picture("jobs").await;
    window.find("tbody td a").await.click().await.unwrap();
    window.says("Timeline").await;
    window.picture("job").await;
    window
        .goto(&format!("{url}/durations?table=webhooks"))
        .await;
    window.reload_until("svg").await;
    window.picture("durations").await;
    window.close().await;
}
