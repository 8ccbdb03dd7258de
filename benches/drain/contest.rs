//! The turns of the worker and of the program by hand.

use std::time::Instant;

use diesel::connection::SimpleConnection;

use super::options::Options;
use super::{by_hand, table};
use crate::{THREADS, processor_time};

/// The contest on one database.
macro_rules! contest {
    ($module:ident) => {
        pub fn $module(options: &Options) {
            let name = stringify!($module);
            if options.database.as_deref().is_some_and(|only| only != name) {
                return;
            }
            // As many as the worker may use at a time.
            let Some((pool, _folder)) = table::$module::open(THREADS + 3) else {
                return;
            };
            for batch in &options.batches {
                let mut rates = [const { Vec::new() }; 2];
                let mut costs = [const { Vec::new() }; 2];
                for round in 0..options.rounds {
                    for turn in 0..2 {
                        let way = (round + turn) % 2;
                        table::$module::clear(&pool);
                        table::$module::fill(&pool, options.finished, options.jobs, "job");
                        let mut looking =
                            options.snapshot.then(|| pool.get().expect("a connection"));
                        if let Some(conn) = &mut looking {
                            conn.batch_execute(table::$module::SNAPSHOT)
                                .expect("a snapshot");
                        }
                        let (begun, used) = (Instant::now(), processor_time());
                        match way {
                            0 => table::$module::worker(&pool, THREADS, *batch, options.updates),
                            _ => by_hand::$module(&pool, *batch, options.updates),
                        }
                        let rate = options.jobs as f64 / begun.elapsed().as_secs_f64();
                        if let (Some(before), Some(after)) = (used, processor_time()) {
                            costs[way].push((after - before) * 1e6 / options.jobs as f64);
                        }
                        if let Some(conn) = &mut looking {
                            conn.batch_execute("COMMIT").expect("its end");
                        }
                        let who = ["worker", "program by hand"][way];
                        assert_eq!(
                            table::$module::done(&pool),
                            options.jobs + options.finished,
                            "done, by the {who}"
                        );
                        rates[way].push(rate);
                    }
                }
                let [worker, by_hand] = rates.map(median);
                let ratio = worker / by_hand;
                let costs = match costs.iter().all(|costs| !costs.is_empty()) {
                    true => costs
                        .map(|costs| format!("{:.1}", median(costs)))
                        .join(" / "),
                    false => "unknown".to_owned(),
                };
                println!(
                    "{name:<12} {batch:>6} {worker:>10.0} {by_hand:>10.0} {ratio:>16.2} {costs:>20}"
                );
            }
        }
    };
}

fn median(mut rates: Vec<f64>) -> f64 {
    rates.sort_by(f64::total_cmp);
    rates[rates.len() / 2]
}

#[cfg(feature = "sqlite")]
contest!(sqlite);
#[cfg(feature = "postgres")]
contest!(postgres);
#[cfg(feature = "mysql")]
contest!(mysql);
