//! What the doctor asks. The conditions on rows are made of names of the description and
//! of codes alone.

use diesel::connection::SimpleConnection;
use diesel::dsl::sql;
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Bool, Double, Integer, Nullable, Text};
use diesel_status_tracker::InnerConnection;

/// Where rows with a condition are looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Look {
    /// In the whole table, where an index finds them.
    ByIndex,
    /// Among the first rows of the table.
    Sample,
    /// Among fewer of them: the column may hold much.
    Few,
}

/// A count that is asked for.
pub(crate) struct Asked<'a> {
    pub condition: &'a str,
    pub look: Look,
}

/// A table, with the columns that the conditions name.
pub(crate) struct Sampled<'a> {
    pub table: &'a str,
    /// Of a sample.
    pub columns: &'a str,
    /// Of a small sample.
    pub large_columns: &'a str,
}

/// The rows of a sample.
pub(crate) const SAMPLE: i64 = 100_000;
/// Those of a small one.
pub(crate) const FEW: i64 = 1_000;
/// By an index, rows are counted up to this number.
pub(crate) const CAP: i64 = 10_000;

/// Has MariaDB end a statement after five seconds. To MySQL that is a comment.
const LIMITED: &str = "/*M!100100 SET STATEMENT max_statement_time = 5 FOR */";

/// Has MySQL and MariaDB wait no longer than five seconds for a lock of a whole table,
/// which they would do for a day, already where a statement is prepared. Returns what
/// the session had before.
pub(crate) fn shorten_wait(conn: &mut InnerConnection<'_>) -> QueryResult<Option<i64>> {
    let InnerConnection::Mysql(conn) = conn else {
        return Ok(None);
    };
    let before = sql::<BigInt>("SELECT CAST(@@lock_wait_timeout AS signed)");
    let before = before.get_result(&mut **conn)?;
    conn.batch_execute("SET SESSION lock_wait_timeout = 5")?;
    Ok(Some(before))
}

/// Puts back what [`shorten_wait`] has found.
pub(crate) fn restore_wait(conn: &mut InnerConnection<'_>, before: Option<i64>) -> QueryResult<()> {
    match (conn, before) {
        (InnerConnection::Mysql(conn), Some(seconds)) => {
            conn.batch_execute(&format!("SET SESSION lock_wait_timeout = {seconds}"))
        }
        _ => Ok(()),
    }
}

/// Counts the rows of each condition, in one statement, which reads a sample once, of at
/// most five seconds where the database can limit it.
pub(crate) fn counts(
    conn: &mut InnerConnection<'_>,
    sampled: &Sampled<'_>,
    asked: &[Asked<'_>],
) -> QueryResult<Vec<i64>> {
    let Sampled {
        table,
        columns,
        large_columns,
    } = sampled;
    let kind = match conn {
        InnerConnection::Mysql(_) => "CHAR",
        _ => "text",
    };
    let one = |asked: &Asked<'_>| {
        let condition = asked.condition;
        let count = match asked.look {
            Look::ByIndex => format!(
                "(SELECT count(*) FROM (SELECT 1 FROM {table} WHERE {condition} LIMIT {}) AS tracker_rows)",
                CAP + 1
            ),
            Look::Few => format!(
                "(SELECT count(*) FROM (SELECT {large_columns} FROM {table} LIMIT {FEW}) AS tracker_rows WHERE {condition})"
            ),
            Look::Sample => format!("count(CASE WHEN {condition} THEN 1 END)"),
        };
        format!("CAST({count} AS {kind})")
    };
    let counts: Vec<_> = asked.iter().map(one).collect();
    let counts = match conn {
        InnerConnection::Mysql(_) => format!("concat_ws(',', {})", counts.join(", ")),
        _ => counts.join(" || ',' || "),
    };
    let text = format!(
        "SELECT {counts} FROM (SELECT {columns} FROM {table} LIMIT {SAMPLE}) AS tracker_sample"
    );
    let read = match conn {
        InnerConnection::Postgres(conn) => conn.transaction(|conn| {
            conn.batch_execute("SET LOCAL statement_timeout = '5s'")?;
            sql::<Text>(&text).get_result::<String>(conn)
        }),
        InnerConnection::Mysql(conn) => {
            let text = format!("{LIMITED} {text}");
            sql::<Text>(&text).get_result(&mut **conn)
        }
        InnerConnection::Sqlite(conn) => sql::<Text>(&text).get_result(&mut **conn),
        _ => Err(diesel::result::Error::NotFound),
    }?;
    let numbers = read.split(',').map(str::parse);
    numbers
        .collect::<Result<_, _>>()
        .map_err(|error| diesel::result::Error::DeserializationError(Box::new(error)))
}

/// The seconds since 1970 by the database's clock.
pub(crate) fn clock(conn: &mut InnerConnection<'_>) -> QueryResult<f64> {
    match conn {
        InnerConnection::Postgres(conn) => {
            sql::<Double>("SELECT CAST(extract(epoch FROM clock_timestamp()) AS double precision)")
                .get_result(&mut **conn)
        }
        InnerConnection::Mysql(conn) => sql::<Double>(
            "SELECT CAST(timestampdiff(MICROSECOND, '1970-01-01', utc_timestamp(6)) / 1000000 AS double)",
        )
        .get_result(&mut **conn),
        InnerConnection::Sqlite(conn) => {
            sql::<Double>("SELECT (julianday('now') - 2440587.5) * 86400.0").get_result(&mut **conn)
        }
        _ => Err(diesel::result::Error::NotFound),
    }
}

/// How a query is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Plan {
    /// By an index, in its order.
    InOrder,
    /// By an index, and then the rows are sorted.
    Sorted,
    /// By reading the whole table.
    WholeTable,
}

#[derive(QueryableByName)]
struct PossibleKeys {
    #[diesel(sql_type = Nullable<Text>)]
    possible_keys: Option<String>,
}

/// How the database answers this query where the table is large: by an index if there is
/// one that serves.
pub(crate) fn plan(conn: &mut InnerConnection<'_>, query: &str) -> QueryResult<Plan> {
    let (reads_all, sorts) = match conn {
        InnerConnection::Postgres(conn) => {
            let lines = conn.transaction(|conn| {
                // A small table is read at once, whatever indexes it has.
                conn.batch_execute(
                    "SET LOCAL statement_timeout = '5s'; SET LOCAL enable_seqscan = off; SET LOCAL enable_bitmapscan = off; SET LOCAL enable_sort = off",
                )?;
                sql::<Text>(&format!("EXPLAIN {query}")).load::<String>(conn)
            })?;
            let has = |word: &str| lines.iter().any(|line| line.contains(word));
            (has("Seq Scan"), has("Sort"))
        }
        InnerConnection::Mysql(conn) => {
            // The rows that there are now do not count, the indexes that serve do.
            let rows =
                diesel::sql_query(format!("EXPLAIN {query}")).load::<PossibleKeys>(&mut **conn)?;
            (rows.iter().any(|row| row.possible_keys.is_none()), false)
        }
        InnerConnection::Sqlite(conn) => {
            let lines =
                sql::<(Integer, Integer, Integer, Text)>(&format!("EXPLAIN QUERY PLAN {query}"))
                    .load::<(i32, i32, i32, String)>(&mut **conn)?;
            let has = |word: &str| lines.iter().any(|line| line.3.contains(word));
            let uses =
                has("USING INDEX") || has("USING COVERING INDEX") || has("USING PRIMARY KEY");
            (!uses, has("TEMP B-TREE"))
        }
        _ => return Err(diesel::result::Error::NotFound),
    };
    Ok(match (reads_all, sorts) {
        (true, _) => Plan::WholeTable,
        (false, true) => Plan::Sorted,
        (false, false) => Plan::InOrder,
    })
}

/// What PostgreSQL says of a table and of its session.
#[derive(Debug, QueryableByName)]
pub(crate) struct PostgresFacts {
    #[diesel(sql_type = BigInt)]
    pub live: i64,
    #[diesel(sql_type = BigInt)]
    pub dead: i64,
    /// Whether autovacuum is on, on the server and for this table.
    #[diesel(sql_type = Bool)]
    pub vacuums_server: bool,
    #[diesel(sql_type = Bool)]
    pub vacuums_table: bool,
    #[diesel(sql_type = Text)]
    pub isolation: String,
    /// That of sessions that set none; Diesel's sessions set UTC.
    #[diesel(sql_type = Text)]
    pub time_zone: String,
}

const POSTGRES_FACTS: &str = "SELECT coalesce(s.n_live_tup, 0) AS live, coalesce(s.n_dead_tup, 0) AS dead, \
    current_setting('autovacuum') = 'on' AS vacuums_server, \
    NOT coalesce(c.reloptions::text LIKE '%autovacuum_enabled=false%' OR c.reloptions::text LIKE '%autovacuum_enabled=off%', false) \
        AS vacuums_table, \
    current_setting('default_transaction_isolation') AS isolation, \
    (SELECT reset_val FROM pg_settings WHERE name = 'TimeZone') AS time_zone \
    FROM pg_class c LEFT JOIN pg_stat_all_tables s ON s.relid = c.oid WHERE c.oid = CAST($1 AS regclass)";

pub(crate) fn postgres(conn: &mut PgConnection, table: &str) -> QueryResult<PostgresFacts> {
    diesel::sql_query(POSTGRES_FACTS)
        .bind::<Text, _>(table)
        .get_result(conn)
}

/// A session that keeps old rows from being cleaned up.
#[derive(Debug, QueryableByName)]
pub(crate) struct OldSession {
    #[diesel(sql_type = Integer)]
    pub pid: i32,
    #[diesel(sql_type = BigInt)]
    pub seconds: i64,
    #[diesel(sql_type = Text)]
    pub who: String,
}

const OLD_SESSIONS: &str = "SELECT pid, CAST(extract(epoch FROM clock_timestamp() - xact_start) AS bigint) AS seconds, \
    concat_ws(' ', usename, nullif(application_name, ''), state) AS who FROM pg_stat_activity \
    WHERE pid <> pg_backend_pid() AND (backend_xmin IS NOT NULL OR backend_xid IS NOT NULL) \
        AND xact_start < clock_timestamp() - $1 * interval '1 second' ORDER BY xact_start LIMIT 5";

pub(crate) fn old_sessions(conn: &mut PgConnection, seconds: i64) -> QueryResult<Vec<OldSession>> {
    diesel::sql_query(OLD_SESSIONS)
        .bind::<BigInt, _>(seconds)
        .load(conn)
}

/// Whether transactions of `one` and `other` get the same session of the server, or
/// others than before: so does a pooler that keeps a session for a transaction only.
pub(crate) fn share_sessions(
    one: &mut PgConnection,
    other: &mut PgConnection,
) -> QueryResult<bool> {
    let pid =
        |conn: &mut PgConnection| sql::<Integer>("SELECT pg_backend_pid()").get_result::<i32>(conn);
    let before = pid(one)?;
    // The session that `one` has had is free for this transaction then.
    other.transaction(|other| {
        let taken = pid(other)?;
        Ok(taken == before || pid(one)? != before)
    })
}

/// What MySQL or MariaDB says of a table and of its session.
#[derive(Debug, QueryableByName)]
pub(crate) struct MysqlFacts {
    #[diesel(sql_type = Nullable<Text>)]
    pub engine: Option<String>,
    #[diesel(sql_type = Text)]
    pub sql_mode: String,
    #[diesel(sql_type = BigInt)]
    pub flush: i64,
    #[diesel(sql_type = BigInt)]
    pub lock_wait: i64,
    #[diesel(sql_type = Text)]
    pub version: String,
}

const MYSQL_FACTS: &str = "SELECT engine, @@sql_mode AS sql_mode, \
    CAST(@@innodb_flush_log_at_trx_commit AS signed) AS flush, \
    CAST(@@innodb_lock_wait_timeout AS signed) AS lock_wait, version() AS version \
    FROM information_schema.tables WHERE table_schema = coalesce(?, database()) AND table_name = ?";

pub(crate) fn mysql(
    conn: &mut MysqlConnection,
    schema: Option<&str>,
    table: &str,
) -> QueryResult<MysqlFacts> {
    diesel::sql_query(MYSQL_FACTS)
        .bind::<Nullable<Text>, _>(schema)
        .bind::<Text, _>(table)
        .get_result(conn)
}

/// What SQLite says of a file and of this connection.
#[derive(Debug, QueryableByName)]
pub(crate) struct SqliteFacts {
    #[diesel(sql_type = Text)]
    pub journal: String,
    #[diesel(sql_type = Integer)]
    pub synchronous: i32,
    #[diesel(sql_type = Integer)]
    pub busy_timeout: i32,
    #[diesel(sql_type = Text)]
    pub file: String,
}

const SQLITE_FACTS: &str = "SELECT j.journal_mode AS journal, s.synchronous AS synchronous, t.timeout AS busy_timeout, \
    coalesce(d.file, '') AS file FROM pragma_journal_mode j, pragma_synchronous s, pragma_busy_timeout t, \
    pragma_database_list d WHERE d.name = ?1";

pub(crate) fn sqlite(conn: &mut SqliteConnection, schema: &str) -> QueryResult<SqliteFacts> {
    diesel::sql_query(SQLITE_FACTS)
        .bind::<Text, _>(schema)
        .get_result(conn)
}
