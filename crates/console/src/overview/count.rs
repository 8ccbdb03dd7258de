//! How many rows there are, without reading a large table.

use std::fmt::{self, Display};
use std::time::Duration;

use serde::Serialize;

use super::{QUERY_LIMIT, grouped};
use crate::error::Result;
use crate::sql::{Part, Session, statements};

/// Rows are counted up to this number.
pub(crate) const CAP: i64 = 10_000;
/// A count, where the planner has an estimate to fall back on.
const COUNT_LIMIT: Duration = match cfg!(test) {
    // As long as any other query, so that what a test counts is exact.
    true => QUERY_LIMIT,
    false => Duration::from_millis(100),
};

/// How many rows there are, as far as that was counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "kind", content = "number")]
pub(crate) enum Count {
    Exactly(i64),
    /// More than the cap, and the database does not say how many.
    MoreThan(i64),
    /// As the planner's statistics have it.
    About(i64),
}

impl Count {
    pub fn number(self) -> i64 {
        match self {
            Self::Exactly(number) | Self::MoreThan(number) | Self::About(number) => number,
        }
    }

    /// The rows of both, no more exact than either.
    pub fn and(self, other: Self) -> Self {
        let number = self.number() + other.number();
        match (self, other) {
            (Self::About(_), _) | (_, Self::About(_)) => Self::About(number),
            (Self::MoreThan(_), _) | (_, Self::MoreThan(_)) => Self::MoreThan(number),
            _ => Self::Exactly(number),
        }
    }
}

impl Display for Count {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let number = grouped(self.number());
        match self {
            Self::Exactly(_) => f.write_str(&number),
            Self::MoreThan(_) => write!(f, "{number}+"),
            Self::About(_) => write!(f, "≈ {number}"),
        }
    }
}

/// The rows with any of these conditions, no two of which hold for one row.
pub(crate) fn sum(session: &mut Session<'_>, conditions: Vec<Part>) -> Result<Count> {
    sum_like(session, conditions, None)
}

/// The same, where an estimate is that of another condition, if one is given.
pub(super) fn sum_like(
    session: &mut Session<'_>,
    conditions: Vec<Part>,
    like: Option<&Part>,
) -> Result<Count> {
    let mut all = Count::Exactly(0);
    for condition in conditions {
        let like = like.unwrap_or(&condition);
        all = all.and(counted(session, &condition, like)?);
    }
    Ok(all)
}

fn counted(session: &mut Session<'_>, condition: &Part, like: &Part) -> Result<Count> {
    let cap = (CAP + 1).to_string();
    let given = [
        ("condition", condition.clone()),
        ("cap", cap.as_str().into()),
    ];
    let limit = if session.can_estimate() {
        COUNT_LIMIT
    } else {
        QUERY_LIMIT
    };
    // What took too long a moment ago would again, and keep the database busy.
    if session.can_estimate() && session.source().is_slow(&condition.name()) {
        return estimate(session, like)?.ok_or_else(|| session.too_slow(&statements::COUNT, limit));
    }
    let number = match session.ask(&statements::COUNT, limit, &given) {
        Ok(rows) => rows
            .first()
            .and_then(|row| row.number(0))
            .unwrap_or_default(),
        Err(error @ crate::Error::TimeLimit { .. }) => {
            session.source().found_slow(&condition.name());
            return estimate(session, like)?.ok_or(error);
        }
        Err(error) => return Err(error),
    };
    if number <= CAP {
        return Ok(Count::Exactly(number));
    }
    Ok(estimate(session, like)?
        // An estimate that is below what was counted is wrong.
        .filter(|estimate| estimate.number() > CAP)
        .unwrap_or(Count::MoreThan(CAP)))
}

fn estimate(session: &mut Session<'_>, condition: &Part) -> Result<Option<Count>> {
    if !session.can_estimate() {
        return Ok(None);
    }
    let given = [("condition", condition.clone())];
    let rows = session.ask(&statements::ESTIMATE, QUERY_LIMIT, &given)?;
    let plan = rows.first().and_then(|row| row.text(0));
    let plan = plan.and_then(|plan| serde_json::from_str(plan).ok());
    Ok(plan.and_then(|plan| expected_rows(&plan)).map(Count::About))
}

/// The rows that a plan expects: PostgreSQL, MariaDB and MySQL each have a name for it.
pub(super) fn expected_rows(plan: &serde_json::Value) -> Option<i64> {
    const NAMES: [&str; 3] = ["Plan Rows", "rows_examined_per_scan", "rows"];
    match plan {
        serde_json::Value::Object(fields) => {
            let number = NAMES.iter().find_map(|name| fields.get(*name)?.as_i64());
            number.or_else(|| fields.values().find_map(expected_rows))
        }
        serde_json::Value::Array(items) => items.iter().find_map(expected_rows),
        _ => None,
    }
}
