//! Claims the next ready jobs: together if that works, otherwise one by one.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::fmt::Debug;
use std::sync::Arc;
use std::time::Instant;

use chrono::{DateTime, Utc};
use diesel::QueryResult;
use diesel::result::Error::DeserializationError as Undecodable;

use super::{claim_or_release, decoded, new_token, one_by_one, release_unread};
use crate::attempt::running::RunningJob;
use crate::db::connection::{TrackerConnection, together};
use crate::db::pool::AnyPool;
use crate::db::retry::{self, Verdict};
use crate::error::{Error, Result};
use crate::keys::{KeyMap, KeySet};
use crate::rows::apart::Mode;
use crate::sql::calls::sort_by_places;
use crate::sql::dialect::{LockWait, Several};
use crate::sql::filter::Filter;
use crate::sql::results::{Batch, Claimed, Obstacle, Ready, Search};
use crate::sql::store::JobStore;
use status_protocol::Step;

/// The most rows that one statement claims. With many more, the time of
/// PostgreSQL's plan may grow with their square, and MySQL has too few parameters.
pub(crate) const LARGEST_CLAIM: usize = 1_000;

/// A claim that was sent.
#[derive(Debug, Clone)]
pub(crate) struct Sent {
    pub token: Arc<str>,
    pub at: Instant,
}

impl Sent {
    /// A claim that is sent now.
    pub fn now() -> Self {
        Self {
            token: new_token(),
            at: Instant::now(),
        }
    }
}

/// The next ready jobs, as far as they could be claimed.
pub(crate) struct Next<J: JobStore<C>, C: TrackerConnection> {
    /// In order, none of them started.
    pub jobs: Vec<RunningJob<J, C>>,
    /// Rows that would have been next, and why they could not be claimed.
    pub passed_over: Vec<(J::Key, Obstacle)>,
    /// Each ready row that had last changed before this time was tried.
    pub reached: Option<DateTime<Utc>>,
}

/// Claims up to `wanted` of the ready jobs that `search` looks for, or fewer if
/// fewer are free now. A row that cannot be claimed does not prevent the others
/// from being claimed. If the answer to an `earlier` claim was lost, its rows
/// are looked for first.
pub(crate) fn next<S: 'static, J: JobStore<C>, C: TrackerConnection>(
    pool: &AnyPool<C>,
    wanted: usize,
    step: Step<J::Status>,
    search: &Search<J::Key>,
    mut earlier: Option<Sent>,
) -> Result<Next<J, C>> {
    let mut next = Next {
        jobs: Vec::new(),
        passed_over: Vec::new(),
        reached: None,
    };
    let mut search = Cow::Borrowed(search);
    while next.jobs.len() < wanted {
        let limit = (wanted - next.jobs.len()).min(LARGEST_CLAIM);
        let more = claim::<S, J, C>(pool, step, earlier.take(), |conn, token, mode| {
            together_or_alone::<C, J>(conn, limit, token, &step, &search, mode)
        });
        match more {
            Ok(more) => {
                let is_last = more.jobs.len() < limit;
                next.jobs.extend(more.jobs);
                if !is_last && !more.passed_over.is_empty() {
                    leave_out(search.to_mut(), &more.passed_over);
                }
                next.passed_over.extend(more.passed_over);
                next.reached = next.reached.max(more.reached);
                if is_last {
                    break;
                }
            }
            // The caller gets those that are claimed.
            Err(error) if !next.jobs.is_empty() => {
                log_fewer(J::table_name(), &error);
                break;
            }
            Err(error) => return Err(error),
        }
    }
    Ok(next)
}

// A log macro expands to much code. Here it is compiled once, and not for each table.

fn log_fewer(table: &str, error: &Error) {
    tracing::warn!(table, %error, "fewer jobs are claimed than were asked for");
}

fn log_not_together(table: &str, error: &diesel::result::Error) {
    tracing::debug!(table, %error, "not claimed together");
}

/// Claims rows by `work`, which gets a token, on a connection of the pool.
pub(super) fn claim<S: 'static, J: JobStore<C>, C: TrackerConnection>(
    pool: &AnyPool<C>,
    step: Step<J::Status>,
    mut earlier: Option<Sent>,
    mut work: impl FnMut(&mut C, &str, Mode) -> QueryResult<Batch<J>>,
) -> Result<Next<J, C>> {
    let mut claim = Sent::now();
    let mut tries = 0;
    let batch = retry::run(&**pool, &J::table_name(), |conn, _| {
        tries += 1;
        if tries > 1 {
            // It may also be applied later. Then its rows are not those of this try.
            earlier = Some(std::mem::replace(&mut claim, Sent::now()));
        }
        if let Some(earlier) = &earlier {
            // An earlier try may have been applied although its answer was lost. Or
            // it claimed some rows before it failed.
            let batch = held_by(conn, &earlier.token, &step)?;
            if !batch.claimed.is_empty() {
                claim = earlier.clone();
                return Ok(batch);
            }
        }
        claim.at = Instant::now();
        let mode = Mode::of_try(conn, tries);
        Ok(work(conn, &claim.token, mode)?)
    })?;
    Ok(Next::of::<S>(pool, step, &claim, batch))
}

impl<J: JobStore<C>, C: TrackerConnection> Next<J, C> {
    /// The jobs that a claim got.
    pub fn of<S: 'static>(
        pool: &AnyPool<C>,
        step: Step<J::Status>,
        claim: &Sent,
        batch: Batch<J>,
    ) -> Self {
        let mut jobs = Vec::with_capacity(batch.claimed.len());
        for claimed in batch.claimed {
            let token = claim.token.clone();
            jobs.push(RunningJob::hold::<S>(
                pool.clone(),
                step,
                token,
                claimed,
                claim.at,
            ));
        }
        Self {
            jobs,
            passed_over: batch.passed_over,
            reached: batch.reached,
        }
    }
}

/// Claims the rows by as few statements as possible. If that gives none although
/// some may be ready, it claims one by one: a row that cannot be claimed may stand
/// in front of others that can.
fn together_or_alone<C: TrackerConnection, J: JobStore<C>>(
    conn: &mut C,
    limit: usize,
    token: &str,
    step: &Step<J::Status>,
    search: &Search<J::Key>,
    mode: Mode,
) -> QueryResult<Batch<J>> {
    if mode == Mode::Alone {
        return one_by_one::claim::<C, J>(conn, limit, token, step, search.clone());
    }
    let claimed = decoded(|| claim_several::<C, J>(conn, limit, token, step, search));
    let (mut batch, is_refused) = match claimed {
        // Claiming one by one finds out which row it was.
        Err(Undecodable(_)) => (held_by(conn, token, step)?, false),
        // The database refuses the whole batch because of one row.
        Err(error) if retry::judge(conn, &error) == Verdict::Permanent => {
            log_not_together(J::table_name(), &error);
            (held_by(conn, token, step)?, true)
        }
        other => (other?, false),
    };
    // A row whose update the database drops is not reported. Only a search from
    // the front looks for such rows.
    let may_be_dropped = !batch.none_is_ready && search.since.is_none();
    if batch.claimed.is_empty() && (is_refused || may_be_dropped || !batch.passed_over.is_empty()) {
        let mut search = search.clone();
        leave_out(&mut search, &batch.passed_over);
        let alone = one_by_one::claim::<C, J>(conn, limit, token, step, search)?;
        batch.claimed = alone.claimed;
        batch.reached = alone.reached;
        batch.passed_over.extend(alone.passed_over);
    }
    Ok(batch)
}

/// Claims several rows in the way of the database.
pub(crate) fn claim_several<C: TrackerConnection, J: JobStore<C>>(
    conn: &mut C,
    limit: usize,
    token: &str,
    step: &Step<J::Status>,
    search: &Search<J::Key>,
) -> QueryResult<Batch<J>> {
    let several = J::dialect(conn).several;
    // The ways that are not this connection's are not even compiled.
    if const { may_be::<C>(Several::AtOnce) } && several == Several::AtOnce {
        return match J::claim_next(conn, limit, token, step, search) {
            Err(Undecodable(_)) => held_by(conn, token, step),
            other => other,
        };
    }
    if const { may_be::<C>(Several::ByKeys) } && several == Several::ByKeys && limit > 1 {
        return claim_by_keys::<C, J>(conn, limit, token, step, search);
    }
    if const { may_be::<C>(Several::OneWriter) } && several == Several::OneWriter && limit > 1 {
        return claim_found::<C, J>(conn, limit, token, step, search);
    }
    claim_one::<C, J>(conn, token, step, search)
}

/// Whether a connection of this type may claim rows in this way.
const fn may_be<C: TrackerConnection>(several: Several) -> bool {
    match (several, C::FACTS) {
        (_, None) => true,
        (Several::AtOnce, Some(facts)) => facts.writers > 1 && !facts.reads_old_rows,
        (Several::ByKeys, Some(facts)) => facts.reads_old_rows,
        (Several::OneWriter, Some(facts)) => facts.writers == 1,
    }
}

/// A claim of one row that got none of a list that is longer than this reads no longer
/// one: they may be held for long. The next search from the front finds out.
const MOST_TRIED: usize = 200;

/// How many more candidates are read than are wanted: other claimers read the same
/// list at the same time.
fn spare(limit: usize) -> usize {
    limit.clamp(16, 100)
}

/// Reads at least `limit` of the ready rows that `search` looks for. The second
/// value: whether these are all.
pub(super) fn candidates<C, J: JobStore<C>>(
    conn: &mut C,
    limit: usize,
    step: &Step<J::Status>,
    search: &Search<J::Key>,
) -> QueryResult<(VecDeque<Ready<J::Key>>, bool)> {
    let reach = limit + search.past.len();
    let rows = J::ready_rows(conn, reach, step, search)?;
    let are_all = rows.len() < reach;
    Ok((without(rows, &search.past), are_all))
}

// What follows knows the key alone, so that tables with keys of one type share it.

/// The rows that are not among `past`.
fn without<K: Clone + PartialEq + Debug>(
    mut rows: Vec<Ready<K>>,
    past: &KeySet<K>,
) -> VecDeque<Ready<K>> {
    if !past.is_empty() {
        rows.retain(|row| !past.contains(&row.key));
    }
    rows.into()
}

/// The keys of the rows.
pub(super) fn keys_of<'a, K: Clone + 'a>(rows: impl IntoIterator<Item = &'a Ready<K>>) -> Vec<K> {
    rows.into_iter().map(|row| row.key.clone()).collect()
}

/// The latest of their times.
fn latest<K>(rows: &[Ready<K>]) -> Option<DateTime<Utc>> {
    rows.iter().filter_map(|row| row.update_at).max()
}

/// Leaves the rows that were passed over out of the search.
fn leave_out<K: Clone + PartialEq + Debug>(search: &mut Search<K>, passed_over: &[(K, Obstacle)]) {
    search
        .past
        .extend(passed_over.iter().map(|(key, _)| key.clone()));
}

/// The places of `these` keys in the list. Mostly they come in its order; only where they
/// do not, each is looked up.
fn places_of<'a, K: Clone + PartialEq + Debug + 'a>(
    these: impl Iterator<Item = &'a K>,
    keys: &[K],
) -> Vec<i64> {
    let mut all = None;
    let mut next = 0;
    let mut places = Vec::new();
    for key in these {
        let place = match keys.get(next) {
            Some(expected) if expected == key => Some(next),
            _ => all
                .get_or_insert_with(|| places_by_key(keys))
                .get(key)
                .copied(),
        };
        next = place.map_or(next, |place| place + 1);
        let place = place.and_then(|place| i64::try_from(place).ok());
        places.push(place.unwrap_or(i64::MAX));
    }
    places
}

fn places_by_key<K: Clone + PartialEq + Debug>(keys: &[K]) -> KeyMap<K, usize> {
    let mut places = KeyMap::default();
    for (place, key) in keys.iter().enumerate() {
        places.insert(key.clone(), place);
    }
    places
}

/// Claims the first ready row, by its key.
fn claim_one<C: TrackerConnection, J: JobStore<C>>(
    conn: &mut C,
    token: &str,
    step: &Step<J::Status>,
    search: &Search<J::Key>,
) -> QueryResult<Batch<J>> {
    let is_only_writer = conn.depth()? > 0 && J::dialect(conn).several == Several::OneWriter;
    let mut reach = 1 + if is_only_writer { 0 } else { spare(1) };
    loop {
        let (rows, are_all) = candidates::<C, J>(conn, reach, step, search)?;
        let none_is_ready = rows.is_empty();
        let batch = claim_first::<C, J>(conn, rows, token, step, search.filter.as_ref())?;
        // A search from the front finds out why it got none.
        let is_enough = !batch.claimed.is_empty() || !batch.passed_over.is_empty();
        if is_enough || are_all || search.since.is_none() || reach > MOST_TRIED {
            return Ok(Batch {
                none_is_ready,
                ..batch
            });
        }
        // Other workers are claiming all of these.
        reach *= 2;
    }
}

/// Claims the first `limit` ready rows by one statement after they are found, both in one
/// transaction, the caller's if one is open.
fn claim_found<C: TrackerConnection, J: JobStore<C>>(
    conn: &mut C,
    limit: usize,
    token: &str,
    step: &Step<J::Status>,
    search: &Search<J::Key>,
) -> QueryResult<Batch<J>> {
    let is_open = conn.depth()? > 0;
    together(conn, if is_open { 1 } else { 2 }, |conn| {
        let (mut rows, _) = candidates::<C, J>(conn, limit, step, search)?;
        rows.truncate(limit);
        if rows.is_empty() {
            return Ok(Batch {
                none_is_ready: true,
                ..Batch::default()
            });
        }
        let keys = keys_of(&rows);
        let mut claimed = Vec::with_capacity(keys.len());
        for some in keys.chunks(J::dialect(conn).most_keys(J::info())) {
            match decoded(|| J::claim_found_rows(conn, some, token, step)) {
                Err(Undecodable(_)) => return held_by(conn, token, step),
                other => claimed.extend(other?),
            }
        }
        let places = places_of(claimed.iter().map(|claimed| &claimed.key), &keys);
        sort_by_places(&mut claimed, places);
        Ok(Batch {
            claimed,
            reached: latest(rows.make_contiguous()),
            ..Batch::default()
        })
    })
}

/// Claims the first `limit` ready rows; several of them in one go, those that
/// it gets without waiting. Read without locks, then claimed by key, past those
/// that others write to: locks on ranges of rows deadlock, and so does who
/// waits while holding some.
fn claim_by_keys<C: TrackerConnection, J: JobStore<C>>(
    conn: &mut C,
    limit: usize,
    token: &str,
    step: &Step<J::Status>,
    search: &Search<J::Key>,
) -> QueryResult<Batch<J>> {
    let mut reach = limit + spare(limit);
    loop {
        let (mut candidates, are_all) = candidates::<C, J>(conn, reach, step, search)?;
        let mut batch = Batch {
            none_is_ready: candidates.is_empty(),
            ..Batch::default()
        };
        while batch.claimed.len() < limit && !candidates.is_empty() {
            let wanted = (limit - batch.claimed.len()).min(candidates.len());
            let rows: Vec<_> = candidates.drain(..wanted).collect();
            let keys = keys_of(&rows);
            let mut got = match claim_free::<C, J>(conn, &keys, token, step, search.filter.as_ref())
            {
                Err(Undecodable(_)) => return held_by(conn, token, step),
                other => other?,
            };
            let places = places_of(got.iter().map(|claimed| &claimed.key), &keys);
            sort_by_places(&mut got, places);
            if !got.is_empty() {
                batch.reached = latest(&rows);
            }
            batch.claimed.extend(got);
        }
        if are_all || !batch.claimed.is_empty() {
            return Ok(batch);
        }
        // Other workers are claiming all of these.
        reach *= 2;
    }
}

/// Claims those of the rows that are ready and that nobody else holds.
fn claim_free<C: TrackerConnection, J: JobStore<C>>(
    conn: &mut C,
    keys: &[J::Key],
    token: &str,
    step: &Step<J::Status>,
    filter: Option<&Filter>,
) -> QueryResult<Vec<Claimed<J>>> {
    let keys =
        conn.write_transaction(|conn| J::claim_free_rows(conn, keys, token, step, filter))?;
    if keys.is_empty() {
        return Ok(Vec::new());
    }
    J::claimed_rows(conn, &keys, token)
}

/// Claims the first of `candidates` that is still ready. If another claimer was faster
/// at the first one, it goes on at a random place, so that two claimers of one list do
/// not meet at each row.
fn claim_first<C: TrackerConnection, J: JobStore<C>>(
    conn: &mut C,
    mut candidates: VecDeque<Ready<J::Key>>,
    token: &str,
    step: &Step<J::Status>,
    filter: Option<&Filter>,
) -> QueryResult<Batch<J>> {
    let mut batch = Batch::default();
    let mut lost = false;
    while let Some(Ready { key, update_at }) = candidates.pop_front() {
        match claim_or_release::<C, J>(conn, &key, token, step, filter, LockWait::Never) {
            Ok(Some(claimed)) => {
                batch.claimed.push(claimed);
                // From a random place on, those in front of it were not tried.
                if !lost {
                    batch.reached = batch.reached.max(update_at);
                }
                break;
            }
            Ok(None) if !lost && !candidates.is_empty() => {
                lost = true;
                batch.reached = batch.reached.max(update_at);
                candidates.rotate_left(any_number_of(token) % candidates.len());
            }
            Ok(None) => {}
            Err(error @ Undecodable(_)) => {
                batch.passed_over.push((key, Obstacle::Unreadable(error)));
            }
            Err(error) if retry::is_held(conn, &error) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(batch)
}

/// The rows that `token` holds. Those that cannot be read are released.
pub(super) fn held_by<C, J: JobStore<C>>(
    conn: &mut C,
    token: &str,
    step: &Step<J::Status>,
) -> QueryResult<Batch<J>> {
    let mut batch = Batch::default();
    for key in J::claimed_keys(conn, token, step)? {
        match decoded(|| J::claimed_row(conn, &key, token)) {
            Ok(claimed) => batch.claimed.extend(claimed),
            Err(error @ Undecodable(_)) => {
                release_unread::<C, J>(conn, &key, token, step)?;
                batch.passed_over.push((key, Obstacle::Unreadable(error)));
            }
            Err(error) => return Err(error),
        }
    }
    Ok(batch)
}

/// A random number, made of the random digits of the token.
fn any_number_of(token: &str) -> usize {
    token.bytes().fold(0, |sum: usize, byte| {
        sum.wrapping_mul(31).wrapping_add(byte.into())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_key_has_its_place_in_the_list() {
        let keys = ["d", "a", "c", "b"];
        assert_eq!(places_of(keys.iter(), &keys), [0, 1, 2, 3]);
        assert_eq!(places_of(["a", "b", "c", "d"].iter(), &keys), [1, 3, 2, 0]);
        assert_eq!(places_of(["d", "c", "b"].iter(), &keys), [0, 2, 3]);
        // The database may give a key back in another way than it was given.
        assert_eq!(places_of(["A", "d"].iter(), &keys), [i64::MAX, 0]);
    }
}
