//! The connections, and how each inserts rows.

/// A store for each connection.
#[doc(hidden)]
#[macro_export]
macro_rules! __job_table_backends {
    ([$([$($only:tt)*] $Connection:ident)+] $all:tt $model:tt) => {
        $(
            $($only)*
            $crate::__job_table_backend! { $Connection $all $model }
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
    (SqliteConnection $all:tt $model:tt) => {
        $crate::__job_table_sqlite! { $model }
    };
    (PgConnection $all:tt $model:tt) => {
        $crate::__job_table_postgres! { $model }
    };
    (MysqlConnection $all:tt $model:tt) => {
        $crate::__job_table_mysql! { $model }
    };
    ($Enum:ident $all:tt $model:tt) => {
        $crate::__job_table_enum! { $Enum [] $all }
    };
}

/// `JobStore` over an enum of connections: each statement is sent by the store
/// over the connection that the enum holds, if that is one of those listed.
#[doc(hidden)]
#[macro_export]
macro_rules! __job_table_enum {
    // First the connections are collected, each with the name that it has in
    // `InnerConnection`.
    ($Enum:ident [$($found:tt)*] [$only:tt SqliteConnection $($rest:tt)*]) => {
        $crate::__job_table_enum! { $Enum [$($found)* $only Sqlite SqliteConnection;] [$($rest)*] }
    };
    ($Enum:ident [$($found:tt)*] [$only:tt PgConnection $($rest:tt)*]) => {
        $crate::__job_table_enum! { $Enum [$($found)* $only Postgres PgConnection;] [$($rest)*] }
    };
    ($Enum:ident [$($found:tt)*] [$only:tt MysqlConnection $($rest:tt)*]) => {
        $crate::__job_table_enum! { $Enum [$($found)* $only Mysql MysqlConnection;] [$($rest)*] }
    };
    ($Enum:ident $found:tt [$only:tt $other:ident $($rest:tt)*]) => {
        $crate::__job_table_enum! { $Enum $found [$($rest)*] }
    };
    ($Enum:ident [] []) => {
        ::core::compile_error! { ::core::concat!(
            "job_table!: `", ::core::stringify!($Enum), "` cannot be tracked over; `connections` takes SqliteConnection, PgConnection and MysqlConnection, by these names, and enums of them beside those that they may hold"
        ) }
    };
    ($Enum:ident [$([$($only:tt)*] $Inner:ident $Connection:ident;)*] []) => {
        const _: () = {
            use $crate::__private::diesel::{self, QueryResult};
            use $crate::__private::{self as __private, Call, Dialect, Record, Statement, Step, check};
            use $crate::{ConnectionEnum, InnerConnection, Tracked};
            use ::core::option::Option;
            use ::core::primitive::{bool, usize};
            use ::core::result::Result::{Err, Ok};
            use ::std::vec::Vec;

            type Connection = <check::Passed<{ check::connections::<$Enum>(); true }> as check::Checked<$Enum>>::Type;
            type Key = <JobTableRow as Tracked>::Key;
            type Updates = <JobTableRow as Tracked>::Updates;
            type Status = <JobTableRow as Tracked>::Status;

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
                fn insert_row(conn_: &mut Connection, key_: &Key, updates_: &Updates, step_: &Step<Status>) -> QueryResult<Option<Self>> {
                    on_inner!(conn_ => insert_row(conn_, key_, updates_, step_))
                }
                fn insert_rows(conn_: &mut Connection, rows_: &[(Key, Updates)], step_: &Step<Status>) -> QueryResult<usize> {
                    on_inner!(conn_ => insert_rows(conn_, rows_, step_))
                }
            }
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

/// Inserts one row and returns it, `None` where the key exists.
#[doc(hidden)]
#[macro_export]
macro_rules! __job_table_insert_row {
    // IGNORE would hide other errors, and matched-row counts make ON DUPLICATE
    // KEY tell nothing: so a plain insert, and a look on a duplicate.
    (mysql $insert:expr, $key_columns:expr, $conn:expr, $key:expr, $values:expr) => {{
        let inserted_ = $crate::__private::diesel::RunQueryDsl::execute($insert, $conn);
        $crate::__private::after_insert::<Self, Connection>($conn, $key, inserted_)
    }};
    // The others write DEFAULT for a column that is not set, and Diesel keeps
    // none of their texts. SQLite leaves the column out.
    (sqlite $insert:expr, $key_columns:expr, $conn:expr, $key:expr, $values:expr) => {{
        let texts_ = <Self as $crate::__private::TableOn<Backend>>::texts();
        let is_kept_ = texts_.inserts.keeps_part::<Backend>(&$values)?;
        $crate::__job_table_insert_row! { @returning is_kept_, $insert, $key_columns, $conn }
    }};
    (postgres $insert:expr, $key_columns:expr, $conn:expr, $key:expr, $values:expr) => {
        $crate::__job_table_insert_row! { @returning true, $insert, $key_columns, $conn }
    };
    // On the key alone: a conflict on another unique index stays an error,
    // and neither breaks the caller's transaction.
    (@returning $is_kept:expr, $insert:expr, $key_columns:expr, $conn:expr) => {
        $crate::__private::diesel::OptionalExtension::optional(
            $crate::__private::diesel::RunQueryDsl::get_result(
                $crate::__private::kept(
                    $is_kept,
                    $insert.on_conflict($key_columns).do_nothing().returning(
                        <Row as $crate::__private::diesel::SelectableHelper<Backend>>::as_select(),
                    ),
                ),
                $conn,
            ),
        )
    };
}

/// Inserts rows, those of one chunk, and counts the new ones.
#[doc(hidden)]
#[macro_export]
macro_rules! __job_table_insert_rows {
    (postgres $table:expr, $values:ident, $key_columns:expr, $conn:ident, ($rows:ident, $step:ident)) => {
        $crate::__private::diesel::RunQueryDsl::execute(
            $crate::__private::diesel::insert_into($table)
                .values($values!($rows))
                .on_conflict($key_columns)
                .do_nothing(),
            $conn,
        )
    };
    (mysql $table:expr, $values:ident, $key_columns:expr, $conn:ident, ($rows:ident, $step:ident)) => {
        $crate::__private::insert_new_rows::<Self, Connection>(
            $conn,
            $rows,
            $step,
            |conn_, some_: &[&(Key, Updates)]| {
                $crate::__private::diesel::RunQueryDsl::execute(
                    $crate::__private::diesel::insert_into($table).values($values!(some_)),
                    conn_,
                )
            },
        )
    };
    // SQLite runs in this process: a prepared insert a row costs no round trip.
    (sqlite $table:expr, $values:ident, $key_columns:expr, $conn:ident, ($rows:ident, $step:ident)) => {
        $crate::__private::insert_each::<Self, Connection>($conn, $rows, $step)
    };
}
