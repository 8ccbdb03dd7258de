//! The blocking calls, with and without a runtime.

use dynamodb_status_tracker::Calls;
use dynamodb_status_tracker::blocking::BlockingCalls;

use super::database::table;
use super::jobs::{Job, version};

#[test]
fn blocking_calls_work_inside_and_outside_of_any_runtime() {
    let table = table();
    let run_once = |id: &str| {
        <Job as BlockingCalls>::create_and_save(&table, id, version(0)).unwrap();
        <Job as BlockingCalls>::run_job(&table, id, |job, _| Ok(job.renew()?)).unwrap();
    };
    run_once("outside");
    let single = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    single.block_on(async { run_once("in a runtime of one thread") });
    super::database::run(async { run_once("in a runtime of threads") });
    assert_eq!(
        <Job as BlockingCalls>::count_by_status(&table).unwrap(),
        [(40, 3)]
    );
}

#[test]
fn async_calls_are_futures_that_a_runtime_may_move_between_threads() {
    let table = table();
    super::database::run(async {
        let job = tokio::spawn(async move {
            <Job as Calls>::create_and_save(&table, "a", version(0)).await?;
            <Job as Calls>::run_job(&table, "a", async |job, updates| {
                job.renew().await?;
                updates.version = Some(2);
                Ok(())
            })
            .await?;
            let next = <Job as Calls>::run_next(&table, async |_, _| Ok(())).await?;
            assert_eq!(next, None);
            let worker = <Job as Calls>::worker(&table).threads(2);
            worker.run_until_empty(async |_, _| Ok(())).await?;
            <Job as Calls>::find(&table, "a").await
        });
        let job = job.await.unwrap().unwrap().unwrap();
        assert_eq!((job.status, job.version), (40, Some(2)));
    });
}
