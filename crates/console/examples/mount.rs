//! An application with a table of its own and the console under `/admin/jobs`.
//!
//! ```text
//! cargo run -p diesel_status_console --example mount
//! ```
//!
//! Then open the address that it prints.

use std::error::Error;
use std::time::Duration;

use axum::Router;
use axum::routing::get;
use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use diesel::r2d2::{ConnectionManager, Pool};
use diesel_status_console::Console;
use diesel_status_tracker::{StatusTracked, job_table, sqlite};
use tokio::net::TcpListener;

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

/// What the application does with its mails: a few of them never succeed.
fn work(pool: &Pool<ConnectionManager<SqliteConnection>>) -> diesel_status_tracker::Result<()> {
    for number in 0..500 {
        Mail::create_and_save(pool, format!("mail {number}"), MailUpdates::default())?;
    }
    let worker = Mail::worker(pool)
        .threads(2)
        .poll_every(Duration::from_secs(1));
    worker.run(|mail, _| {
        std::thread::sleep(Duration::from_millis(50));
        match mail.id.ends_with('7') {
            true => Err(format!("no mailbox for {:?}", mail.id).into()),
            false => Ok(()),
        }
    })?;
    Ok(())
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let folder = tempfile::tempdir()?; // removed at the end, with the database
    let url = folder.path().join("mails.db").display().to_string();
    let pool = Pool::builder()
        .max_size(4)
        .connection_customizer(Box::new(sqlite::Customizer::default()))
        .build(ConnectionManager::<SqliteConnection>::new(url))?;
    pool.get()?.batch_execute(
        "CREATE TABLE mails (id TEXT NOT NULL PRIMARY KEY, status INTEGER NOT NULL, create_at TIMESTAMP NOT NULL,
         update_at TIMESTAMP NOT NULL, lock TEXT, lock_at TIMESTAMP, retry INTEGER NOT NULL, errors TEXT NOT NULL, subject TEXT);
         CREATE INDEX mails_ready ON mails (update_at) WHERE lock IS NULL AND status IN (10, 30);
         CREATE INDEX mails_locked ON mails (lock_at) WHERE lock IS NOT NULL;
         CREATE INDEX mails_done ON mails (update_at) WHERE lock IS NULL AND status IN (40, 50);",
    )?;

    let console = Console::new().table::<Mail, _>(&pool)?.actions(true);
    let application = Router::new()
        .route("/", get(|| async { "the application's own page" }))
        .nest("/admin/jobs", console.router());

    tokio::task::spawn_blocking(move || work(&pool));
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!("http://{}/admin/jobs", listener.local_addr()?);
    axum::serve(listener, application).await?;
    Ok(())
}
