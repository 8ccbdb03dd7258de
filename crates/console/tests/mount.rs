//! The console as an application has it: over a pool of its own, under a path of its own.

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{Request, StatusCode};
use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use diesel::r2d2::{ConnectionManager, Pool};
use diesel_status_console::{Console, Error};
use diesel_status_tracker::{StatusTracked, job_table, sqlite};
use tower::ServiceExt;

diesel::table! {
    mails (id) {
        id -> Text,
        status -> Integer, create_at -> Timestamp, update_at -> Timestamp, retry -> Integer,
        lock -> Nullable<Text>, lock_at -> Nullable<Timestamp>, errors -> Json,
        subject -> Nullable<Text>,
    }
}

#[derive(Debug, Clone, Queryable, Selectable)]
#[diesel(table_name = mails)]
pub struct Mail {
    pub id: String,
    pub status: i32,
}

#[derive(Debug, Clone, Default, Insertable, AsChangeset)]
#[diesel(table_name = mails)]
pub struct MailUpdates {
    pub subject: Option<String>,
}

impl StatusTracked for Mail {
    type Job = Mail;
    const PENDING: i32 = 10;
    const IN_PROGRESS: i32 = 20;
    const FAILED: i32 = 30;
    const SUCCEEDED: i32 = 40;
    const IGNORED: i32 = 50;
}

job_table! {
    Mail in mails {
        key: (id: String),
        status: i32,
        updates: MailUpdates,
        connections: [SqliteConnection],
    }
}

#[tokio::test]
async fn an_application_mounts_the_console_over_its_own_pool() {
    let folder = tempfile::tempdir().unwrap();
    let pool = Pool::builder()
        .max_size(2)
        .connection_customizer(Box::new(sqlite::Customizer::default()))
        .build(ConnectionManager::<SqliteConnection>::new(
            folder.path().join("mails.db").display().to_string(),
        ))
        .unwrap();
    let table = "CREATE TABLE mails (id TEXT NOT NULL PRIMARY KEY, status INTEGER NOT NULL, create_at TIMESTAMP NOT NULL,
        update_at TIMESTAMP NOT NULL, lock TEXT, lock_at TIMESTAMP, retry INTEGER NOT NULL, errors TEXT NOT NULL, subject TEXT)";
    pool.get().unwrap().batch_execute(table).unwrap();
    Mail::create_and_save(&pool, "mail 1", MailUpdates::default()).unwrap();
    let failed = Mail::run_job(&pool, "mail 1", |_, _| {
        Err::<(), _>("no mailbox <b>".into())
    });
    assert!(failed.is_err());

    let console = Console::new().table::<Mail, _>(&pool).unwrap();
    let again = console.clone().table::<Mail, _>(&pool).unwrap_err();
    assert!(matches!(again, Error::TwoNames(name) if name == "mails"));
    let application: Router = Router::new().nest("/admin/jobs", console.router());
    for (path, text) in [
        ("/admin/jobs", "failing"),
        ("/admin/jobs/jobs?table=mails", "no mailbox &lt;b&gt;"),
        (
            "/admin/jobs/job?table=mails&key=mail+1",
            "The console is read-only.",
        ),
        ("/admin/jobs/failures?table=mails", "no mailbox &lt;b&gt;"),
        (
            "/admin/jobs/durations?table=mails",
            "The table has no finished job of this step.",
        ),
    ] {
        let request = Request::get(path).body(Body::empty()).unwrap();
        let response = application.clone().oneshot(request).await.unwrap();
        assert_eq!(response.status(), StatusCode::OK);
        let body = to_bytes(response.into_body(), usize::MAX).await.unwrap();
        let page = String::from_utf8(body.into()).unwrap();
        assert!(page.contains(text), "no {text:?} in {page}");
        assert!(
            page.contains("href=\"/admin/jobs/assets/pico.css?v="),
            "{page}"
        );
    }
}
