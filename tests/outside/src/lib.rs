//! Parcels on their way, told by the phase that they are in.

#![forbid(unsafe_code)]
#![warn(
    clippy::pedantic,
    future_incompatible,
    let_underscore,
    missing_copy_implementations,
    missing_debug_implementations,
    missing_docs,
    nonstandard_style,
    rust_2024_compatibility,
    single_use_lifetimes,
    trivial_casts,
    trivial_numeric_casts,
    unnameable_types,
    unreachable_pub,
    unused,
    unused_import_braces,
    unused_lifetimes,
    unused_qualifications
)]

mod phase;
mod schema;

use diesel::prelude::*;
use diesel::r2d2::{ConnectionManager, Pool};
use diesel_status_tracker::{job_table, Result, StatusTracked};

pub use phase::{Phase, UnknownPhase};
use schema::post::parcels;

/// A parcel.
#[derive(Debug, Clone, PartialEq, Eq, Queryable, Selectable)]
#[diesel(table_name = parcels, check_for_backend(diesel::sqlite::Sqlite))]
pub struct Parcel {
    /// Where it is kept.
    pub depot: i32,
    /// What is printed on it.
    pub barcode: String,
    /// How far it is.
    pub phase: Phase,
}

/// What is written down about a parcel on its way.
#[derive(Debug, Clone, Default, PartialEq, Eq, Insertable, AsChangeset)]
#[diesel(table_name = parcels)]
pub struct Notes {
    /// Who signed for it.
    pub signed_by: Option<String>,
}

job_table! {
    Parcel in schema::post::parcels {
        key: (depot: i32, barcode: String),
        status: Phase,
        updates: Notes,
        connections: [SqliteConnection],
        columns: {
            status: phase, create_at: handed_in, update_at: last_seen, lock: courier, lock_at: courier_since,
            retry: rounds, errors: remarks, run_at: not_before,
        },
        order_by: (parcels::express.desc(), parcels::handed_in.asc()),
        steps: [Parcel],
    }
}

impl StatusTracked for Parcel {
    type Job = Self;
    const PENDING: Phase = Phase::HandedIn;
    const IN_PROGRESS: Phase = Phase::OnTheRoad;
    const FAILED: Phase = Phase::NobodyHome;
    const SUCCEEDED: Phase = Phase::Delivered;
    const IGNORED: Phase = Phase::Returned;
}

/// Connections to the post's database.
pub type Post = Pool<ConnectionManager<SqliteConnection>>;

/// Takes in a parcel.
///
/// # Errors
///
/// Where there is such a parcel already, or the database fails.
pub fn hand_in(post: &Post, depot: i32, barcode: &str) -> Result<Parcel> {
    Parcel::create_and_save(post, (depot, barcode), Notes::default())
}

/// Delivers the next parcel to whoever `door` finds.
///
/// # Errors
///
/// Where nobody is home, or the database fails.
pub fn deliver_next(post: &Post, door: impl FnOnce(&Parcel) -> Option<String>) -> Result<bool> {
    let delivered = Parcel::run_next(post, |parcel, notes| {
        notes.signed_by = Some(door(parcel).ok_or("nobody home")?);
        Ok(())
    })?;
    Ok(delivered.is_some())
}

/// Whether a parcel has reached its door.
#[must_use]
pub fn is_delivered(parcel: &Parcel) -> bool {
    Parcel::is_succeeded(parcel)
}
