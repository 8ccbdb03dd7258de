//! A status that is text in the database.

use std::fmt;

use diesel::backend::Backend;
use diesel::deserialize::{self, FromSql, FromSqlRow};
use diesel::expression::AsExpression;
use diesel::serialize::{self, Output, ToSql};
use diesel::sql_types::Text;

/// How far a parcel is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, AsExpression, FromSqlRow)]
#[diesel(sql_type = Text)]
pub enum Phase {
    /// Taken in.
    HandedIn,
    /// With a courier.
    OnTheRoad,
    /// To be tried again.
    NobodyHome,
    /// Done.
    Delivered,
    /// Tried too often.
    Returned,
}

impl Phase {
    const ALL: [Self; 5] = [
        Self::HandedIn,
        Self::OnTheRoad,
        Self::NobodyHome,
        Self::Delivered,
        Self::Returned,
    ];

    const fn name(self) -> &'static str {
        match self {
            Self::HandedIn => "handed in",
            Self::OnTheRoad => "on the road",
            Self::NobodyHome => "nobody home",
            Self::Delivered => "delivered",
            Self::Returned => "returned",
        }
    }
}

/// A word for no phase.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnknownPhase(pub String);

impl fmt::Display for UnknownPhase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "no phase of a parcel: {}", self.0)
    }
}

impl std::error::Error for UnknownPhase {}

impl<DB: Backend> ToSql<Text, DB> for Phase
where
    str: ToSql<Text, DB>,
{
    fn to_sql<'b>(&'b self, out: &mut Output<'b, '_, DB>) -> serialize::Result {
        self.name().to_sql(out)
    }
}

impl<DB: Backend> FromSql<Text, DB> for Phase
where
    String: FromSql<Text, DB>,
{
    fn from_sql(bytes: DB::RawValue<'_>) -> deserialize::Result<Self> {
        let word = String::from_sql(bytes)?;
        let phase = Self::ALL.into_iter().find(|phase| phase.name() == word);
        Ok(phase.ok_or(UnknownPhase(word))?)
    }
}
