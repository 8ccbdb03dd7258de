//! What people with disabilities need, as far as a program can tell.

use std::{env, fs};

use serde_json::Value;

use crate::served::Served;
use crate::window::Window;

const PAGES: [&str; 8] = [
    "/",
    "/jobs?table=invoices",
    "/jobs?table=invoices&status=failed&error=address",
    "/job?table=invoices&key=2026-001",
    "/failures?table=invoices",
    "/durations?table=invoices",
    "/act-all?table=invoices&action=ignore&status=failed",
    "/job?table=invoices&key=no-such-job",
];

/// Runs axe-core in the page.
const CHECK: &str = "const done = arguments[arguments.length - 1]; \
    axe.run().then(result => done(result.violations.map(violation => [violation.impact, violation.id, \
    violation.nodes.map(node => node.html).join(' ')])), error => done([['critical', String(error), '']]));";

#[tokio::test]
async fn no_page_has_a_serious_fault() {
    let axe = env::var("AXE_JS").expect("run it by scripts/with-browser");
    let axe = fs::read_to_string(axe).unwrap();
    let (served, window) = (Served::start(&["--allow-actions"]), Window::open().await);
    for page in PAGES {
        window.goto(&format!("{}{page}", served.url)).await;
        window.find("main h1, [role=alert]").await;
        window.client.execute(&axe, vec![]).await.unwrap();
        let faults = window.client.execute_async(CHECK, vec![]).await.unwrap();
        let faults: Vec<&Value> = faults.as_array().unwrap().iter().collect();
        let is_serious = |fault: &&&Value| fault[0] == "serious" || fault[0] == "critical";
        let serious: Vec<_> = faults.iter().filter(is_serious).collect();
        assert!(serious.is_empty(), "{page}: {serious:#?}");
    }
    window.client.close().await.unwrap();
}
