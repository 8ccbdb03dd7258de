//! What an operator comes for.

use fantoccini::key::Key;

use crate::served::Served;
use crate::window::Window;

#[tokio::test]
async fn from_the_overview_to_a_failed_job_and_its_reset() {
    let (served, window) = (Served::start(&["--allow-actions"]), Window::open().await);
    window.goto(&served.url).await;
    window.says("30 failed, 10 ignored").await;

    window.click("invoices").await;
    window.says("Jobs of invoices").await;
    assert_eq!(window.count("tbody tr").await, 50);
    window.click("Next →").await;
    window.find("a[rel=prev]").await;
    assert_eq!(window.count("tbody tr").await, 50);

    window
        .find("input[name=status][value=failed]")
        .await
        .click()
        .await
        .unwrap();
    window.fill("input[name=key]", "2026-00*").await;
    window.click("Show").await;
    window.named("2026-009").await;
    assert_eq!(window.count("tbody tr").await, 9);

    window.click("2026-007").await;
    window
        .says("mail server mx7 refused the letter after 7 s")
        .await;
    window.click("Reset").await;
    window.says("1 job was reset.").await;
    assert_eq!(served.count(30), 29);
    window.click("Back").await;
    window.says("pending").await;
    window.close().await;
}

#[tokio::test]
async fn all_jobs_of_a_failure_are_counted_and_then_reset() {
    let (served, window) = (Served::start(&["--allow-actions"]), Window::open().await);
    window.goto(&served.url).await;
    window.click("invoices").await;
    window.click("Failures").await;
    window.says("refused the letter after").await;
    assert_eq!(window.count("tbody tr").await, 2);

    // The group with more jobs comes first.
    window.click("Reset all…").await;
    window
        .says("It finds 20 jobs now: 10 failed, 10 ignored.")
        .await;
    assert_eq!(
        (served.count(30), served.count(50)),
        (30, 10),
        "only counted"
    );
    window.click("Reset them").await;
    window.says("20 jobs were reset.").await;
    assert_eq!(served.count(10), 40);
    window.close().await;
}

#[tokio::test]
async fn marked_jobs_are_ignored_with_a_reason() {
    let (served, window) = (Served::start(&["--allow-actions"]), Window::open().await);
    window
        .goto(&format!("{}/jobs?table=invoices&status=failed", served.url))
        .await;
    for mark in ["2026-001", "2026-002"] {
        let css = format!("input[name=mark][value*='[\"{mark}\"]']");
        window.find(&css).await.click().await.unwrap();
    }
    window
        .fill("form[method=post] input[name=reason]", "the customer left")
        .await;
    window.click("Ignore").await;
    window.says("2 jobs were ignored.").await;
    assert_eq!(served.count(50), 12);
    window
        .goto(&format!("{}/job?table=invoices&key=2026-001", served.url))
        .await;
    window.says("the customer left").await;
    window.close().await;
}

#[tokio::test]
async fn a_read_only_console_offers_no_action_and_refuses_one() {
    let (served, window) = (Served::start(&[]), Window::open().await);
    window
        .goto(&format!("{}/job?table=invoices&key=2026-001", served.url))
        .await;
    window.says("The console is read-only.").await;
    assert_eq!(window.count("form[method=post]").await, 0);
    // Whoever writes the form himself is refused.
    let post = "const form = document.createElement('form'); form.method = 'post'; form.action = '/act'; \
        for (const [name, value] of [['table', 'invoices'], ['step', 'invoices'], ['action', 'reset'], ['seen_at', '0'], ['mark', '{\"key\":[\"2026-001\"]}']]) { \
        const field = document.createElement('input'); field.name = name; field.value = value; form.append(field); } \
        document.body.append(form); form.submit();";
    window.client.execute(post, vec![]).await.unwrap();
    window.says("the console is read-only").await;
    assert_eq!(served.count(30), 30);
    // The browser tells of the status 403.
    assert_eq!(window.complaints().await.len(), 1);
    window.close().await;
}

#[tokio::test]
async fn a_page_refreshes_by_itself_and_keeps_what_is_typed() {
    let (served, window) = (Served::start(&["--allow-actions"]), Window::open().await);
    window.goto(&served.url).await;
    window.says("30 failed, 10 ignored").await;
    served.sql("UPDATE invoices SET status = 10 WHERE status IN (30, 50)");
    // Without a click.
    let css = "#live a[href*='status=pending']";
    window.find(css).await;
    window.says("60").await;

    window
        .goto(&format!("{}/jobs?table=invoices", served.url))
        .await;
    let field = window.find("form[method=post] input[name=reason]").await;
    field.send_keys("half a sen").await.unwrap();
    served.sql("UPDATE invoices SET status = 40 WHERE status = 10");
    let refresh = "document.body.dispatchEvent(new Event('refresh-is-due')); return document.activeElement.value;";
    let typed = window.client.execute(refresh, vec![]).await.unwrap();
    assert_eq!(typed, "half a sen");
    field.send_keys("tence").await.unwrap();
    assert_eq!(
        field.prop("value").await.unwrap().as_deref(),
        Some("half a sentence")
    );
    field.send_keys(&Key::Tab.to_string()).await.unwrap();
    window.close().await;
}

#[tokio::test]
async fn a_page_that_cannot_be_refreshed_says_so_until_it_can() {
    let (served, window) = (Served::start(&[]), Window::open().await);
    window
        .goto(&format!("{}/job?table=invoices&key=2026-001", served.url))
        .await;
    served.sql("UPDATE invoices SET id = 'away' WHERE id = '2026-001'");
    // Without a click.
    window.says("could not be refreshed").await;
    window.says("What may be done").await;
    served.sql("UPDATE invoices SET id = '2026-001' WHERE id = 'away'");
    window.find("body:not(:has(#old))").await;
    // The browser tells of each answer with the status 404.
    assert!(!window.complaints().await.is_empty());
    window.close().await;
}

#[tokio::test]
async fn all_of_it_works_without_javascript() {
    let (served, window) = (
        Served::start(&["--allow-actions"]),
        Window::without_javascript().await,
    );
    window.goto(&served.url).await;
    window.fill("input[name=key]", "2026-007").await;
    window.click("Open").await;
    window
        .says("mail server mx7 refused the letter after 7 s")
        .await;
    window.goto(&served.url).await;
    window.click("Durations").await;
    window.says("nothing can be said of yesterday").await;
    window.goto(&served.url).await;
    window.click("invoices").await;
    window
        .find("input[name=status][value=failed]")
        .await
        .click()
        .await
        .unwrap();
    window.click("Show").await;
    window.says("UTC").await;
    assert_eq!(window.count("tbody tr").await, 30);
    window.click("Failures").await;
    window.click("Reset all…").await;
    window.click("Reset them").await;
    window.says("20 jobs were reset.").await;
    window.click("Durations").await;
    window.says("90").await;
    window.client.close().await.unwrap();
}
