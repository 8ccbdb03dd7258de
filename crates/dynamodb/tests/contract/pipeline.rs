//! Several steps on one item.

use std::time::Duration;

use dynamodb_status_tracker::blocking::BlockingCalls;
use dynamodb_status_tracker::{Error, KeyAttributes, StatusTracked, Tracked};
use serde::{Deserialize, Serialize};

use super::database::{entries, other, table, text, until};
use super::jobs::assert_err;

#[derive(Debug, Deserialize)]
struct Photo {
    status: i32,
    size: Option<i64>,
}

#[derive(Default, Serialize)]
struct PhotoUpdates {
    size: Option<i64>,
}

impl Tracked for Photo {
    type Key = String;
    type Status = i32;
    type Updates = PhotoUpdates;
    const KEY: KeyAttributes = KeyAttributes::partition("id");
    const CONTINUES: &'static [i32] = &[Download::SUCCEEDED];
}

#[derive(Debug)]
struct Download;
impl StatusTracked for Download {
    type Job = Photo;
    const PENDING: i32 = 1;
    const IN_PROGRESS: i32 = 2;
    const FAILED: i32 = 3;
    const SUCCEEDED: i32 = 4;
    const IGNORED: i32 = 5;
    const LOCK_EXPIRE: Duration = Duration::from_millis(50);
}

#[derive(Debug)]
struct Resize;
impl StatusTracked for Resize {
    type Job = Photo;
    const PENDING: i32 = 11;
    const IN_PROGRESS: i32 = 12;
    const FAILED: i32 = 13;
    const SUCCEEDED: i32 = 14;
    const IGNORED: i32 = 15;
    const MORE_PENDING: &'static [i32] = &[Download::SUCCEEDED];
    const LOCK_EXPIRE: Duration = Duration::from_millis(50);
}

#[test]
fn steps_run_in_their_order_and_no_other() {
    let table = table();
    Download::create_and_save(&table, "a", PhotoUpdates::default()).unwrap();
    assert_err!(Resize::start(&table, "a"), Error::NotReady { .. });
    assert!(Resize::claim_next(&table, 1).unwrap().is_empty());
    Download::run_next(&table, |_, updates| {
        updates.size = Some(7);
        Ok(())
    })
    .unwrap()
    .unwrap();
    assert_eq!(text(&entries(&table)[0], "queue"), "4#0");
    assert!(Download::claim_next(&table, 1).unwrap().is_empty());
    // It fails once, and is found again.
    Resize::claim_next(&table, 1)
        .unwrap()
        .pop()
        .unwrap()
        .fail("no")
        .unwrap();
    let seen = Resize::run_next(&table, |photo, _| Ok((photo.status, photo.size))).unwrap();
    assert_eq!(seen, Some((12, Some(7))));
    assert_eq!(entries(&table), []);
    assert_eq!(Resize::find(&table, "a").unwrap().unwrap().status, 14);
}

#[test]
fn an_item_that_another_steps_attempt_holds_is_locked_and_does_not_expire() {
    let table = table();
    Download::create_and_save(&table, "a", PhotoUpdates::default()).unwrap();
    let held = Download::start(&table, "a").unwrap();
    let first = Resize::start(&table, "a").unwrap_err();
    assert_err!(Err::<(), _>(first), Error::Locked { dead_at: None, .. });
    let watcher = other(&table).build();
    until("the step itself sees the lock expire", || {
        Download::expire_locks(&watcher).unwrap() == 1
    });
    assert_err!(held.succeed(), Error::LockLost { .. });
}

#[test]
fn a_start_that_the_item_does_not_list_is_refused() {
    #[derive(Debug)]
    struct Unlisted;
    impl StatusTracked for Unlisted {
        type Job = Photo;
        const PENDING: i32 = 21;
        const IN_PROGRESS: i32 = 22;
        const FAILED: i32 = 23;
        const SUCCEEDED: i32 = 24;
        const IGNORED: i32 = 25;
        const MORE_PENDING: &'static [i32] = &[Resize::SUCCEEDED];
    }
    let error = Unlisted::start(&table(), "a").unwrap_err();
    assert!(error.to_string().contains("CONTINUES"), "{error}");
}
