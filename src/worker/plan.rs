//! Which outcomes one statement writes.

use std::sync::Arc;

use diesel::QueryResult;

use super::completion::Completion;
use crate::attempt::outcome::{Outcome, WriteResult, earlier_write};
use crate::db::connection::{TrackerConnection, together};
use crate::db::retry::Fault;
use crate::sql::dialect::LockWait;
use crate::sql::results::Successes;
use crate::sql::store::JobStore;
use status_protocol::Step;

/// Successes of one token that set no updates, as many as one statement may write.
pub(super) struct Alike<K> {
    token: Arc<str>,
    members: Vec<usize>,
    keys: Vec<K>,
}

/// How the outcomes of a group are written: those without updates together, the
/// others each by its own statement. A member is the place of an outcome in its
/// group.
pub(super) struct Plan<K> {
    alike: Vec<Alike<K>>,
    single: Vec<usize>,
}

impl<K: Clone> Plan<K> {
    pub fn of<J: JobStore<C, Key = K>, C: TrackerConnection>(
        conn: &mut C,
        group: &[&Completion<J, C>],
    ) -> Self {
        let most_keys = J::dialect(conn).most_keys(J::info());
        let mut plan = Self {
            alike: Vec::new(),
            single: Vec::new(),
        };
        for (n, completion) in group.iter().enumerate() {
            let sets_nothing = match &completion.outcome {
                Outcome::Success(updates) => J::sets_nothing(updates).unwrap_or(false),
                _ => false,
            };
            if !sets_nothing {
                plan.single.push(n);
                continue;
            }
            let lease = &completion.job.attempt.lease;
            let key = lease.key.clone();
            let mut alike = plan.alike.iter_mut();
            match alike.find(|it| it.token == lease.token && it.keys.len() < most_keys) {
                Some(alike) => {
                    alike.members.push(n);
                    alike.keys.push(key);
                }
                None => plan.alike.push(Alike {
                    token: lease.token.clone(),
                    members: vec![n],
                    keys: vec![key],
                }),
            }
        }
        plan
    }

    /// How many statements write them.
    pub fn statements(&self) -> usize {
        self.alike.len() + self.single.len()
    }

    /// Takes successes out that one statement writes, if there are any.
    pub fn take_successes<J: JobStore<C, Key = K>, C: TrackerConnection>(
        &mut self,
        group: &[&Completion<J, C>],
    ) -> Option<Alike<K>> {
        if let Some(alike) = self.alike.pop() {
            return Some(alike);
        }
        let is_success = |n: &usize| matches!(group[*n].outcome, Outcome::Success(_));
        let place = self.single.iter().position(is_success)?;
        let n = self.single.remove(place);
        let lease = &group[n].job.attempt.lease;
        Some(Alike {
            token: lease.token.clone(),
            members: vec![n],
            keys: vec![lease.key.clone()],
        })
    }

    /// Writes the outcomes; in one transaction, where it takes several statements.
    /// Returns of each outcome whether its row still bore the job's token.
    pub fn write_in_transaction<J: JobStore<C, Key = K>, C: TrackerConnection>(
        &self,
        conn: &mut C,
        group: &[&Completion<J, C>],
        step: &Step<J::Status>,
    ) -> QueryResult<Vec<bool>> {
        together(conn, self.statements(), |conn: &mut C| {
            self.write(conn, group, step)
        })
    }

    /// The same, in the transaction that is open.
    pub fn write<J: JobStore<C, Key = K>, C: TrackerConnection>(
        &self,
        conn: &mut C,
        group: &[&Completion<J, C>],
        step: &Step<J::Status>,
    ) -> QueryResult<Vec<bool>> {
        let mut is_written = vec![false; group.len()];
        for alike in &self.alike {
            let count = J::succeed_rows(conn, &alike.keys, &alike.token, step)?;
            alike.note(count, conn, group, step, &mut is_written)?;
        }
        for n in &self.single {
            is_written[*n] = group[*n].write(conn, step, LockWait::Briefly)?;
        }
        Ok(is_written)
    }
}

impl<K: Clone> Alike<K> {
    /// What a statement that writes them is given.
    pub fn successes<'a, J: JobStore<C, Key = K>, C: TrackerConnection>(
        &'a self,
        group: &[&'a Completion<J, C>],
    ) -> Successes<'a, J> {
        let updates = match (&*self.members, group) {
            ([n], group) => match &group[*n].outcome {
                Outcome::Success(updates) => Some(&**updates),
                _ => None,
            },
            _ => None,
        };
        Successes {
            keys: &self.keys,
            token: &self.token,
            updates,
        }
    }

    /// Notes which of them have the success mark, where a statement has written
    /// `count`.
    pub fn note<J: JobStore<C>, C: TrackerConnection>(
        &self,
        count: usize,
        conn: &mut C,
        group: &[&Completion<J, C>],
        step: &Step<J::Status>,
        is_written: &mut [bool],
    ) -> QueryResult<()> {
        for n in &self.members {
            is_written[*n] = count == self.members.len() || {
                let lease = &group[*n].job.attempt.lease;
                match earlier_write::<J, C>(conn, lease, step, step.succeeded) {
                    Ok(written) => written == Some(WriteResult::Written),
                    Err(Fault::RowChanged) => false,
                    Err(Fault::Database(error) | Fault::Final(error) | Fault::Once(error)) => {
                        return Err(error);
                    }
                }
            };
        }
        Ok(())
    }
}
