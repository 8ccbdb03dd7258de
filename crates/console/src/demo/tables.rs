//! The three tables of the demonstration: a mailer of invoices, photos that are loaded and
//! then made smaller, and webhooks whose targets often fail.

use std::time::Duration;

use diesel::prelude::*;
use diesel_status_tracker::{StatusTracked, backoff, job_table};

pub(super) const CREATE: &str = "
CREATE TABLE invoices (
    number TEXT NOT NULL PRIMARY KEY, customer TEXT, sent_to TEXT,
    status INTEGER NOT NULL, create_at TIMESTAMP NOT NULL, update_at TIMESTAMP NOT NULL,
    lock TEXT, lock_at TIMESTAMP, retry INTEGER NOT NULL, errors TEXT NOT NULL);
CREATE INDEX invoices_ready ON invoices (update_at) WHERE lock IS NULL AND status IN (10, 30);
CREATE INDEX invoices_locked ON invoices (lock_at) WHERE lock IS NOT NULL;
CREATE INDEX invoices_done ON invoices (update_at) WHERE lock IS NULL AND status IN (40, 50);
CREATE TABLE photos (
    id INTEGER NOT NULL PRIMARY KEY, path TEXT, width INTEGER,
    status INTEGER NOT NULL, create_at TIMESTAMP NOT NULL, update_at TIMESTAMP NOT NULL,
    lock TEXT, lock_at TIMESTAMP, retry INTEGER NOT NULL, errors TEXT NOT NULL);
CREATE INDEX photos_ready_download ON photos (update_at) WHERE lock IS NULL AND status IN (10, 12);
CREATE INDEX photos_ready_resize ON photos (update_at) WHERE lock IS NULL AND status IN (20, 22, 13);
CREATE INDEX photos_locked ON photos (lock_at) WHERE lock IS NOT NULL;
CREATE INDEX photos_done ON photos (update_at) WHERE lock IS NULL AND status IN (13, 14);
CREATE INDEX photos_small ON photos (update_at) WHERE lock IS NULL AND status IN (23, 24);
CREATE TABLE webhooks (
    target TEXT NOT NULL, event INTEGER NOT NULL, answer TEXT,
    status INTEGER NOT NULL, create_at TIMESTAMP NOT NULL, update_at TIMESTAMP NOT NULL,
    lock TEXT, lock_at TIMESTAMP, retry INTEGER NOT NULL, errors TEXT NOT NULL,
    run_at TIMESTAMP, PRIMARY KEY (target, event));
CREATE INDEX webhooks_ready ON webhooks (update_at) WHERE lock IS NULL AND status IN (10, 30);
CREATE INDEX webhooks_locked ON webhooks (lock_at) WHERE lock IS NOT NULL;
CREATE INDEX webhooks_done ON webhooks (update_at) WHERE lock IS NULL AND status IN (40, 50);
";

/// Short, so that the work of a process that was killed is soon free again.
const LOCK_EXPIRE: Duration = Duration::from_secs(10);

diesel::table! {
    invoices (number) {
        number -> Text,
        customer -> Nullable<Text>,
        sent_to -> Nullable<Text>,
        status -> Integer,
        create_at -> Timestamp,
        update_at -> Timestamp,
        lock -> Nullable<Text>,
        lock_at -> Nullable<Timestamp>,
        retry -> Integer,
        errors -> Text,
    }
}

#[derive(Debug, Queryable, Selectable)]
#[diesel(table_name = invoices)]
pub(super) struct Invoice {
    pub number: String,
    pub customer: Option<String>,
}

#[derive(Debug, Default, Insertable, AsChangeset)]
#[diesel(table_name = invoices)]
pub(super) struct InvoiceUpdates {
    pub customer: Option<String>,
    pub sent_to: Option<String>,
}

impl StatusTracked for Invoice {
    type Job = Invoice;
    const PENDING: i32 = 10;
    const IN_PROGRESS: i32 = 20;
    const FAILED: i32 = 30;
    const SUCCEEDED: i32 = 40;
    const IGNORED: i32 = 50;
    const LOCK_EXPIRE: Duration = LOCK_EXPIRE;
}

job_table! {
    Invoice in invoices {
        key: (number: String),
        status: i32,
        updates: InvoiceUpdates,
        connections: [SqliteConnection],
        steps: [Invoice],
        status_field: none,
    }
}

diesel::table! {
    photos (id) {
        id -> Integer,
        path -> Nullable<Text>,
        width -> Nullable<Integer>,
        status -> Integer,
        create_at -> Timestamp,
        update_at -> Timestamp,
        lock -> Nullable<Text>,
        lock_at -> Nullable<Timestamp>,
        retry -> Integer,
        errors -> Text,
    }
}

#[derive(Debug, Queryable, Selectable)]
#[diesel(table_name = photos)]
pub(super) struct Photo {
    pub id: i32,
    pub path: Option<String>,
}

#[derive(Debug, Default, Insertable, AsChangeset)]
#[diesel(table_name = photos)]
pub(super) struct PhotoUpdates {
    pub path: Option<String>,
    pub width: Option<i32>,
}

#[derive(Debug)]
pub(super) struct Download;

impl StatusTracked for Download {
    type Job = Photo;
    const PENDING: i32 = 10;
    const IN_PROGRESS: i32 = 11;
    const FAILED: i32 = 12;
    const SUCCEEDED: i32 = 13;
    const IGNORED: i32 = 14;
    const LOCK_EXPIRE: Duration = LOCK_EXPIRE;
}

#[derive(Debug)]
pub(super) struct Resize;

impl StatusTracked for Resize {
    type Job = Photo;
    const PENDING: i32 = 20;
    const MORE_PENDING: &'static [i32] = &[Download::SUCCEEDED];
    const IN_PROGRESS: i32 = 21;
    const FAILED: i32 = 22;
    const SUCCEEDED: i32 = 23;
    const IGNORED: i32 = 24;
    const LOCK_EXPIRE: Duration = LOCK_EXPIRE;
}

job_table! {
    Photo in photos {
        key: (id: i32),
        status: i32,
        updates: PhotoUpdates,
        connections: [SqliteConnection],
        steps: [Download, Resize],
        status_field: none,
    }
}

diesel::table! {
    webhooks (target, event) {
        target -> Text,
        event -> Integer,
        answer -> Nullable<Text>,
        status -> Integer,
        create_at -> Timestamp,
        update_at -> Timestamp,
        lock -> Nullable<Text>,
        lock_at -> Nullable<Timestamp>,
        retry -> Integer,
        errors -> Text,
        run_at -> Nullable<Timestamp>,
    }
}

#[derive(Debug, Queryable, Selectable)]
#[diesel(table_name = webhooks)]
pub(super) struct Webhook {
    pub target: String,
}

#[derive(Debug, Default, Insertable, AsChangeset)]
#[diesel(table_name = webhooks)]
pub(super) struct WebhookUpdates {
    pub answer: Option<String>,
}

impl StatusTracked for Webhook {
    type Job = Webhook;
    const PENDING: i32 = 10;
    const IN_PROGRESS: i32 = 20;
    const FAILED: i32 = 30;
    const SUCCEEDED: i32 = 40;
    const IGNORED: i32 = 50;
    const LOCK_EXPIRE: Duration = LOCK_EXPIRE;
    const MAX_RETRY: i32 = 5;
    const RETRY_DELAY: Option<fn(i32) -> Duration> =
        Some(|retry| backoff::exponential(Duration::from_secs(1), Duration::from_secs(60), retry));
}

job_table! {
    Webhook in webhooks {
        key: (target: String, event: i32),
        status: i32,
        updates: WebhookUpdates,
        connections: [SqliteConnection],
        columns: { run_at: run_at },
        steps: [Webhook],
        status_field: none,
    }
}
