//! What must hold when all is over.

use std::collections::HashMap;

use serde_json::Value;

const SUCCEEDED: i32 = 40;
const IGNORED: i32 = 50;

/// A row of the jobs.
#[derive(Debug, Clone)]
pub struct JobRow {
    pub id: String,
    pub status: i32,
    pub lock: Option<String>,
    pub errors: Value,
}

/// All that the database holds.
#[derive(Debug, Clone, Default)]
pub struct Snapshot {
    pub jobs: Vec<JobRow>,
    /// The job of each entry.
    pub ledger: Vec<String>,
}

/// What the processes' files tell.
#[derive(Debug, Clone, Default)]
pub struct Runs {
    pub begun: HashMap<String, usize>,
    /// When each run was over, in milliseconds, in order.
    pub ends: Vec<u64>,
}

/// The figures of one scenario.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Figures {
    pub jobs: usize,
    pub succeeded: usize,
    pub ignored: usize,
    /// Neither, or without a ledger entry.
    pub lost: usize,
    /// With more than one.
    pub doubled: usize,
    /// Runs beyond one for each job that succeeded.
    pub again: usize,
}

/// The figures, and each violation in words. `explained`: runs beyond the first
/// that the faults account for.
pub fn check(
    expected: usize,
    snapshot: &Snapshot,
    runs: &Runs,
    explained: usize,
) -> (Figures, Vec<String>) {
    let mut figures = Figures {
        jobs: snapshot.jobs.len(),
        ..Figures::default()
    };
    let mut violations = Vec::new();
    if figures.jobs != expected {
        violations.push(format!("{} jobs of {expected}", figures.jobs));
    }
    let mut entries: HashMap<&str, usize> = HashMap::new();
    for job in &snapshot.ledger {
        *entries.entry(job).or_default() += 1;
    }
    for job in &snapshot.jobs {
        let id = &job.id;
        let entries = entries.remove(id.as_str()).unwrap_or(0);
        if let Some(lock) = &job.lock {
            violations.push(format!("job {id} is locked by {lock}"));
        }
        if entries > 1 {
            figures.doubled += 1;
            violations.push(format!("job {id} has {entries} ledger entries"));
        }
        match job.status {
            SUCCEEDED => {
                figures.succeeded += 1;
                if entries == 0 {
                    figures.lost += 1;
                    violations.push(format!("job {id} has succeeded without a ledger entry"));
                }
                let begun = runs.begun.get(id).copied().unwrap_or(0);
                figures.again += begun.saturating_sub(1);
                if begun == 0 {
                    violations.push(format!("job {id} has succeeded and was never begun"));
                }
            }
            IGNORED => {
                figures.ignored += 1;
                if entries > 0 {
                    violations.push(format!("job {id} is ignored and has a ledger entry"));
                }
                if job
                    .errors
                    .as_object()
                    .is_none_or(|errors| errors.is_empty())
                {
                    violations.push(format!("job {id} is ignored without a reason"));
                }
            }
            status => {
                figures.lost += 1;
                violations.push(format!("job {id} is left in status {status}"));
            }
        }
    }
    for job in entries.keys() {
        violations.push(format!("the ledger has the job {job}, which is none"));
    }
    if figures.again > explained {
        let again = figures.again;
        violations.push(format!(
            "{again} runs again, where the faults explain {explained}"
        ));
    }
    (figures, violations)
}

/// Plants each kind of violation into what was found, and has it found.
pub fn assert_finds_what_is_planted(expected: usize, snapshot: &Snapshot, runs: &Runs) {
    type Plant = fn(&mut Snapshot, &mut Runs);
    let plants: [(&str, Plant); 8] = [
        ("jobs of", |s, _| drop(s.jobs.pop())),
        ("is left in status", |s, _| s.jobs[0].status = 20),
        ("is locked by", |s, _| s.jobs[0].lock = Some("me".into())),
        ("2 ledger entries", |s, _| {
            let first = s.ledger[0].clone();
            s.ledger.push(first);
        }),
        ("without a ledger entry", |s, _| drop(s.ledger.pop())),
        ("which is none", |s, _| s.ledger.push("other".into())),
        ("without a reason", |s, _| {
            let job = s.jobs.iter_mut().find(|job| job.status == IGNORED);
            job.expect("a hopeless job").errors = Value::Object(Default::default());
        }),
        ("runs again", |_, runs| {
            let (_, begun) = runs.begun.iter_mut().next().expect("a run");
            *begun += 1_000_000;
        }),
    ];
    let (_, violations) = check(expected, snapshot, runs, usize::MAX);
    assert_eq!(violations, [""; 0]);
    for (words, plant) in plants {
        let (mut snapshot, mut runs) = (snapshot.clone(), runs.clone());
        // What is planted must be in a job that is counted.
        runs.begun.retain(|id, _| snapshot.ledger.contains(id));
        plant(&mut snapshot, &mut runs);
        let (_, violations) = check(expected, &snapshot, &runs, 100_000);
        assert!(
            violations.iter().any(|found| found.contains(words)),
            "planted, and not found: {words}"
        );
    }
}
