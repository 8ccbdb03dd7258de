//! Whatever a row holds, a page shows it, and runs none of it.

use crate::served::Served;
use crate::window::Window;

const ROWS: &str = r#"
INSERT INTO invoices (id, customer, status, create_at, update_at, retry, errors) VALUES
('<script>document.title="taken"</script>', '<img src=x onerror=document.title="taken">', 30, '2026-01-01 00:00:00', '2026-01-01 00:00:00', 1,
 json_object('error', '</pre><script>document.title="taken"</script>', 'traceback', '"><svg onload=document.title="taken">')),
('a/b?c#d&e=f%20g', 'x', 30, '2026-01-01 00:00:00', '2026-01-02 00:00:00', 1, '{"error": "slash"}'),
(char(0x202e) || 'gnp.exe', 'x', 30, '2026-01-01 00:00:00', '2026-01-03 00:00:00', 1, 'no JSON'),
('it''s "quoted"', 'x', 77, '2026-01-01 00:00:00', '2026-01-04 00:00:00', 1, '[]'),
('long', 'x', 30, '2026-01-01 00:00:00', '2026-01-05 00:00:00', 1, json_object('error', printf('%.*c', 3000000, 'x')));
"#;

#[tokio::test]
async fn hostile_rows_are_shown_and_run_nothing() {
    let (served, window) = (
        Served::with(ROWS, &["--allow-actions"]),
        Window::open().await,
    );
    window
        .goto(&format!("{}/jobs?table=invoices", served.url))
        .await;
    // A status that no step knows is in no list of a step's jobs.
    assert_eq!(window.count("tbody tr").await, 4);
    for place in 1..=4 {
        let link = format!("tbody tr:nth-child({place}) td a");
        window.find(&link).await.click().await.unwrap();
        window.says("What may be done").await;
        assert!(window.client.title().await.unwrap().starts_with("Job · "));
        window.client.back().await.unwrap();
    }
    window
        .goto(&format!(
            "{}/job?table=invoices&key=it's%20%22quoted%22",
            served.url
        ))
        .await;
    window.says("Its status is 77, which no step knows.").await;

    window
        .goto(&format!("{}/failures?table=invoices", served.url))
        .await;
    window.says("</pre><script>").await;
    assert!(
        window
            .client
            .title()
            .await
            .unwrap()
            .starts_with("Failures · ")
    );

    // A key with signs that an address uses is still one job.
    window
        .goto(&format!("{}/jobs?table=invoices", served.url))
        .await;
    window.click("a/b?c#d&e=f%20g").await;
    window.click("Reset").await;
    window.says("1 job was reset.").await;
    assert_eq!(served.count(10), 1);
    window.close().await;
}
