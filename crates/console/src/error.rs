//! What can go wrong, for people.

use std::time::Duration;

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
    #[error("the database at {url} cannot be used: {source}; correct its URL, or start it")]
    Unreachable {
        /// Its URL, without the password.
        url: String,
        /// What the driver says.
        source: diesel_status_tracker::BoxError,
    },
    /// A call of the tracker has failed.
    #[error("{}", told(.0))]
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
    #[error("the table `{0}` has no primary key, and the console finds a job by it: add one first")]
    NoKey(String),
    /// A column of the table cannot have the role that it is to have.
    #[error(
        "the column `{column}` of `{table}` cannot be the {role} of its jobs: {role} needs {needed}, and the column is {found}; change its type, or name another column ({role}=…)"
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
    /// SQLite would make an empty database of a wrong path.
    #[error("there is no SQLite database at {0}: correct the path in its URL")]
    NoFile(String),
    /// The file of names cannot be read.
    #[error("the description {path} cannot be read: {source}")]
    Unreadable {
        /// Its path.
        path: String,
        /// What the system says.
        source: std::io::Error,
    },
    /// The file of names is not as it has to be.
    #[error("line {line} of the description: {problem}")]
    Description {
        /// The line of the file, from 1.
        line: usize,
        /// What is wrong, and how to correct it.
        problem: String,
    },
    /// The environment has no URL for a table.
    #[error(
        "the environment variable {variable}, which is to hold the URL of the database of `{table}`, is not set"
    )]
    NoVariable {
        /// Its name.
        variable: String,
        /// The table's name in the console.
        table: String,
    },
    /// Two tables of one console have one name.
    #[error("two tables are called `{0}`; give one of them another name with `Source::named`")]
    TwoNames(String),
    /// The pool gave no connection in time.
    #[error(
        "no connection to the database of `{table}` was to be had in time: look whether it answers, or give its pool more connections"
    )]
    NoConnection {
        /// The table's name in the console.
        table: String,
        /// The pool's answer.
        source: diesel::r2d2::PoolError,
    },
    /// The pool's connections are to a database that this version does not know.
    #[error(
        "this version of the console does not know the kind of database that `{table}` is in: use a newer version"
    )]
    UnknownDatabase {
        /// The table's name in the console.
        table: String,
    },
    /// A transaction that only reads could not be begun or ended.
    #[error("the database refused a transaction that only reads: {0}")]
    Transaction(#[source] diesel::result::Error),
    /// Jobs of this kind are not deleted.
    #[error("these jobs cannot be pruned: {0}")]
    NotPrunable(String),
    /// An error has ended an action that had changed some of its jobs.
    #[error("{count} of the jobs were changed before this went wrong: {source}")]
    Partly {
        /// How many were changed.
        count: usize,
        /// What went wrong.
        source: Box<Error>,
    },
    /// The database has not answered within the limit.
    #[error(
        "the database did not answer the query {query} on `{table}` within {limit:?}: {way_out}"
    )]
    TimeLimit {
        /// The table's name in the console.
        table: String,
        /// The name of the query.
        query: &'static str,
        /// The limit.
        limit: Duration,
        /// Which index would help, or how to ask for less.
        way_out: String,
    },
    /// The database has refused a query.
    #[error("the database refused the query {query} on `{table}`: {source}")]
    Query {
        /// The table's name in the console.
        table: String,
        /// The name of the query.
        query: &'static str,
        /// The database's answer.
        source: diesel::result::Error,
    },
}

/// A result of the console.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// The same error, after so many jobs were changed.
    pub(crate) fn after(self, count: usize) -> Self {
        match count {
            0 => self,
            count => Self::Partly {
                count,
                source: Box::new(self),
            },
        }
    }
}

/// What an error of the tracker says. Where the database refuses a statement, the tracker
/// speaks of what becomes of a claimed job: here nobody has claimed one.
fn told(error: &diesel_status_tracker::Error) -> String {
    use diesel_status_tracker::Error as E;
    match error {
        E::Database { job, source, .. } => format!("the database has refused {job}: {source}"),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_database_refuses_is_told_without_words_on_claimed_jobs() {
        let error = Error::from(diesel_status_tracker::Error::Database {
            job: "jobs \"a\"".into(),
            source: diesel::result::Error::NotFound,
        });
        assert_eq!(
            error.to_string(),
            "the database has refused jobs \"a\": Record not found"
        );
    }
}
