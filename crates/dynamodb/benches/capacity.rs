//! What a job consumes, in read and write units:
//!
//! ```sh
//! scripts/with-dynamodb cargo bench -p dynamodb_status_tracker --bench capacity
//! ```
//!
//! The units of the table are those that the server reports. dynalite reports none
//! for writes to an index, so these are counted by DynamoDB's rule, from the entries of
//! the index before and after: an entry that comes, goes or changes in place is one
//! write, and one whose key changes is two. It fails where a goal is missed.

use std::collections::HashMap;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::config::{BehaviorVersion, Credentials, Region};
use aws_sdk_dynamodb::types::{
    AttributeDefinition, AttributeValue, BillingMode, GlobalSecondaryIndex, KeySchemaElement,
    KeyType, Projection, ProjectionType, ScalarAttributeType, TableStatus,
};
use dynamodb_status_tracker::blocking::BlockingCalls;
use dynamodb_status_tracker::{Capacity, KeyAttributes, StatusTracked, Table, Tracked};
use tokio::runtime::Runtime;

const INDEX: &str = "open_jobs";

#[derive(serde::Deserialize)]
struct Job {}

#[derive(Default, serde::Serialize)]
struct Updates {
    result: Option<String>,
}

impl Tracked for Job {
    type Key = String;
    type Status = i32;
    type Updates = Updates;
    const KEY: KeyAttributes = KeyAttributes::partition("id");
}

impl StatusTracked for Job {
    type Job = Job;
    const PENDING: i32 = 10;
    const IN_PROGRESS: i32 = 20;
    const FAILED: i32 = 30;
    const SUCCEEDED: i32 = 40;
    const IGNORED: i32 = 50;
}

type Item = HashMap<String, AttributeValue>;

struct Bench {
    runtime: Runtime,
    client: Client,
}

impl Bench {
    /// A new table.
    fn table(&self, name: &str) -> String {
        let name = format!("{name}_{}", uuid::Uuid::new_v4());
        let text = |name: &str| {
            AttributeDefinition::builder()
                .attribute_name(name)
                .attribute_type(ScalarAttributeType::S)
                .build()
                .unwrap()
        };
        let key = |name: &str, kind| {
            KeySchemaElement::builder()
                .attribute_name(name)
                .key_type(kind)
                .build()
                .unwrap()
        };
        let index = GlobalSecondaryIndex::builder()
            .index_name(INDEX)
            .key_schema(key("queue", KeyType::Hash))
            .key_schema(key("due", KeyType::Range))
            .projection(
                Projection::builder()
                    .projection_type(ProjectionType::KeysOnly)
                    .build(),
            )
            .build()
            .unwrap();
        let create = self
            .client
            .create_table()
            .table_name(&name)
            .key_schema(key("id", KeyType::Hash))
            .attribute_definitions(text("id"))
            .attribute_definitions(text("queue"))
            .attribute_definitions(text("due"))
            .global_secondary_indexes(index)
            .billing_mode(BillingMode::PayPerRequest);
        self.runtime.block_on(async {
            create.send().await.unwrap();
            loop {
                let told = self
                    .client
                    .describe_table()
                    .table_name(&name)
                    .send()
                    .await
                    .unwrap();
                if told.table().unwrap().table_status() == Some(&TableStatus::Active) {
                    break;
                }
            }
        });
        name
    }

    /// The index as it is: the place of each job.
    fn index(&self, table: &Table) -> HashMap<String, Item> {
        let (mut entries, mut from) = (HashMap::new(), None);
        loop {
            let scan = self
                .client
                .scan()
                .table_name(table.name())
                .index_name(INDEX);
            let page = self
                .runtime
                .block_on(scan.set_exclusive_start_key(from).send())
                .unwrap();
            for item in page.items.unwrap_or_default() {
                entries.insert(format!("{:?}", item["id"]), item);
            }
            match page.last_evaluated_key {
                Some(key) => from = Some(key),
                None => return entries,
            }
        }
    }

    /// Does something with `jobs` jobs, and prints what one of them has consumed.
    fn measure(&self, what: &str, table: &Table, jobs: u32, work: impl FnOnce()) -> Capacity {
        let (before, index_before) = (table.capacity(), self.index(table));
        work();
        let (after, index_after) = (table.capacity(), self.index(table));
        let mut of_index = 0;
        for (id, entry) in &index_after {
            of_index += match index_before.get(id) {
                None => 1,
                Some(old) if old == entry => 0,
                Some(_) => 2,
            };
        }
        of_index += index_before
            .keys()
            .filter(|id| !index_after.contains_key(*id))
            .count();
        let jobs = f64::from(jobs);
        let mut one = after;
        one.reads = (after.reads - before.reads) / jobs;
        let of_table = (after.writes - before.writes) / jobs;
        let of_index = of_index as f64 / jobs;
        one.writes = of_table + of_index;
        let refused = after.refused - before.refused;
        println!(
            "{what:<50} {of_table:>6.3} + {of_index:.3} = {:>6.3} writes, {:>6.3} reads, {refused:>4} refused",
            one.writes, one.reads
        );
        one
    }
}

impl Bench {
    /// Drains a new table, and prints what a job has consumed.
    fn drain(
        &self,
        what: &str,
        workers: usize,
        batch: usize,
        shards: u32,
        jobs: u32,
        work: impl FnOnce(&[Table], usize),
    ) -> Capacity {
        let name = self.table("drained");
        // All workers of a process share what one table knows. Each has a table of its own
        // here, as in a process of its own.
        let open = || {
            Table::builder(self.client.clone(), &*name)
                .index(INDEX)
                .shards(shards)
                .count_capacity()
                .build()
        };
        let table = open();
        Job::create_many(
            &table,
            (0..jobs).map(|n| (n.to_string(), Updates::default())),
        )
        .unwrap();
        let tables: Vec<_> = (0..workers).map(|_| open()).collect();
        work(&tables, batch);
        let left = self.index(&table).len();
        assert_eq!(left, 0, "each entry has left the index: one write each");
        let mut one = Capacity::default();
        let of = f64::from(jobs);
        for sum in tables.iter().map(Table::capacity) {
            one.reads += sum.reads / of;
            one.writes += sum.writes / of;
            one.refused += sum.refused;
        }
        let what = format!("drained by {what}, batch {batch}, {shards} shards");
        println!(
            "{what:<50} {:>6.3} + 1.000 = {:>6.3} writes, {:>6.3} reads, {:>4} refused",
            one.writes,
            one.writes + 1.0,
            one.reads,
            one.refused
        );
        one.writes += 1.0;
        one
    }
}

fn main() {
    let url = std::env::var("DYNALITE_URL").expect("run it through scripts/with-dynamodb");
    let config = aws_sdk_dynamodb::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .http_client(aws_smithy_http_client::Builder::new().build_http())
        .credentials_provider(Credentials::new("test", "test", None, None, "bench"))
        .region(Region::new("eu-west-1"))
        .endpoint_url(url)
        .build();
    let bench = Bench {
        runtime: tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap(),
        client: Client::from_conf(config),
    };
    println!("a job, in units of the table + of the index");

    let name = bench.table("by_key");
    let table = Table::builder(bench.client.clone(), name)
        .count_capacity()
        .build();
    let ids = || (0..100).map(|n: u32| n.to_string());
    let by_key = || {
        for id in ids() {
            Job::run_job(&table, id, |_, _| Ok(())).unwrap();
        }
    };
    let rows = || ids().map(|id| (id, Updates::default()));
    bench.measure("created, in a table without index", &table, 100, || {
        Job::create_many(&table, rows()).unwrap();
    });
    let run = bench.measure("run by key, in a table without index", &table, 100, by_key);
    assert!(
        run.writes <= 2.0 && run.reads <= 1.0,
        "the goal by key is 2 writes and 1 read"
    );

    let name = bench.table("indexed");
    let table = Table::builder(bench.client.clone(), name)
        .index(INDEX)
        .count_capacity()
        .build();
    bench.measure("created", &table, 100, || {
        Job::create_many(&table, rows()).unwrap();
    });
    bench.measure("run by key", &table, 100, || {
        for id in ids() {
            Job::run_job(&table, id, |_, _| Ok(())).unwrap();
        }
    });
    bench.measure("reset", &table, 100, || {
        Job::reset_many(&table, ids()).unwrap();
    });
    bench.measure("failed by key", &table, 100, || {
        for id in ids() {
            Job::start(&table, id).unwrap().fail("no").unwrap();
        }
    });
    bench.measure("renewed", &table, 100, || {
        let job = Job::start(&table, "0").unwrap();
        (0..100).for_each(|_| job.renew().unwrap());
        job.succeed().unwrap();
    });

    for (batch, goal) in [(10, 0.2), (100, 0.1)] {
        let drained = bench.drain("one worker", 1, batch, 1, 1_000, at_once);
        assert!(drained.writes <= 3.0 && drained.reads <= goal);
    }
    // No two workers send a claim at the same time, so none is refused.
    let drained = bench.drain("4 workers in turn", 4, 25, 8, 1_000, in_turn);
    assert!(drained.writes <= 3.0 && drained.reads <= 0.2);
    // Here they meet, mostly when little is left. How often depends on the machine: some
    // four to eleven times in 2,000 jobs, 27 times on a busy machine.
    let drained = bench.drain("4 workers at once", 4, 25, 8, 2_000, at_once);
    assert!(drained.writes <= 3.03 && drained.reads <= 0.2);
}

/// Each worker by itself.
fn at_once(tables: &[Table], batch: usize) {
    std::thread::scope(|scope| {
        for table in tables {
            scope.spawn(|| {
                Job::worker(table)
                    .threads(4)
                    .batch(batch)
                    .run_blocking_until_empty(|_, _| Ok(()))
                    .unwrap()
            });
        }
    });
}

/// Each worker claims a batch in its turn, and ends it when all have claimed one.
fn in_turn(tables: &[Table], batch: usize) {
    loop {
        let claim = |table| Job::claim_next(table, batch).unwrap();
        let jobs: Vec<_> = tables.iter().flat_map(claim).collect();
        if jobs.is_empty() {
            return;
        }
        for job in jobs {
            job.succeed().unwrap();
        }
    }
}
