//! The contract of every call, the database as parameter: one file a family in
//! `contract/`, run once for each database whose feature is on.
//!
//! A family does not know its database: it names `super::database` alone, which
//! opens a fresh database for each test. What only one database can do, or get
//! wrong, is in `contract/columns/` and `contract/backend/`. PostgreSQL and
//! MySQL are those that POSTGRES_URL and MYSQL_URL name:
//! `scripts/with-servers cargo test --all-features`.
//!
//! The promises, and for each the test that holds it; its family has the special
//! cases. Compile errors are in `tests/ui.rs`, the log in `tests/events.rs`, all runs
//! of the protocol in `tests/model`, and faults at random in `crates/chaos`.
//!
//! | What is promised | family | test |
//! |---|---|---|
//! | One worker gets a job, and none gets it after it succeeded | `concurrency` | `one_of_many_concurrent_starts_runs_the_job_and_none_after_it` |
//! | The same for processes that work off one table | `concurrency` | `processes_that_drain_a_table_run_each_job_once` |
//! | The same for a worker's threads and batches | `worker` | `each_job_runs_once_whatever_the_threads_and_the_batches` |
//! | The same wherever the line to the server breaks | `cuts` | `wherever_the_line_breaks_a_job_runs_once_and_has_succeeded` |
//! | A late attempt writes nothing | `guard` | `a_late_attempt_writes_nothing` |
//! | A process that was stopped and overtaken changes nothing | `crash` | `a_worker_that_was_stopped_and_expired_changes_nothing` |
//! | A success or failure that comes too late is `LockLost` | `run` | `a_success_or_failure_that_comes_too_late_is_lock_lost` |
//! | A killed worker's lock expires, as one failed attempt | `crash` | `a_killed_worker_leaves_a_lock_whose_expiry_is_one_failed_attempt` |
//! | A job that kills its worker every time is ignored in the end | `crash` | `a_job_that_kills_its_worker_every_time_ends_ignored` |
//! | A job that runs for long keeps its lock | `worker_locks` | `jobs_that_run_or_wait_for_longer_than_a_lock_lasts_keep_their_locks` |
//! | An attempt that is alive is not expired | `expire` | `live_attempts_are_not_expired` |
//! | Every time is the database's, in UTC | `clocks` | `every_time_is_the_databases_and_none_the_workers` |
//! | A lock expires by the database's clock | `clocks` | `a_lock_expires_by_the_databases_clock` |
//! | No connection is held while user code runs | `guard` | `one_connection_serves_any_number_of_running_jobs` |
//! | Dropping an attempt does not wait for the pool | `guard` | `a_drop_does_not_wait_for_an_exhausted_pool` |
//! | A dropped attempt is a failed one | `guard` | `a_dropped_attempt_is_a_failed_one` |
//! | Updates are written with the success mark | `run` | `success_writes_the_updates_with_the_mark_and_passes_the_value` |
//! | A failure drops them | `run` | `a_failed_job_does_not_write_its_updates` |
//! | A checkpoint stays all the same | `guard` | `a_checkpoint_stays_when_the_attempt_fails` |
//! | Business writes and success mark commit together | `transaction` | `the_work_commits_with_the_updates_and_the_success_mark_and_returns_its_value` |
//! | Or neither does | `transaction` | `an_error_rolls_everything_back_and_is_a_failed_attempt` |
//! | Each job is booked once, though workers are killed | `transaction_killed` | `a_thousand_jobs_whose_workers_are_killed_are_booked_once_each` |
//! | Each job is booked once, wherever the line breaks | `server_transactions` | `wherever_the_line_breaks_all_is_written_once_or_nothing_and_the_caller_knows` |
//! | A transient error is tried again, and is no failed job | `passing` | `the_writes_of_an_attempt_wait_for_another_transaction_without_a_failure` |
//! | Never inside a transaction of the caller's | `passing` | `on_a_connection_of_the_callers_the_first_error_is_the_answer` |
//! | An outcome whose answer is lost is looked up | `faults` | `an_outcome_counts_as_written_after_a_lost_answer_and_a_lost_renewal` |
//! | What cannot be known is told as unknown | `ambiguous` | `an_outcome_that_was_written_and_overwritten_is_unknown` |
//! | While a server is away nothing is lost | `worker_cuts` | `a_worker_waits_for_a_server_that_is_away_for_longer_than_the_tries` |
//! | A server that stays away: the job recovers by expiry | `faults` | `a_server_that_stays_away_is_an_error_and_the_job_recovers_by_expiry` |
//! | A panic is recorded, and goes on | `run` | `a_panic_is_recorded_and_goes_on` |
//! | Code of the user's that panics stops no other job | `panics` | `jobs_that_panic_do_not_stop_the_others` |
//! | A refusal says which job and why | `run` | `a_start_that_is_refused_says_why_and_changes_nothing` |
//! | An error comes back as it was, with its causes | `run` | `the_error_comes_back_as_it_was_and_is_recorded_with_its_causes` |
//! | The last ten failures stay in `errors` | `run` | `the_history_holds_the_last_ten_failures_newest_first` |
//! | What `redact` removes is written nowhere | `redact` | `neither_the_error_nor_its_traceback_nor_the_history_shows_the_secret` |
//! | A wrong setup is one sentence with the way out | `bad_setup` | `no_connection_is_one_sentence_with_a_way_out` |
//! | A wrong value is an error of its own job alone | `bad_input` | `a_status_that_no_code_stands_for_is_an_error_of_its_job_alone` |
//! | A row that nobody can read does not block others | `bad_rows` | `a_worker_runs_the_jobs_that_can_be_run_and_ends` |
//! | Nor does one that cannot be claimed or expired | `neighbours` | `a_ready_row_that_cannot_be_claimed_does_not_block_its_batch` |
//! | Nor does one that another transaction holds | `held_rows` | `the_next_job_is_one_that_nobody_holds` |
//! | The database may make the key | `generated` | `a_new_row_has_the_key_that_the_database_made` |
//! | An insert without a key is not repeated blindly | `ambiguous` | `a_row_without_its_key_is_created_once_or_its_outcome_is_unknown` |
//! | `started_at` is the begin of the last attempt | `columns` | `each_claim_says_when_the_attempt_began_and_nothing_else_does` |
//! | Enqueueing twice is harmless | `create` | `enqueueing_twice_is_harmless` |
//! | Jobs are created in the caller's transaction | `create` | `jobs_commit_together_with_the_business_write` |
//! | The next job is the one that has waited longest | `next` | `the_job_that_has_waited_longest_is_next` |
//! | The table's own order decides, and `run_at` | `next` | `the_tables_own_order_decides_what_is_next` |
//! | A batch is claimed at once; batches share no job | `batch` | `concurrent_batches_share_no_job` |
//! | A claim with a condition takes the jobs that match | `filter` | `only_jobs_that_match_are_claimed` |
//! | A condition means what it means in Diesel's `filter` | `filter` | `a_condition_means_what_it_means_in_diesels_filter` |
//! | A job that stops matching is not started | `filter_changing` | `a_job_that_stops_matching_before_it_is_claimed_is_left_alone` |
//! | A condition that fails costs other workers nothing | `filter_changing` | `a_condition_that_fails_for_a_later_row_costs_the_other_workers_nothing` |
//! | A failed job waits longer each time | `retry` | `however_a_job_fails_it_waits_longer_each_time` |
//! | `Retry::after`, `never` and `release` are honoured | `retry` | `a_released_job_is_as_if_it_had_not_been_claimed` |
//! | `reset` makes a job new, and never a held one | `reset` | `a_held_job_is_not_reset_until_its_lock_expires` |
//! | `prune` deletes old finished rows only | `bulk` | `only_old_finished_rows_that_nobody_holds_are_pruned` |
//! | Steps on one row run in their order | `pipeline` | `steps_run_in_their_order_and_no_other` |
//! | A held row is `Locked` to the other steps | `pipeline` | `a_row_that_another_steps_attempt_holds_is_locked` |
//! | Keys of any type, and of several columns | `keys` | `composite_keys_that_the_database_takes_for_equal_are_one_key` |
//! | Columns of any fitting type and of any name | `columns` | `composite_key_and_own_names_and_text_status` |
//! | A table known by names alone is seen as by its type | `described` | `a_described_table_and_a_typed_one_see_the_same` |
//! | And reset, expired and pruned under the same conditions | `described` | `a_described_table_and_a_typed_one_reset_the_same` |
//! | `ignore` keeps its reason, and spares a live attempt | `described` | `what_a_live_attempt_holds_and_what_is_done_is_not_ignored` |
//! | What was decided of a job as it was seen is not done to one that has changed | `described_seen` | `a_job_that_has_changed_since_it_was_seen_is_left_as_it_is` |
//! | `expire` hits only the attempt that was seen | `described` | `an_attempt_that_has_renewed_its_lock_or_began_since_is_not_expired` |
//! | The database casts keys that are text | `described_keys` | `a_key_that_is_no_value_of_its_column_is_an_error_of_its_own` |
//! | Hostile names and keys do no harm | `described_keys` | `hostile_names_and_keys_do_no_harm` |
//! | Two statements a job, three on MySQL | `statements` | `a_job_takes_a_claim_and_an_outcome` |
//! | All are prepared once | `statements` | `after_the_first_job_every_statement_is_prepared` |
//! | Searches use the indexes, whatever was finished | `own_statements` | `searches_use_the_indexes` |
//! | A worker shuts down without losing what runs | `worker_stop` | `a_shutdown_finishes_running_jobs_and_releases_claimed_ones` |
//! | An observer is told of what each call does | `observers` | `each_call_tells_what_it_has_done` |
//! | It is told once, also where an answer is lost | `observers_of_servers` | `an_outcome_whose_answer_was_lost_is_told_once` |
//! | And of nothing that has not happened | `observers` | `what_did_not_happen_is_not_told` |
//! | An idle worker begins at once with what its process creates | `worker_wakes` | `what_this_process_creates_is_begun_at_once` |
//! | And, if it listens, with what other programs make ready | `worker_listen` | `what_other_programs_make_ready_is_begun_at_once` |
//! | While it cannot listen, it looks by itself | `worker_listen_postgres` | `after_a_lost_connection_the_worker_looks_by_itself_until_it_listens_again` |
//! | Notifications cost nothing where nobody listens | `worker_listen_postgres` | `nobody_is_notified_where_nobody_listens` |
//! | A worker's observer is told of each transition | `worker_told` | `each_transition_is_reported_with_the_key_of_its_job` |
//! | PgBouncer works without prepared statements | `pgbouncer` | `without_prepared_statements_every_call_works` |
//! | Any sequence of calls does what the model says | `random` | `each_call_does_to_the_rows_what_the_model_says` |
//! | Every extreme of time and number works or is refused | `limits` | `a_lock_that_expires_at_once_is_refused` |
#![cfg(feature = "sqlite")]
#![allow(
    clippy::type_complexity,
    clippy::unit_arg,
    reason = "a handler, and a table of handlers, in one line"
)]

#[path = "contract/macros.rs"]
#[macro_use]
mod macros;

// The families, `contract/families.rs`. `only!` keeps those that name the database.

macro_rules! tracked { ($($table:tt)+) => { tracked_over! { [SqliteConnection] $($table)+ } } }
macro_rules! only {
    ([sqlite $($more:ident)*] $($family:item)+) => { $($family)+ };
    ([$other:ident $($more:ident)*] $($family:item)+) => { only! { [$($more)*] $($family)+ } };
    ([] $($family:item)+) => {};
}
#[path = "contract/families.rs"]
mod sqlite;

/// The table of promises above is true as long as its tests exist.
#[test]
fn each_promise_names_a_test() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
    let (mut folders, mut tests) = (vec![root.join("contract")], String::new());
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            match path.is_dir() {
                true => folders.push(path),
                false => tests.push_str(&std::fs::read_to_string(path).unwrap()),
            }
        }
    }
    let table = std::fs::read_to_string(root.join("contract.rs")).unwrap();
    let rows = table.lines().filter(|line| line.starts_with("//! | "));
    let names = rows.skip(1).map(|row| row.split('`').nth_back(1).unwrap());
    for name in names {
        assert!(
            tests.contains(&format!("fn {name}()")),
            "no test is called {name}"
        );
    }
}
