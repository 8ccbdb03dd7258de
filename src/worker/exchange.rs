//! Outcomes are written and the next jobs claimed with one commit.

use diesel::QueryResult;
use diesel::result::Error::DeserializationError as Undecodable;

use super::completion::Completion;
use super::plan::Plan;
use crate::attempt::claim::{Next, Sent, claim_several};
use crate::attempt::outcome::WriteResult;
use crate::db::connection::{TrackerConnection, together};
use crate::db::pool::AnyPool;
use crate::db::retry::{self, Verdict};
use crate::sql::dialect::Several;
use crate::sql::results::{Batch, Search};
use crate::sql::store::JobStore;
use status_protocol::Step;
use status_protocol::panics::caught;

/// What came of it.
pub(super) enum Exchange<J: JobStore<C>, C: TrackerConnection> {
    /// The outcomes are written, or their locks lost, and these jobs are claimed.
    Done(Next<J, C>),
    /// Nothing was changed.
    Nothing,
    /// The answer was lost: both may have been done.
    Unknown(Sent),
}

/// Writes a group of outcomes and claims up to `wanted` jobs, both or neither, with
/// one try. No outcome was tried before.
pub(super) fn exchange<S: 'static, J: JobStore<C>, C: TrackerConnection>(
    pool: &AnyPool<C>,
    group: &mut [Completion<J, C>],
    wanted: usize,
    step: Step<J::Status>,
    search: &Search<J::Key>,
) -> Exchange<J, C> {
    let claim = Sent::now();
    // The user's code that binds updates and reads rows may panic. Then the
    // connection, whose transaction may be open, does not go back to the pool.
    let done = caught("writing outcomes and claiming jobs", || {
        let mut conn = retry::checkout(&**pool, pool.connection_timeout()).ok()?;
        let conn = &mut **conn;
        let done = write_and_claim::<J, C>(conn, group, wanted, &claim, &step, search);
        Some(done.map_err(|error| {
            tracing::debug!(table = J::table_name(), %error, "outcomes are not written together with a claim");
            // A row that cannot be read was claimed, if the statement is committed.
            matches!(error, Undecodable(_)) || retry::judge(conn, &error) == Verdict::Broken
        }))
    });
    match done {
        Ok(Some(Ok((written, batch)))) => {
            for (completion, is_written) in group.iter_mut().zip(written) {
                completion.tries += 1;
                completion.record(match is_written {
                    true => WriteResult::Written,
                    false => WriteResult::LockLost,
                });
            }
            Exchange::Done(Next::of::<S>(pool, step, &claim, batch))
        }
        Ok(None | Some(Err(false))) => Exchange::Nothing,
        Ok(Some(Err(true))) | Err(_) => Exchange::Unknown(claim),
    }
}

/// Of each outcome whether it was written, and the jobs that are claimed. On
/// PostgreSQL it is one statement, where the outcomes allow it; otherwise one
/// transaction.
fn write_and_claim<J: JobStore<C>, C: TrackerConnection>(
    conn: &mut C,
    group: &[Completion<J, C>],
    wanted: usize,
    claim: &Sent,
    step: &Step<J::Status>,
    search: &Search<J::Key>,
) -> QueryResult<(Vec<bool>, Batch<J>)> {
    let group: Vec<_> = group.iter().collect();
    let mut plan = Plan::of(conn, &group);
    let last = match J::dialect(conn).several {
        Several::AtOnce => plan.take_successes(&group),
        Several::ByKeys | Several::OneWriter => None,
    };
    together(conn, plan.statements() + 1, |conn: &mut C| {
        let mut written = plan.write(conn, &group, step)?;
        let token = &*claim.token;
        let Some(last) = last else {
            let batch = claim_several::<C, J>(conn, wanted, token, step, search)?;
            return Ok((written, batch));
        };
        let successes = last.successes(&group);
        let (count, batch) = J::succeed_and_claim(conn, &successes, wanted, token, step, search)?;
        last.note(count, conn, &group, step, &mut written)?;
        Ok((written, batch))
    })
}
