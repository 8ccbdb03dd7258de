//! The calls, made for real.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Debug;

use chrono::NaiveDateTime;
use diesel::prelude::*;
use diesel_status_tracker::{BoxError, Error, Order, Retry, RunningJob, StatusTracked};
use proptest::test_runner::TestCaseError;

use super::super::database::{TestConnection, TestDb, TestPool};
use super::answer::{count, done, refusal};
use super::call::{Call, Ending, JOBS, Job, WORKERS, Worker};
use super::model::{Answer, Attempt, Model, Row};
use super::row::{long_ago, read};
use super::step::{DELAY, Pack, Parcel, ParcelUpdates, Ship, Step, TABLE, parcels};

type Guard = RunningJob<Parcel, TestConnection>;

pub struct System {
    db: TestDb,
    /// One a worker: none shares a connection with another.
    pools: [TestPool; WORKERS],
    guards: HashMap<(Worker, Job), Guard>,
    /// What a killed worker held: its destructor does not run, in the case.
    forgotten: Vec<Guard>,
    attempts: HashMap<(Job, String), Attempt>,
}

impl System {
    pub fn new() -> Self {
        let db = TestDb::with_table(TABLE);
        Self {
            pools: [(); WORKERS].map(|()| db.pool(1)),
            guards: HashMap::new(),
            forgotten: Vec::new(),
            attempts: HashMap::new(),
            db,
        }
    }

    /// Puts the rows in place with which a case begins.
    pub fn begin(&mut self, model: &Model) -> Result<(), TestCaseError> {
        self.guards.clear();
        self.forgotten.clear();
        self.attempts.clear();
        self.db.sql("DELETE FROM parcels");
        let rows = model.rows.keys().map(|job| (*job, data(model.calls)));
        Pack::create_many(&self.pools[0], rows).unwrap();
        self.compare(model)
    }

    /// Makes the call that `model` has followed, and holds both against each
    /// other.
    pub fn follow(&mut self, call: &Call, model: &Model) -> Result<(), TestCaseError> {
        let answer = match call.step() {
            Step::Pack => self.make::<Pack>(call, model.calls),
            Step::Ship => self.make::<Ship>(call, model.calls),
        };
        agree("the answer", &answer, &model.answer)?;
        self.compare(model)
    }

    fn make<S>(&mut self, call: &Call, n: i32) -> Answer
    where
        S: StatusTracked<Job = Parcel>,
    {
        let anybody = &self.pools[0];
        match *call {
            Call::Create { job, .. } => done(S::create_and_save(anybody, job, data(n))),
            Call::CreateMany { .. } => {
                count(S::create_many(anybody, JOBS.map(|job| (job, data(n)))))
            }
            Call::Start { worker, job, .. } => match S::start(&self.pools[worker - 1], job) {
                Ok(guard) => {
                    self.guards.insert((worker, job), guard);
                    Answer::Done
                }
                Err(error) => refusal(error),
            },
            Call::Run {
                worker,
                job,
                within: false,
                ending,
                ..
            } => {
                let work = |_: &Guard, updates: &mut ParcelUpdates| {
                    *updates = data(n);
                    ending.result()
                };
                done(S::run_job(&self.pools[worker - 1], job, work))
            }
            Call::Run {
                worker,
                job,
                within: true,
                ending,
                ..
            } => {
                let work =
                    |conn: &mut TestConnection, job: &Parcel, updates: &mut ParcelUpdates| {
                        *updates = data(n);
                        let note =
                            diesel::update(parcels::table.find(&job.id)).set(parcels::note.eq(n));
                        note.execute(conn)?;
                        ending.result()
                    };
                done(S::run_job_in_transaction(
                    &self.pools[worker - 1],
                    job,
                    work,
                ))
            }
            Call::RunNext { worker, ending, .. } => {
                let ran = S::run_next(&self.pools[worker - 1], |job, updates| {
                    *updates = data(n);
                    ending.result().map(|()| name(&job.id))
                });
                ran.map_or_else(refusal, |job| Answer::Got(job.into_iter().collect()))
            }
            Call::ClaimNext { worker, n, .. } => match S::claim_next(&self.pools[worker - 1], n) {
                Ok(guards) => {
                    let jobs = guards.iter().map(|guard| name(&guard.id)).collect();
                    let held = guards
                        .into_iter()
                        .map(|guard| ((worker, name(&guard.id)), guard));
                    self.guards.extend(held);
                    Answer::Got(jobs)
                }
                Err(error) => refusal(error),
            },
            Call::End {
                worker,
                job,
                ending,
            } => {
                let mut guard = self.take(worker, job);
                guard.updates = data(n);
                done(match ending.result() {
                    Ok(()) => guard.succeed(),
                    Err(error) => guard.fail(error),
                })
            }
            Call::Drop { worker, job } => {
                drop(self.take(worker, job));
                Answer::Done
            }
            Call::Forget { worker, job } => {
                let guard = self.take(worker, job);
                self.forgotten.push(guard);
                Answer::Done
            }
            Call::Renew { worker, job } => done(self.guards[&(worker, job)].renew()),
            Call::Save { worker, job } => done(self.guards[&(worker, job)].save(data(n))),
            Call::AgeLock { job } => self.set(job, "lock_at", long_ago(0)),
            Call::ComeDue { job } => self.set(job, "run_at", long_ago(0)),
            Call::ExpireLocks { .. } => count(S::expire_locks(anybody)),
            Call::Reset { job, .. } => done(S::reset(anybody, job)),
            Call::ResetMany { .. } => count(S::reset_many(anybody, JOBS)),
            Call::Prune { .. } => count(S::prune(anybody, &[S::SUCCEEDED, S::IGNORED], DELAY)),
            Call::Look { job, .. } => self.look::<S>(job),
        }
    }

    fn look<S: StatusTracked<Job = Parcel>>(&self, job: Job) -> Answer {
        let pool = &self.pools[0];
        let locked = match S::is_locked(pool, job) {
            Ok(locked) => Some(locked),
            Err(Error::NotFound { .. }) => None,
            Err(error) => return refusal(error),
        };
        let rows = self.rows();
        let row = rows.iter().find(|row| row.id == job);
        assert_eq!(S::find(pool, job).unwrap().as_ref(), row);
        let failed = S::query_by_status(pool, S::FAILED, 9, Order::default()).unwrap();
        let mut expected: Vec<_> = rows
            .into_iter()
            .filter(|row| row.status == S::FAILED)
            .collect();
        expected.sort_by_key(|row| row.update_at);
        assert_eq!(failed, expected);
        let mut counts = S::count_by_status(pool).unwrap();
        counts.sort();
        Answer::Seen { locked, counts }
    }

    fn take(&mut self, worker: Worker, job: Job) -> Guard {
        self.guards.remove(&(worker, job)).unwrap()
    }

    fn set(&self, job: Job, column: &str, time: NaiveDateTime) -> Answer {
        let time = time.format("%F %T%.3f");
        self.db.sql(&format!(
            "UPDATE parcels SET {column} = '{time}' WHERE id = '{job}'"
        ));
        Answer::Done
    }

    fn rows(&self) -> Vec<Parcel> {
        let rows = parcels::table
            .order_by(parcels::id)
            .select(Parcel::as_select());
        rows.load(&mut *self.db.conn()).unwrap()
    }

    /// Holds the rows against the model's. Then gives each row that has
    /// changed a time of its own, long ago: so the next change shows, and no
    /// two rows are equally old.
    fn compare(&mut self, model: &Model) -> Result<(), TestCaseError> {
        for held in &model.guards {
            let guard = &self.guards[&(held.worker, held.job)];
            let token = (held.job, guard.token().to_owned());
            let attempt = *self.attempts.entry(token).or_insert(held.attempt);
            agree("the attempt of a fresh token", &attempt, &held.attempt)?;
        }
        let found: BTreeMap<Job, Row> = self
            .rows()
            .into_iter()
            .map(|row| {
                let job = name(&row.id);
                let order = model.rows.get(job).map_or(0, |row| row.order);
                let holder = |token: &str| self.attempts.get(&(job, token.to_owned())).copied();
                (job, read(&row, order, holder))
            })
            .collect();
        for job in JOBS {
            let rows = (found.get(job), model.rows.get(job));
            agree(&format!("the row of {job:?}"), rows.0, rows.1)?;
        }
        for (job, row) in found.into_iter().filter(|(_, row)| row.changed) {
            self.set(job, "update_at", long_ago(row.order));
        }
        Ok(())
    }
}

impl Ending {
    fn result(self) -> Result<(), BoxError> {
        Err(match self {
            Self::Succeed => return Ok(()),
            Self::Fail => "told".into(),
            Self::Never => Retry::never().because("told").into(),
            Self::After => Retry::after(DELAY).because("told").into(),
            Self::Release => Retry::release().because("told").into(),
        })
    }
}

fn agree<T: PartialEq + Debug>(what: &str, found: T, modelled: T) -> Result<(), TestCaseError> {
    if found == modelled {
        return Ok(());
    }
    Err(TestCaseError::fail(format!(
        "{what} is\n    {found:?}\nwhere the model says\n    {modelled:?}"
    )))
}

fn data(n: i32) -> ParcelUpdates {
    ParcelUpdates { data: Some(n) }
}

fn name(id: &str) -> Job {
    JOBS.into_iter().find(|job| *job == id).unwrap()
}
