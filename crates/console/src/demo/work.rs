//! The worker processes of the demonstration, and the jobs that they find.

use std::io::{self, Read};
use std::thread;
use std::time::Duration;

use diesel_status_tracker::{BoxError, Retry, StatusTracked};

use super::DemoPool;
use super::tables::{
    Download, Invoice, InvoiceUpdates, PhotoUpdates, Resize, Webhook, WebhookUpdates,
};

const CUSTOMERS: [&str; 4] = [
    "ada@example.org",
    "grace@example.org",
    "no address",
    "edsger@example.org",
];
const TARGETS: [&str; 3] = [
    "https://shop.example/hook",
    "https://flaky.example/hook",
    "https://gone.example/hook",
];
/// Finished rows of the demonstration are deleted after this time, so that it may run for days.
pub(super) const KEPT: Duration = Duration::from_secs(2 * 3600);

/// Makes the next jobs: some of each kind.
pub(super) fn enqueue(pool: &DemoPool, number: i32) -> Result<(), BoxError> {
    let customer = CUSTOMERS[fastrand::usize(..CUSTOMERS.len())];
    let updates = InvoiceUpdates {
        customer: Some(customer.into()),
        ..InvoiceUpdates::default()
    };
    Invoice::create_if_absent(pool, format!("2026-{number:06}"), updates)?;
    Download::create_if_absent(pool, number, PhotoUpdates::default())?;
    let target = TARGETS[fastrand::usize(..TARGETS.len())];
    Webhook::create_if_absent(pool, (target, number), WebhookUpdates::default())?;
    Ok(())
}

/// Deletes what has been finished for long.
pub(super) fn prune(pool: &DemoPool) -> Result<(), BoxError> {
    Invoice::prune(pool, &[Invoice::SUCCEEDED, Invoice::IGNORED], KEPT)?;
    Download::prune(pool, &[Download::IGNORED], KEPT)?;
    Resize::prune(pool, &[Resize::SUCCEEDED, Resize::IGNORED], KEPT)?;
    Webhook::prune(pool, &[Webhook::SUCCEEDED, Webhook::IGNORED], KEPT)?;
    Ok(())
}

/// Works on all four steps until the standard input ends: so also when the process that
/// has started this one is gone.
pub(super) fn work(pool: &DemoPool) -> Result<(), BoxError> {
    let invoices = Invoice::worker(pool).threads(1).batch(2);
    let downloads = Download::worker(pool).threads(1).batch(2);
    let resizes = Resize::worker(pool).threads(1).batch(2);
    let webhooks = Webhook::worker(pool).threads(1).batch(2);
    let handles = [
        invoices.handle(),
        downloads.handle(),
        resizes.handle(),
        webhooks.handle(),
    ];
    thread::spawn(move || {
        // An error is an end too.
        let _ = io::stdin().read_to_end(&mut Vec::new());
        handles
            .iter()
            .for_each(diesel_status_tracker::WorkerHandle::shutdown);
    });
    thread::scope(|scope| {
        let workers = [
            scope.spawn(|| {
                invoices.run(|invoice, updates| {
                    mail(&invoice.number, invoice.customer.as_deref(), updates)
                })
            }),
            scope.spawn(|| downloads.run(|photo, updates| download(photo.id, updates))),
            scope.spawn(|| resizes.run(|photo, updates| resize(photo.path.as_deref(), updates))),
            scope.spawn(|| webhooks.run(|webhook, updates| send(&webhook.target, updates))),
        ];
        for worker in workers {
            worker.join().map_err(|_| "a worker has panicked")??;
        }
        Ok(())
    })
}

/// As long as real work might take.
fn take(millis: std::ops::Range<u64>) {
    thread::sleep(Duration::from_millis(fastrand::u64(millis)));
}

fn mail(
    number: &str,
    customer: Option<&str>,
    updates: &mut InvoiceUpdates,
) -> Result<(), BoxError> {
    take(50..400);
    let customer = customer.unwrap_or("no address");
    if !customer.contains('@') {
        Err(Retry::never().because(format!("invoice {number} has no address")))?;
    }
    if fastrand::u32(..12) == 0 {
        return Err("the mail server has closed the connection".into());
    }
    updates.sent_to = Some(customer.into());
    Ok(())
}

fn download(id: i32, updates: &mut PhotoUpdates) -> Result<(), BoxError> {
    take(100..600);
    if fastrand::u32(..8) == 0 {
        return Err(format!("timeout after {} ms", fastrand::u32(900..1100)).into());
    }
    updates.path = Some(format!("/photos/{id}.jpg"));
    Ok(())
}

fn resize(path: Option<&str>, updates: &mut PhotoUpdates) -> Result<(), BoxError> {
    take(50..300);
    if fastrand::u32(..10) == 0 {
        return Err(format!("'{}' is no picture", path.unwrap_or_default()).into());
    }
    updates.width = Some(640);
    Ok(())
}

fn send(target: &str, updates: &mut WebhookUpdates) -> Result<(), BoxError> {
    take(20..200);
    let is_wrong = match target {
        _ if target.contains("gone") => true,
        _ if target.contains("flaky") => fastrand::bool(),
        _ => fastrand::u32(..50) == 0,
    };
    if is_wrong {
        return Err(format!("{target} answers with status {}", fastrand::u32(500..504)).into());
    }
    updates.answer = Some("200 OK".into());
    Ok(())
}
