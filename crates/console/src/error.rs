//! What can go wrong, for people.

/// Why the console cannot do what it is to do. Each is one sentence that names the way
/// out.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The URL names no database that the console knows.
    #[error(
        "`{0}` is no URL of a database: give postgres://…, mysql://…, or sqlite:// and the path of a file"
    )]
    Url(String),
    /// No connection to the database.
    #[error("the database at {url} cannot be reached: {source}")]
    Unreachable {
        /// Its URL, without the password.
        url: String,
        /// What the driver says.
        source: diesel::r2d2::PoolError,
    },
    /// A call of the tracker has failed.
    #[error(transparent)]
    Tracker(#[from] diesel_status_tracker::Error),
}

/// A result of the console.
pub type Result<T, E = Error> = std::result::Result<T, E>;
