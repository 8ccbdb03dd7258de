//! SQLite: what a test can do to a connection.

use chrono::{TimeDelta, Utc};
use diesel::connection::SimpleConnection;

use super::database::TestConnection;

/// Has statements fail at once where another connection is in the way.
pub fn impatient(conn: &mut TestConnection) {
    conn.batch_execute("PRAGMA busy_timeout = 0").unwrap();
}

/// The languages of the database's messages.
pub const LANGUAGES: [fn(&mut TestConnection); 1] = [|_| {}];

/// The isolation levels of transactions.
pub const LEVELS: [fn(&mut TestConnection); 1] = [|_| {}];

mod by_two {
    #[diesel::declare_sql_function]
    extern "SQL" {
        fn strftime(
            format: diesel::sql_types::Text,
            at: diesel::sql_types::Text,
        ) -> diesel::sql_types::Text;
    }
}

mod by_three {
    #[diesel::declare_sql_function]
    extern "SQL" {
        fn strftime(
            format: diesel::sql_types::Text,
            at: diesel::sql_types::Text,
            shift: diesel::sql_types::Text,
        ) -> diesel::sql_types::Text;
    }
}

/// Puts the database's clock, as this connection sees it, some hours off the
/// worker's: by functions that take the place of SQLite's.
pub fn put_clock_off(conn: &mut TestConnection, hours: i64) {
    let now = move |at: String, shift: TimeDelta| {
        assert_eq!(at, "now");
        let time = Utc::now() + TimeDelta::hours(hours) + shift;
        time.format("%Y-%m-%d %H:%M:%S%.3f").to_string()
    };
    by_two::strftime_utils::register_nondeterministic_impl(conn, move |_: String, at: String| {
        now(at, TimeDelta::zero())
    })
    .unwrap();
    by_three::strftime_utils::register_nondeterministic_impl(
        conn,
        move |_: String, at: String, shift: String| {
            let seconds: f64 = shift.strip_suffix(" seconds").unwrap().parse().unwrap();
            now(at, TimeDelta::microseconds((seconds * 1e6) as i64))
        },
    )
    .unwrap();
}

/// Has the database refuse an update of a job after which `when` holds, or do
/// nothing instead.
pub fn refuse(conn: &mut TestConnection, when: &str) {
    trigger(conn, when, "RAISE(ABORT, 'the job is not to be had')");
}

pub fn drop_updates(conn: &mut TestConnection, when: &str) {
    trigger(conn, when, "RAISE(IGNORE)");
}

/// Has the database say of each such update that it conflicts with another; with
/// one writer none does.
pub fn conflict(conn: &mut TestConnection, when: &str) {
    refuse(conn, when);
}

fn trigger(conn: &mut TestConnection, when: &str, action: &str) {
    conn.batch_execute(&format!(
        "CREATE TRIGGER in_the_way BEFORE UPDATE ON jobs WHEN {when} BEGIN SELECT {action}; END"
    ))
    .unwrap();
}

/// Has the database do nothing where a job is to be deleted for which `when`
/// holds.
pub fn drop_deletes(conn: &mut TestConnection, when: &str) {
    conn.batch_execute(&format!(
        "CREATE TRIGGER no_delete BEFORE DELETE ON jobs WHEN {when} BEGIN SELECT RAISE(IGNORE); END"
    ))
    .unwrap();
}

/// Has the database hold to foreign keys, which a server does anyway.
pub fn check_references(conn: &mut TestConnection) {
    conn.batch_execute("PRAGMA foreign_keys = ON").unwrap();
}

/// Whether an update that is dropped counts as made: MySQL has no way to drop
/// one, but to undo it.
pub const CHANGES_ARE_UNDONE: bool = false;
