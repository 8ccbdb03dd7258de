//! A condition of the user's on the rows that a claim takes.
//!
//! The user writes it in Diesel's DSL, so its type is checked where it is given.
//! From there on it is a [`Filter`], which has no type parameters: it keeps the
//! condition once for each database that it may be sent to.

use std::fmt::{self, Debug};
use std::sync::Arc;

use diesel::AppearsOnTable;
use diesel::backend::Backend;
use diesel::expression::{Expression, NonAggregate};
use diesel::prelude::Column;
use diesel::query_builder::{AstPass, QueryFragment};
use diesel::sql_types::BoolOrNullableBool;

use super::columns::HasColumns;

/// A condition on the columns of the table of `J`, in Diesel's DSL.
///
/// It is implemented for all boolean expressions that Diesel's own `filter` takes for
/// this table.
///
/// It may hold subqueries on other tables; what they read may change between the search
/// and the claim. MySQL and MariaDB allow none on the job's own table.
#[diagnostic::on_unimplemented(
    message = "this is no condition on the table of `{J}`: `filter` takes a boolean expression on the columns of that table, such as `jobs::kind.eq(\"mail\")`",
    label = "it names another table, or is not boolean, or is an aggregate"
)]
pub trait Condition<J> {}
#[diagnostic::do_not_recommend]
impl<P, J> Condition<J> for P
where
    J: HasColumns<Status: Column>,
    P: Expression<SqlType: BoolOrNullableBool>
        + AppearsOnTable<<J::Status as Column>::Table>
        + NonAggregate,
{
}

/// A connection whose database can evaluate a condition of type `P` on the claims of `J`.
///
/// It is implemented for Diesel's connections; and by `job_table!` for an enum of them,
/// where all that it may hold can evaluate it.
#[diagnostic::on_unimplemented(
    message = "this condition cannot be sent over `{Self}`: Diesel does not write it for that database",
    label = "a part of the condition is for another database"
)]
pub trait SendsFilter<J, P> {
    /// Adds the condition, as the database gets it.
    #[doc(hidden)]
    fn add(condition: &Arc<P>, filter: &mut Filter);
}

/// A connection that the enum may hold and that `connections` does not list.
/// Nothing is sent over it.
#[derive(Debug, Clone, Copy)]
pub struct NotListed;

impl<J, P> SendsFilter<J, P> for NotListed {
    fn add(_: &Arc<P>, _: &mut Filter) {}
}

/// A backend that a filter can be kept for.
pub trait HasFilter: Backend {
    /// The condition as this database gets it.
    fn condition(filter: &Filter) -> Option<&dyn QueryFragment<Self>>;
}

macro_rules! filters {
    ($(#[$only:meta] $database:ident: $Backend:ty, $Connection:ty;)+) => {
        /// A condition, for each database that it may be sent to.
        #[derive(Clone, Default)]
        pub struct Filter {
            $(
                #[$only]
                $database: Option<Arc<dyn QueryFragment<$Backend> + Send + Sync>>,
            )+
        }

        $(
            #[$only]
            impl HasFilter for $Backend {
                fn condition(filter: &Filter) -> Option<&dyn QueryFragment<Self>> {
                    match &filter.$database {
                        Some(condition) => Some(&**condition),
                        None => None,
                    }
                }
            }

            #[$only]
            #[diagnostic::do_not_recommend]
            impl<J, P> SendsFilter<J, P> for $Connection
            where
                P: QueryFragment<$Backend> + Send + Sync + 'static,
            {
                fn add(condition: &Arc<P>, filter: &mut Filter) {
                    filter.$database = Some(condition.clone());
                }
            }
        )+
    };
}

filters! {
    #[cfg(feature = "sqlite")]
    sqlite: diesel::sqlite::Sqlite, diesel::SqliteConnection;
    #[cfg(feature = "postgres")]
    postgres: diesel::pg::Pg, diesel::PgConnection;
    #[cfg(feature = "mysql")]
    mysql: diesel::mysql::Mysql, diesel::MysqlConnection;
}

impl Filter {
    /// A condition on the jobs of `J`, as it is sent over `C`.
    pub(crate) fn over<C: SendsFilter<J, P>, J, P>(condition: &Arc<P>) -> Self {
        let mut filter = Self::default();
        C::add(condition, &mut filter);
        filter
    }
}

impl Debug for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Filter").finish_non_exhaustive()
    }
}

/// Two conditions, both of which must hold.
#[derive(Debug)]
pub struct Both<P, Q>(pub Arc<P>, pub Q);

impl<DB: Backend, P: QueryFragment<DB>, Q: QueryFragment<DB>> QueryFragment<DB> for Both<P, Q> {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, DB>) -> diesel::QueryResult<()> {
        out.push_sql("(");
        self.0.walk_ast(out.reborrow())?;
        out.push_sql(") AND (");
        self.1.walk_ast(out.reborrow())?;
        out.push_sql(")");
        Ok(())
    }
}

/// A condition on database `DB` whose type is not told, so that it can be put together
/// when the program runs.
#[derive(Clone)]
pub struct Boxed<DB>(Arc<dyn QueryFragment<DB> + Send + Sync>);

impl<DB: Backend> Boxed<DB> {
    pub(crate) fn of(condition: Arc<impl QueryFragment<DB> + Send + Sync + 'static>) -> Self {
        Self(condition)
    }
}

impl<DB: Backend> QueryFragment<DB> for Boxed<DB> {
    fn walk_ast<'b>(&'b self, out: AstPass<'_, 'b, DB>) -> diesel::QueryResult<()> {
        self.0.walk_ast(out)
    }
}

impl<DB> Debug for Boxed<DB> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Boxed")
    }
}
