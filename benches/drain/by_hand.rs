//! The same by hand: each thread claims `n`, and finishes `n`, with SQL that
//! is prepared once, on a connection of its own.

use std::thread;

use diesel::prelude::*;
use diesel::query_builder::{AstPass, Query, QueryFragment, QueryId};
use diesel::r2d2::{ConnectionManager, Pool};
use diesel::sql_types::{Integer, Json, Text};
use serde_json::json;

use crate::THREADS;

/// What a claim returns of each row: its key, and what a failure would need.
type Claimed = (String, i32, serde_json::Value);

fn token() -> String {
    uuid::Uuid::new_v4().simple().to_string()
}

/// SQL with these texts bound in place of its question marks, in turn.
struct Fixed<'a> {
    sql: &'a str,
    binds: Vec<&'a str>,
}

impl QueryId for Fixed<'_> {
    type QueryId = ();
    const HAS_STATIC_QUERY_ID: bool = false;
}

impl Query for Fixed<'_> {
    type SqlType = (Text, Integer, Json);
}

impl<Conn> RunQueryDsl<Conn> for Fixed<'_> {}

impl<DB: diesel::backend::Backend> QueryFragment<DB> for Fixed<'_>
where
    DB: diesel::sql_types::HasSqlType<Text>,
    str: diesel::serialize::ToSql<Text, DB>,
{
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, DB>) -> QueryResult<()> {
        let mut parts = self.sql.split('?');
        out.push_sql(parts.next().unwrap_or_default());
        for (part, bind) in parts.zip(&self.binds) {
            out.push_bind_param::<Text, _>(*bind)?;
            out.push_sql(part);
        }
        Ok(())
    }
}

fn threads(work: impl Fn() + Sync) {
    thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(&work);
        }
    });
}

#[cfg(feature = "postgres")]
pub fn postgres(pool: &Pool<ConnectionManager<PgConnection>>, batch: usize, updates: bool) {
    use diesel::sql_types::Array;

    const NOW: &str = "(statement_timestamp() AT TIME ZONE 'UTC')";
    let claim = format!(
        "UPDATE jobs SET status = 20, lock = ?, lock_at = {NOW}, update_at = {NOW} WHERE id = ANY(ARRAY(
            SELECT id FROM jobs WHERE lock IS NULL AND status IN (10, 30) ORDER BY update_at LIMIT {batch} FOR UPDATE SKIP LOCKED))
         RETURNING id, retry, errors"
    );
    let set = if updates { "data = ?, " } else { "" };
    let one = format!(
        "UPDATE jobs SET {set}status = 40, lock = NULL, retry = 0, update_at = {NOW} WHERE id = ? AND lock = ?"
    );

    /// `WHERE id = ANY(…) AND lock = …`
    struct FinishAll(Vec<String>, String);
    impl QueryId for FinishAll {
        type QueryId = FinishAll;
        const HAS_STATIC_QUERY_ID: bool = true;
    }
    impl<Conn> RunQueryDsl<Conn> for FinishAll {}
    impl QueryFragment<diesel::pg::Pg> for FinishAll {
        fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, diesel::pg::Pg>) -> QueryResult<()> {
            out.push_sql("UPDATE jobs SET status = 40, lock = NULL, retry = 0, update_at = ");
            out.push_sql(NOW);
            out.push_sql(" WHERE id = ANY(");
            out.push_bind_param::<Array<Text>, _>(&self.0)?;
            out.push_sql(") AND lock = ");
            out.push_bind_param::<Text, _>(&self.1)
        }
    }

    threads(|| {
        let conn = &mut pool.get().expect("a connection");
        loop {
            let token = token();
            let claim = Fixed {
                sql: &claim,
                binds: vec![&token],
            };
            let jobs: Vec<Claimed> = claim.load(conn).expect("a claim");
            if jobs.is_empty() {
                return;
            }
            if updates {
                let data = json!({"version": 1}).to_string();
                conn.transaction(|conn| {
                    for (id, ..) in &jobs {
                        let one = Fixed {
                            sql: &one.replacen("data = ?", "data = (?)::json", 1),
                            binds: vec![&data, id, &token],
                        };
                        assert_eq!(one.execute(conn)?, 1);
                    }
                    QueryResult::Ok(())
                })
                .expect("a commit");
            } else {
                let count = jobs.len();
                let keys = jobs.into_iter().map(|job| job.0).collect();
                assert_eq!(FinishAll(keys, token).execute(conn), Ok(count));
            }
        }
    });
}

#[cfg(feature = "mysql")]
pub fn mysql(pool: &Pool<ConnectionManager<MysqlConnection>>, batch: usize, updates: bool) {
    const NOW: &str = "UTC_TIMESTAMP(6)";
    let first = |status: i32| {
        format!(
            "(SELECT id, retry, errors, update_at FROM jobs WHERE `lock` IS NULL AND status = {status} ORDER BY update_at LIMIT {batch})"
        )
    };
    let first = format!(
        "SELECT id, retry, errors FROM ({} UNION ALL {}) AS firsts ORDER BY update_at LIMIT {batch}",
        first(10),
        first(30)
    );
    let set = if updates { "data = ?, " } else { "" };
    let one = format!(
        "UPDATE jobs SET {set}status = 40, `lock` = NULL, retry = 0, update_at = {NOW} WHERE id = ? AND `lock` = ?"
    );
    let marks = |n: usize| vec!["?"; n].join(", ");
    threads(|| {
        let conn = &mut pool.get().expect("a connection");
        loop {
            let token = token();
            let candidates: Vec<Claimed> = Fixed {
                sql: &first,
                binds: vec![],
            }
            .load(conn)
            .expect("candidates");
            if candidates.is_empty() {
                return;
            }
            let ids: Vec<&str> = candidates.iter().map(|job| job.0.as_str()).collect();
            let marks = marks(ids.len());
            let sql = format!(
                "UPDATE jobs SET status = 20, `lock` = ?, lock_at = {NOW}, update_at = {NOW} WHERE id IN ({marks}) AND `lock` IS NULL AND status IN (10, 30)"
            );
            let binds = [&[token.as_str()], &ids[..]].concat();
            let claimed = Fixed { sql: &sql, binds }.execute(conn);
            if claimed == Ok(0) {
                continue;
            }
            let sql =
                format!("SELECT id, retry, errors FROM jobs WHERE id IN ({marks}) AND `lock` = ?");
            let binds = [&ids[..], &[token.as_str()]].concat();
            let jobs: Vec<Claimed> = Fixed { sql: &sql, binds }.load(conn).expect("the claimed");
            let ids: Vec<&str> = jobs.iter().map(|job| job.0.as_str()).collect();
            if updates {
                let data = json!({"version": 1}).to_string();
                conn.transaction(|conn| {
                    for id in &ids {
                        assert_eq!(
                            Fixed {
                                sql: &one,
                                binds: vec![&data, id, &token]
                            }
                            .execute(conn)?,
                            1
                        );
                    }
                    QueryResult::Ok(())
                })
                .expect("a commit");
            } else {
                let marks = vec!["?"; ids.len()].join(", ");
                let sql = format!(
                    "UPDATE jobs SET status = 40, `lock` = NULL, retry = 0, update_at = {NOW} WHERE id IN ({marks}) AND `lock` = ?"
                );
                let binds = [&ids[..], &[token.as_str()]].concat();
                assert_eq!(Fixed { sql: &sql, binds }.execute(conn), Ok(jobs.len()));
            }
        }
    });
}

#[cfg(feature = "sqlite")]
pub fn sqlite(pool: &Pool<ConnectionManager<SqliteConnection>>, batch: usize, updates: bool) {
    const NOW: &str = "strftime('%Y-%m-%d %H:%M:%f', 'now')";
    let claim = format!(
        "UPDATE jobs SET status = 20, lock = ?, lock_at = {NOW}, update_at = {NOW} WHERE id IN (
            SELECT id FROM jobs WHERE lock IS NULL AND status IN (10, 30) ORDER BY update_at LIMIT {batch})
         RETURNING id, retry, errors"
    );
    let set = if updates { "data = ?, " } else { "" };
    let one = format!(
        "UPDATE jobs SET {set}status = 40, lock = NULL, retry = 0, update_at = {NOW} WHERE id = ? AND lock = ?"
    );
    threads(|| {
        let conn = &mut pool.get().expect("a connection");
        loop {
            let token = token();
            let claim = || Fixed {
                sql: &claim,
                binds: vec![&token],
            };
            let jobs: Vec<Claimed> =
                until_free(|| conn.immediate_transaction(|conn| claim().load(conn)));
            if jobs.is_empty() {
                return;
            }
            let data = json!({"version": 1}).to_string();
            until_free(|| {
                conn.immediate_transaction(|conn| {
                    for (id, ..) in &jobs {
                        let binds = if updates {
                            vec![&*data, id, &token]
                        } else {
                            vec![&**id, &token]
                        };
                        assert_eq!(Fixed { sql: &one, binds }.execute(conn)?, 1);
                    }
                    QueryResult::Ok(())
                })
            });
        }
    });
}

/// SQLite says that it is busy where one has waited for too long.
#[cfg(feature = "sqlite")]
fn until_free<T>(mut work: impl FnMut() -> QueryResult<T>) -> T {
    loop {
        match work() {
            Err(diesel::result::Error::DatabaseError(_, why))
                if why.message().contains("locked") => {}
            other => return other.expect("it works"),
        }
    }
}
