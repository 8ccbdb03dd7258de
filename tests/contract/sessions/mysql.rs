//! MySQL and MariaDB: what a test can do to a session.

use diesel::connection::SimpleConnection;
use diesel::dsl::sql;
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Bool};

use super::database::TestConnection;

/// Has statements fail soon where another session is in the way: at once on
/// MariaDB, after a second on MySQL.
pub fn impatient(conn: &mut TestConnection) {
    conn.batch_execute("SET innodb_lock_wait_timeout = 0")
        .unwrap();
}

/// The languages of the database's messages.
pub const LANGUAGES: [fn(&mut TestConnection); 2] = [|_| {}, in_german];

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
