//! The connections.

/// The store over one connection type. A connection whose cargo feature is
/// off, and any other type, is a compile error.
///
/// Each macro that depends on a feature is defined here, twice: a `cfg` in
/// the body of an exported macro would read the user's features.
#[doc(hidden)]
#[macro_export]
macro_rules! __job_table_backend {
    (SqliteConnection $model:tt) => { $crate::__job_table_sqlite! { $model } };
    (PgConnection $model:tt) => { $crate::__job_table_postgres! { $model } };
    (MysqlConnection $model:tt) => { $crate::__job_table_mysql! { $model } };
    ($other:ident $model:tt) => {
        ::core::compile_error! { ::core::concat!(
            "job_table!: `", ::core::stringify!($other), "` cannot be tracked over; `connections` takes SqliteConnection, PgConnection and MysqlConnection, by these names"
        ) }
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
