//! Which jobs are meant, as the command line says it.

use clap::Args;
use diesel_status_tracker::TableInfo;

use crate::jobs::filter::Filter;

/// Which jobs.
#[derive(Debug, Args, Default)]
pub(super) struct Chosen {
    /// The step; otherwise all.
    #[arg(long)]
    pub step: Option<String>,
    /// A status: pending, in_progress, failed, succeeded, ignored. May be given several times.
    #[arg(long, value_delimiter = ',')]
    status: Vec<String>,
    /// Not changed for so long: 30s, 15m, 2h, 7d.
    #[arg(long, value_name = "SPAN")]
    older: Option<String>,
    /// Changed within so long.
    #[arg(long, value_name = "SPAN")]
    newer: Option<String>,
    /// The key, once for each of its columns; `a*` is a beginning, and an empty text is any.
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    key: Vec<String>,
    /// A text in the errors. Without --status, succeeded jobs are left out.
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    error: Option<String>,
    /// The fingerprint of a group of `failures`. Without --status, succeeded jobs are left out.
    #[arg(long, value_name = "FINGERPRINT", allow_hyphen_values = true)]
    group: Option<String>,
    /// Those that have a lock. On MySQL and MariaDB, without --status, those in progress.
    #[arg(long)]
    locked: bool,
    /// Those whose lock has expired: their workers are presumed dead. On MySQL and MariaDB, without
    /// --status, those in progress.
    #[arg(long)]
    expired: bool,
    /// Those that are due later.
    #[arg(long)]
    later: bool,
}

impl Chosen {
    /// The filter, in this order of links.
    pub fn filter(&self, info: &TableInfo, order: &str) -> Result<Filter, String> {
        let mut pairs = vec![("order".to_owned(), order.to_owned())];
        let mut push = |name: &str, value: Option<&String>| {
            pairs.extend(value.map(|value| (name.to_owned(), value.clone())));
        };
        if let Some(step) = &self.step {
            let mut steps = info.steps().iter().map(|step| step.name());
            if !steps.any(|name| name == step) {
                let steps: Vec<_> = info.steps().iter().map(|step| step.name()).collect();
                return Err(format!(
                    "there is no step `{step}`, only these: {}",
                    steps.join(", ")
                ));
            }
        }
        push("step", self.step.as_ref());
        self.status
            .iter()
            .for_each(|status| push("status", Some(status)));
        push("older", self.older.as_ref());
        push("newer", self.newer.as_ref());
        self.key.iter().for_each(|part| push("key", Some(part)));
        push("error", self.error.as_ref());
        push("group", self.group.as_ref());
        let yes = "1".to_owned();
        push("locked", self.locked.then_some(&yes));
        push("expired", self.expired.then_some(&yes));
        push("later", self.later.then_some(&yes));
        Filter::read(&pairs).map(|(filter, _)| filter)
    }
}
