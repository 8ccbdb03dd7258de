//! The connections.

/// A store for each connection.
#[doc(hidden)]
#[macro_export]
macro_rules! __job_table_backends {
    ([$({ [$($only:tt)*] $($Connection:tt)+ })+] $all:tt $model:tt) => {
        $(
            $($only)*
            $crate::__job_table_backend! { $all $model $($Connection)+ }
        )+
    };
}

/// The store over one connection type. A connection whose cargo feature is
/// off is a compile error. What is none of Diesel's three is taken for an enum
/// of them.
///
/// Each macro that depends on a feature is defined here, twice: a `cfg` in
/// the body of an exported macro would read the user's features.
#[doc(hidden)]
#[macro_export]
macro_rules! __job_table_backend {
    ($all:tt $model:tt SqliteConnection) => {
        $crate::__job_table_sqlite! { $model }
    };
    ($all:tt $model:tt PgConnection) => {
        $crate::__job_table_postgres! { $model }
    };
    ($all:tt $model:tt MysqlConnection) => {
        $crate::__job_table_mysql! { $model }
    };
    ($all:tt $model:tt $Enum:ident) => {
        $crate::__job_table_enum! { $Enum [] $all }
    };
    ($all:tt $model:tt $($path:tt)+) => {
        ::core::compile_error! { ::core::concat!(
            "job_table!: `connections` takes bare names, and `", ::core::stringify!($($path)+),
            "` is a path: write SqliteConnection, PgConnection or MysqlConnection, or import the enum of them and write its name"
        ) }
    };
}

/// `JobStore` over an enum of connections: each statement is sent by the store
/// over the connection that the enum holds, if that is one of those listed.
#[doc(hidden)]
#[macro_export]
macro_rules! __job_table_enum {
    // First the connections are collected, each with the name that it has in
    // `InnerConnection`, and one for those of its kind that the enum may hold.
    ($Enum:ident [$($found:tt)*] [{ $only:tt SqliteConnection } $($rest:tt)*]) => {
        $crate::__job_table_enum! { $Enum [$($found)* $only Sqlite SqliteConnection JobTableSqlite;] [$($rest)*] }
    };
    ($Enum:ident [$($found:tt)*] [{ $only:tt PgConnection } $($rest:tt)*]) => {
        $crate::__job_table_enum! { $Enum [$($found)* $only Postgres PgConnection JobTablePostgres;] [$($rest)*] }
    };
    ($Enum:ident [$($found:tt)*] [{ $only:tt MysqlConnection } $($rest:tt)*]) => {
        $crate::__job_table_enum! { $Enum [$($found)* $only Mysql MysqlConnection JobTableMysql;] [$($rest)*] }
    };
    ($Enum:ident $found:tt [$other:tt $($rest:tt)*]) => {
        $crate::__job_table_enum! { $Enum $found [$($rest)*] }
    };
    ($Enum:ident [] []) => {
        ::core::compile_error! { ::core::concat!(
            "job_table!: `", ::core::stringify!($Enum), "` cannot be tracked over; `connections` takes SqliteConnection, PgConnection and MysqlConnection, by these names, and enums of them beside those that they may hold"
        ) }
    };
    ($Enum:ident [$([$($only:tt)*] $Inner:ident $Connection:ident $Listed:ident;)*] []) => {
        const _: () = {
            use $crate::__private::diesel::{self, QueryResult};
            use $crate::__private::{self as __private, Call, Dialect, Record, Statement, check};
            use $crate::{ConnectionEnum, InnerConnection, Tracked};
            use ::core::primitive::{bool, usize};
            use ::core::result::Result::{Err, Ok};
            use ::std::vec::Vec;

            type Connection = <check::Passed<{ check::connections::<$Enum>(); true }> as check::Checked<$Enum>>::Type;
            type Updates = <JobTableRow as Tracked>::Updates;

            macro_rules! on_inner {
                ($conn_:ident => $method_:ident $arguments_:tt) => {
                    match ConnectionEnum::inner($conn_) {
                        $(
                            $($only)*
                            InnerConnection::$Inner($conn_) => {
                                <Self as $crate::JobStore<diesel::$Connection>>::$method_ $arguments_
                            }
                        )*
                        other_ => Err(__private::not_listed::<Self>(&other_)),
                    }
                };
            }

            impl $crate::JobStore<$Enum> for JobTableRow {
                fn dialect(conn_: &mut Connection) -> &'static Dialect {
                    __private::dialect_of(conn_)
                }
                fn execute(conn_: &mut Connection, statement_: &'static Statement, call_: &Call<'_, Self>) -> QueryResult<usize> {
                    on_inner!(conn_ => execute(conn_, statement_, call_))
                }
                fn read(conn_: &mut Connection, statement_: &'static Statement, call_: &Call<'_, Self>) -> QueryResult<Vec<Record<Self>>> {
                    on_inner!(conn_ => read(conn_, statement_, call_))
                }
                // The same on each of them.
                #[allow(unreachable_code, unused_variables)]
                fn sets_nothing(updates_: &Updates) -> QueryResult<bool> {
                    $(
                        $($only)*
                        { return <Self as $crate::JobStore<diesel::$Connection>>::sets_nothing(updates_); }
                    )*
                    Ok(false)
                }
                #[allow(unreachable_code)]
                fn default_sets_nothing() -> QueryResult<bool> {
                    $(
                        $($only)*
                        { return <Self as $crate::JobStore<diesel::$Connection>>::default_sets_nothing(); }
                    )*
                    Ok(false)
                }
            }

            // The inner block has a name anew for each connection that is listed.
            type JobTableSqlite = __private::NotListed;
            type JobTablePostgres = __private::NotListed;
            type JobTableMysql = __private::NotListed;
            #[allow(dead_code)]
            const _: () = {
                $($($only)* type $Listed = diesel::$Connection;)*

                impl<JobTableFilter> $crate::SendsFilter<JobTableRow, JobTableFilter> for $Enum
                where
                    JobTableSqlite: $crate::SendsFilter<JobTableRow, JobTableFilter>,
                    JobTablePostgres: $crate::SendsFilter<JobTableRow, JobTableFilter>,
                    JobTableMysql: $crate::SendsFilter<JobTableRow, JobTableFilter>,
                {
                    fn add(condition_: &::std::sync::Arc<JobTableFilter>, filter_: &mut __private::Filter) {
                        <JobTableSqlite as $crate::SendsFilter<JobTableRow, JobTableFilter>>::add(condition_, filter_);
                        <JobTablePostgres as $crate::SendsFilter<JobTableRow, JobTableFilter>>::add(condition_, filter_);
                        <JobTableMysql as $crate::SendsFilter<JobTableRow, JobTableFilter>>::add(condition_, filter_);
                    }
                }
            };
        };
    };
}

#[cfg(feature = "sqlite")]
#[doc(hidden)]
#[macro_export]
macro_rules! __job_table_sqlite {
    ($model:tt) => {
        $crate::__job_table_store! { sqlite $crate::__private::diesel::SqliteConnection, $crate::__private::diesel::sqlite::Sqlite, $model }
    };
}

#[cfg(not(feature = "sqlite"))]
#[doc(hidden)]
#[macro_export]
macro_rules! __job_table_sqlite {
    ($model:tt) => {
        ::core::compile_error! { "job_table!: `SqliteConnection` needs the feature `sqlite` of diesel_status_tracker" }
    };
}

#[cfg(feature = "postgres")]
#[doc(hidden)]
#[macro_export]
macro_rules! __job_table_postgres {
    ($model:tt) => {
        $crate::__job_table_store! { postgres $crate::__private::diesel::PgConnection, $crate::__private::diesel::pg::Pg, $model }
    };
}

#[cfg(not(feature = "postgres"))]
#[doc(hidden)]
#[macro_export]
macro_rules! __job_table_postgres {
    ($model:tt) => {
        ::core::compile_error! { "job_table!: `PgConnection` needs the feature `postgres` of diesel_status_tracker" }
    };
}

#[cfg(feature = "mysql")]
#[doc(hidden)]
#[macro_export]
macro_rules! __job_table_mysql {
    ($model:tt) => {
        $crate::__job_table_store! { mysql $crate::__private::diesel::MysqlConnection, $crate::__private::diesel::mysql::Mysql, $model }
    };
}

#[cfg(not(feature = "mysql"))]
#[doc(hidden)]
#[macro_export]
macro_rules! __job_table_mysql {
    ($model:tt) => {
        ::core::compile_error! { "job_table!: `MysqlConnection` needs the feature `mysql` of diesel_status_tracker" }
    };
}
