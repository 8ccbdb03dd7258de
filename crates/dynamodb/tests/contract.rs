//! The contract of every call, on servers that speak DynamoDB's protocol: one file a
//! family in `contract/`, listed in `families.rs`.
//!
//! ```sh
//! scripts/with-dynamodb cargo test -p dynamodb_status_tracker --test contract
//! ```
//!
//! The promises, and for each the test that holds it:
//!
//! | What is promised | family | test |
//! |---|---|---|
//! | One worker gets a job, and none gets it after it succeeded | `concurrency` | `one_of_32_concurrent_starts_runs_the_job_and_none_after_it` |
//! | A late attempt writes nothing | `guard` | `a_late_attempt_writes_nothing` |
//! | Nor does an expired one that nobody has overtaken | `guard` | `an_expired_attempt_writes_nothing_although_nobody_has_taken_the_job` |
//! | A dead worker's lock expires, as one failed attempt | `expire` | `a_dead_attempt_counts_as_one_failure_and_the_job_runs_again` |
//! | A job that kills its worker every time is ignored in the end | `expire` | `a_job_that_kills_its_worker_every_time_ends_ignored` |
//! | Clocks that differ by hours change nothing of that | `expire` | `workers_whose_clocks_differ_by_hours_do_not_expire_a_live_attempt_and_do_expire_a_dead_one` |
//! | Who renews is not expired | `expire` | `an_attempt_that_renews_is_not_expired_however_long_it_is_watched` |
//! | Updates are written with success only | `run` | `a_failed_job_does_not_write_its_updates` |
//! | A checkpoint stays all the same | `guard` | `a_checkpoint_stays_when_the_attempt_fails` |
//! | A panic is recorded, and goes on | `run` | `a_panic_is_recorded_and_goes_on` |
//! | A refusal says which job and why | `run` | `a_start_that_is_refused_says_why_and_changes_nothing` |
//! | What `redact` removes is written nowhere | `run` | `what_redact_removes_is_written_nowhere` |
//! | `Retry` is honoured, and backoff | `retry` | `a_released_job_is_as_if_it_had_not_been_claimed` |
//! | A fault that passes is no failed job | `faults` | `a_fault_that_passes_costs_no_attempt_wherever_it_comes` |
//! | Throttling is told from an error | `faults` | `throttling_that_lasts_is_told_from_an_error_and_the_job_is_as_it_was` |
//! | What cannot be known is told as unknown, whoever sent twice | `faults` | `an_outcome_that_the_sdk_itself_has_sent_twice_is_unknown_too` |
//! | A success whose answer was lost is one, whatever the next try says | `faults` | `a_success_whose_answer_was_lost_is_one_although_the_next_try_is_refused_for_good` |
//! | Other writes commit with success, or not at all | `transaction` | `the_writes_commit_with_the_updates_and_the_success_mark` |
//! | Each job is booked once, though workers are killed | `processes` | `a_thousand_jobs_whose_workers_are_killed_are_booked_once_each` |
//! | Batches share no job | `next` | `concurrent_batches_share_no_job` |
//! | A claim costs no index write, and success leaves the index | `next` | `a_claim_does_not_change_the_index_and_success_leaves_it` |
//! | An item that cannot be read does not block the others | `next` | `an_item_that_cannot_be_read_does_not_block_the_others` |
//! | Steps on one item run in their order | `pipeline` | `steps_run_in_their_order_and_no_other` |
//! | A worker shuts down without losing what runs | `worker` | `a_shutdown_finishes_running_jobs_and_releases_claimed_ones` |
//! | Blocking calls work in any thread | `blocking` | `blocking_calls_work_inside_and_outside_of_any_runtime` |
//!
//! What only the real service could show, and was not shown: an index that lags behind
//! its table; reads that are old (the model has them); partitions that are split or
//! throttled one by one; conflicts between transactions that run at the same time, since
//! moto takes one request at a time; the refusal of requests whose signature is old; the
//! write units of an index as the service itself counts them.
#![allow(
    clippy::duplicate_mod,
    reason = "each family is compiled once for each server"
)]

#[path = "contract/dynalite.rs"]
mod dynalite;
#[path = "contract/moto.rs"]
mod moto;
