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
    /// The database has no such table.
    #[error(
        "the database has no table `{0}`: give its name as the database has it, and its schema before it where that is not the usual one (billing.invoices)"
    )]
    NoTable(String),
    /// The database does not tell what a table is like.
    #[error("what the table `{table}` is like cannot be read from the database: {source}")]
    Catalog {
        /// The table.
        table: String,
        /// What the database says.
        source: diesel::result::Error,
    },
    /// The table has no primary key.
    #[error("the table `{0}` has no primary key, by which a job is found: give it one first")]
    NoKey(String),
    /// A column of the table cannot have the role that it is to have.
    #[error(
        "the column `{column}` of `{table}` cannot be the {role} of its jobs, which is {needed}, for it is {found}: change its type, or name another column for it ({role}=…)"
    )]
    Misfit {
        /// The table.
        table: String,
        /// The column.
        column: String,
        /// The role.
        role: &'static str,
        /// What the role needs.
        needed: String,
        /// What the column is.
        found: String,
    },
    /// There is no type of Diesel for a column of the key.
    #[error(
        "the column `{column}` of the key of `{table}` is of the type {found}, for which there is no type of Diesel here: write its part of the code by hand"
    )]
    NoRustType {
        /// The table.
        table: String,
        /// The column.
        column: String,
        /// Its type.
        found: String,
    },
}

/// A result of the console.
pub type Result<T, E = Error> = std::result::Result<T, E>;
