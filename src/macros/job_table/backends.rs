//! The connections, and how each inserts rows.

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
