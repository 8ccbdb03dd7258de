//! MySQL and MariaDB: what a test can do to a session.

use diesel::connection::SimpleConnection;
use diesel::dsl::sql;
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Bool, Text};

use super::database::TestConnection;

/// Has statements fail soon where another session is in the way: at once on
/// MariaDB, after a second on MySQL.
pub fn impatient(conn: &mut TestConnection) {
    conn.batch_execute("SET innodb_lock_wait_timeout = 0")
        .unwrap();
}

/// The languages of the database's messages.
pub const LANGUAGES: [fn(&mut TestConnection); 2] = [|_| {}, in_german];

/// The isolation levels of transactions.
pub const LEVELS: [fn(&mut TestConnection); 4] = [
    |_| {},
    |conn| {
        conn.batch_execute("SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED")
            .unwrap();
    },
    // As MariaDB from 11.6 on.
    |conn| {
        conn.batch_execute("SET innodb_snapshot_isolation = ON")
            .unwrap();
    },
    |conn| {
        conn.batch_execute("SET SESSION TRANSACTION ISOLATION LEVEL SERIALIZABLE")
            .unwrap();
    },
];

pub fn in_german(conn: &mut TestConnection) {
    conn.batch_execute("SET lc_messages = 'de_DE'").unwrap();
}

/// Puts the database's clock, as this session sees it, some hours off the
/// worker's; it stands still, too.
pub fn put_clock_off(conn: &mut TestConnection, hours: i64) {
    conn.batch_execute(&format!(
        "SET timestamp = UNIX_TIMESTAMP(NOW(6)) + 60 * 60 * {hours}"
    ))
    .unwrap();
}

/// The session's number.
pub fn number(conn: &mut TestConnection) -> i64 {
    let number = diesel::select(sql::<BigInt>("CAST(CONNECTION_ID() AS SIGNED)"));
    number.get_result(conn).unwrap()
}

/// Ends another session, and waits until it is gone.
pub fn end(conn: &mut TestConnection, number: i64) {
    conn.batch_execute(&format!("KILL {number}")).unwrap();
    let lives =
        format!("EXISTS (SELECT * FROM information_schema.processlist WHERE id = {number})");
    while diesel::select(sql::<Bool>(&lives))
        .get_result(conn)
        .unwrap()
    {}
}

/// Whether a session executes a statement, as it does while it waits for a lock.
pub fn waits(conn: &mut TestConnection, number: i64) -> bool {
    let waits = format!(
        "EXISTS (SELECT * FROM information_schema.processlist WHERE id = {number} AND command = 'Execute')"
    );
    diesel::select(sql::<Bool>(&waits))
        .get_result(conn)
        .unwrap()
}

/// Has the session be refused where it is in a deadlock with one that
/// [`wins_deadlocks`]: which is the one that has written more.
pub fn loses_deadlocks(_: &mut TestConnection) {}

pub fn wins_deadlocks(_: &mut TestConnection) {}

/// Has the database refuse an update of a job after which `when` holds, or do
/// nothing instead.
pub fn refuse(conn: &mut TestConnection, when: &str) {
    let action = "SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'the job is not to be had'";
    trigger(conn, when, action);
}

pub fn drop_updates(conn: &mut TestConnection, when: &str) {
    let columns = [
        "status",
        "update_at",
        "`lock`",
        "lock_at",
        "retry",
        "errors",
    ];
    let old = columns.map(|column| format!("NEW.{column} = OLD.{column}"));
    trigger(conn, when, &format!("SET {}", old.join(", ")));
}

/// Has the database say of each such update that it is in a deadlock.
pub fn conflict(conn: &mut TestConnection, when: &str) {
    conn.batch_execute(&super::backend::conflict(when)).unwrap();
}

fn trigger(conn: &mut TestConnection, when: &str, action: &str) {
    conn.batch_execute(&format!(
        "CREATE TRIGGER in_the_way BEFORE UPDATE ON jobs FOR EACH ROW BEGIN IF {when} THEN {action}; END IF; END"
    ))
    .unwrap();
}

/// MySQL has no way to drop a delete: each is made.
pub fn drop_deletes(_: &mut TestConnection, _when: &str) {}

/// How long the session's statements wait for a row that another holds.
pub fn lock_wait(conn: &mut TestConnection) -> String {
    let setting = diesel::select(sql::<Text>("CAST(@@innodb_lock_wait_timeout AS CHAR)"));
    setting.get_result(conn).unwrap()
}

/// Has them wait for seven seconds.
pub fn wait_seven_seconds(conn: &mut TestConnection) {
    conn.batch_execute("SET innodb_lock_wait_timeout = 7")
        .unwrap();
}

/// Has the database hold to foreign keys, which a server does anyway.
pub fn check_references(_: &mut TestConnection) {}

/// Whether an update that is dropped counts as made: MySQL has no way to drop
/// one, but to undo it.
pub const CHANGES_ARE_UNDONE: bool = true;
