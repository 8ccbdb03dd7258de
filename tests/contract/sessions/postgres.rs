//! PostgreSQL: what a test can do to a session.

use diesel::connection::SimpleConnection;
use diesel::dsl::sql;
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Bool, Text};

use super::database::TestConnection;

/// Has statements fail soon where another session is in the way.
pub fn impatient(conn: &mut TestConnection) {
    conn.batch_execute("SET lock_timeout = '5ms'").unwrap();
}

/// The languages of the database's messages.
pub const LANGUAGES: [fn(&mut TestConnection); 2] = [|_| {}, in_german];

/// The isolation levels of transactions, without the one that rolls back some
/// transactions on suspicion.
pub const LEVELS: [fn(&mut TestConnection); 2] = [
    |conn| {
        conn.batch_execute("SET default_transaction_isolation = 'read committed'")
            .unwrap();
    },
    |conn| {
        conn.batch_execute("SET default_transaction_isolation = 'repeatable read'")
            .unwrap();
    },
];

pub fn serializable(conn: &mut TestConnection) {
    conn.batch_execute("SET default_transaction_isolation = 'serializable'")
        .unwrap();
}

/// Has the server speak German, if `scripts/with-servers` started it: another
/// may lack the locale.
pub fn in_german(conn: &mut TestConnection) {
    conn.batch_execute("SET lc_messages = 'de_DE.UTF-8'")
        .unwrap();
}

/// Puts the database's clock, as this session sees it, some hours off the
/// worker's: by functions that take the place of PostgreSQL's.
pub fn put_clock_off(conn: &mut TestConnection, hours: i64) {
    conn.batch_execute(&format!(
        "CREATE FUNCTION statement_timestamp() RETURNS timestamptz STABLE LANGUAGE sql
             AS 'SELECT pg_catalog.statement_timestamp() + interval ''{hours} hours''';
         CREATE FUNCTION clock_timestamp() RETURNS timestamptz LANGUAGE sql
             AS 'SELECT pg_catalog.clock_timestamp() + interval ''{hours} hours''';
         SELECT set_config('search_path', current_schema() || ', pg_catalog', false)"
    ))
    .unwrap();
}

/// The session's number.
pub fn number(conn: &mut TestConnection) -> i64 {
    let number = diesel::select(sql::<BigInt>("pg_backend_pid()::bigint"));
    number.get_result(conn).unwrap()
}

/// Ends another session, and waits until it is gone.
pub fn end(conn: &mut TestConnection, number: i64) {
    conn.batch_execute(&format!("SELECT pg_terminate_backend({number})"))
        .unwrap();
    let lives = format!("EXISTS (SELECT * FROM pg_stat_activity WHERE pid = {number})");
    while diesel::select(sql::<Bool>(&lives))
        .get_result(conn)
        .unwrap()
    {}
}

/// Whether a session waits for another's lock.
pub fn waits(conn: &mut TestConnection, number: i64) -> bool {
    let waits = sql::<Bool>(&format!("cardinality(pg_blocking_pids({number})) > 0"));
    diesel::select(waits).get_result(conn).unwrap()
}

/// Has the session be refused where it is in a deadlock with one that
/// [`wins_deadlocks`]: the one that looks for the deadlock.
pub fn loses_deadlocks(conn: &mut TestConnection) {
    conn.batch_execute("SET deadlock_timeout = '1ms'").unwrap();
}

pub fn wins_deadlocks(conn: &mut TestConnection) {
    conn.batch_execute("SET deadlock_timeout = '1h'").unwrap();
}

/// Has the database refuse an update of a job after which `when` holds, or do
/// nothing instead.
pub fn refuse(conn: &mut TestConnection, when: &str) {
    trigger(conn, when, "RAISE EXCEPTION 'the job is not to be had'");
}

pub fn drop_updates(conn: &mut TestConnection, when: &str) {
    trigger(conn, when, "RETURN NULL");
}

/// Has the database say of each such update that it conflicts with another.
pub fn conflict(conn: &mut TestConnection, when: &str) {
    conn.batch_execute(&super::backend::conflict(when)).unwrap();
}

fn trigger(conn: &mut TestConnection, when: &str, action: &str) {
    conn.batch_execute(&format!(
        "CREATE FUNCTION in_the_way() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {action}; END $$;
         CREATE TRIGGER in_the_way BEFORE UPDATE ON jobs FOR EACH ROW WHEN ({when}) EXECUTE FUNCTION in_the_way()"
    ))
    .unwrap();
}

/// Has the database do nothing where a job is to be deleted for which `when`
/// holds.
pub fn drop_deletes(conn: &mut TestConnection, when: &str) {
    conn.batch_execute(&format!(
        "CREATE FUNCTION no_delete() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$;
         CREATE TRIGGER no_delete BEFORE DELETE ON jobs FOR EACH ROW WHEN ({when}) EXECUTE FUNCTION no_delete()"
    ))
    .unwrap();
}

/// How long the session's statements wait for a row that another holds.
pub fn lock_wait(conn: &mut TestConnection) -> String {
    let setting = diesel::select(sql::<Text>("current_setting('lock_timeout')"));
    setting.get_result(conn).unwrap()
}

/// Has them wait for seven seconds.
pub fn wait_seven_seconds(conn: &mut TestConnection) {
    conn.batch_execute("SET lock_timeout = '7s'").unwrap();
}

/// Has the database hold to foreign keys, which a server does anyway.
pub fn check_references(_: &mut TestConnection) {}

/// Whether an update that is dropped counts as made: MySQL has no way to drop
/// one, but to undo it.
pub const CHANGES_ARE_UNDONE: bool = false;
