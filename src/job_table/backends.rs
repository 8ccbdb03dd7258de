//! What differs from one database to the other: how a changed row comes back,
//! how rows are inserted, and how the next ones are claimed.

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

/// Whether a row found by its key bears this token.
#[doc(hidden)]
#[macro_export]
macro_rules! __job_table_bears {
    // From `=` PostgreSQL concludes that the lock is not NULL, and may take the
    // index on the locked rows for it: all of them, the former ones too, in
    // place of one row by its key.
    (postgres $lock:expr, $token:expr) => {
        $crate::__private::diesel::PgExpressionMethods::is_not_distinct_from($lock, $token)
    };
    ($other:ident $lock:expr, $token:expr) => {
        $lock.eq($token)
    };
}

/// Runs an update and returns `columns` of the row that it changed: by
/// RETURNING, or by reading the row again, which MySQL has to.
#[doc(hidden)]
#[macro_export]
macro_rules! __job_table_changed {
    (mysql $statement:expr, $columns:expr, $conn:expr, $again:expr) => {
        if $crate::__private::diesel::RunQueryDsl::execute($statement, $conn)? == 0 {
            ::core::result::Result::Ok(::core::option::Option::None)
        } else {
            $again
        }
    };
    ($other:ident $statement:expr, $columns:expr, $conn:expr, $again:expr) => {
        $crate::__private::diesel::OptionalExtension::optional(
            $crate::__private::diesel::RunQueryDsl::get_result(
                $statement.returning($columns),
                $conn,
            ),
        )
    };
}

/// The same for several rows.
#[doc(hidden)]
#[macro_export]
macro_rules! __job_table_changed_rows {
    (mysql $statement:expr, $columns:expr, $conn:expr, $again:expr) => {
        if $crate::__private::diesel::RunQueryDsl::execute($statement, $conn)? == 0 {
            ::core::result::Result::Ok(::std::vec::Vec::new())
        } else {
            $crate::__private::diesel::RunQueryDsl::load($again, $conn)
        }
    };
    ($other:ident $statement:expr, $columns:expr, $conn:expr, $again:expr) => {
        $crate::__private::diesel::RunQueryDsl::load($statement.returning($columns), $conn)
    };
}

/// Takes a row for the transaction, and tells whether there is one.
#[doc(hidden)]
#[macro_export]
macro_rules! __job_table_take_row {
    // The transaction has the file. A write finds out whether it can be written to.
    (sqlite $query:expr, $Key:ty, $conn:expr, $renew:expr) => {
        ::core::result::Result::Ok(!$renew?.is_empty())
    };
    // Not from those who refer to it by a foreign key.
    (postgres $query:expr, $Key:ty, $conn:expr, $renew:expr) => {
        $crate::__job_table_take_row!(@found $query.for_no_key_update(), $Key, $conn)
    };
    (mysql $query:expr, $Key:ty, $conn:expr, $renew:expr) => {
        $crate::__job_table_take_row!(@found $query.for_update(), $Key, $conn)
    };
    (@found $query:expr, $Key:ty, $conn:expr) => {{
        let keys_: ::std::vec::Vec<$Key> = $crate::__private::diesel::RunQueryDsl::load($query, $conn)?;
        ::core::result::Result::Ok(!keys_.is_empty())
    }};
}

/// Inserts one row and returns it, `None` where the key exists.
#[doc(hidden)]
#[macro_export]
macro_rules! __job_table_insert_row {
    // IGNORE would hide other errors, and matched-row counts make ON DUPLICATE
    // KEY tell nothing: so a plain insert, and a look on a duplicate.
    (mysql $insert:expr, $key:expr, $row:expr, $conn:expr, $again:expr, $taken:expr, $values:expr) => {
        match $crate::__private::diesel::RunQueryDsl::execute($insert, $conn) {
            ::core::result::Result::Ok(_) => $again,
            ::core::result::Result::Err(
                $crate::__private::diesel::result::Error::DatabaseError(
                    $crate::__private::diesel::result::DatabaseErrorKind::UniqueViolation,
                    information_,
                ),
            ) => {
                if $taken {
                    ::core::result::Result::Ok(::core::option::Option::None)
                } else {
                    // Another unique index of the user's table.
                    ::core::result::Result::Err(
                        $crate::__private::diesel::result::Error::DatabaseError(
                            $crate::__private::diesel::result::DatabaseErrorKind::UniqueViolation,
                            information_,
                        ),
                    )
                }
            }
            ::core::result::Result::Err(error_) => ::core::result::Result::Err(error_),
        }
    };
    // The others write DEFAULT for a column that is not set, and Diesel keeps
    // none of their texts. SQLite leaves the column out.
    (sqlite $insert:expr, $key:expr, $row:expr, $conn:expr, $again:expr, $taken:expr, $values:expr) => {{
        static TEXTS: $crate::__private::Texts = $crate::__private::Texts::new();
        let is_kept_ = TEXTS.keeps_part::<Backend, _>(&$values)?;
        $crate::__job_table_insert_row! { @returning is_kept_, $insert, $key, $row, $conn }
    }};
    (postgres $insert:expr, $key:expr, $row:expr, $conn:expr, $again:expr, $taken:expr, $values:expr) => {
        $crate::__job_table_insert_row! { @returning true, $insert, $key, $row, $conn }
    };
    // On the key alone: a conflict on another unique index stays an error,
    // and neither breaks the caller's transaction.
    (@returning $is_kept:expr, $insert:expr, $key:expr, $row:expr, $conn:expr) => {
        $crate::__private::diesel::OptionalExtension::optional(
            $crate::__private::diesel::RunQueryDsl::get_result(
                $crate::__private::kept(
                    $is_kept,
                    $insert.on_conflict($key).do_nothing().returning($row),
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
    (postgres $table:expr, $new_row:ident, $taken:ident, $key:expr, $rows:ident, $conn:ident, $step:ident) => {
        $crate::__private::diesel::RunQueryDsl::execute(
            $crate::__private::diesel::insert_into($table)
                .values($crate::__job_table_insert_rows!(@values $new_row, $rows, $step))
                .on_conflict($key)
                .do_nothing(),
            $conn,
        )
    };
    // One statement for all; where a key exists it fails whole and changes
    // nothing. Then those that exist are left out, and what is still taken
    // when it comes to it is found one by one.
    (mysql $table:expr, $new_row:ident, $taken:ident, $key:expr, $rows:ident, $conn:ident, $step:ident) => {{
        use $crate::__private::diesel::result::{DatabaseErrorKind, Error};
        macro_rules! insert {
            ($some:ident) => {
                $crate::__private::diesel::RunQueryDsl::execute(
                    $crate::__private::diesel::insert_into($table)
                        .values($crate::__job_table_insert_rows!(@values $new_row, $some, $step)),
                    $conn,
                )
            };
        }
        match insert!($rows) {
            ::core::result::Result::Err(Error::DatabaseError(DatabaseErrorKind::UniqueViolation, _)) => {
                let mut fresh_ = ::std::vec::Vec::new();
                for row_ in $rows {
                    if !$taken!(&row_.0, $conn) {
                        fresh_.push(row_);
                    }
                }
                match insert!(fresh_) {
                    ::core::result::Result::Err(Error::DatabaseError(DatabaseErrorKind::UniqueViolation, _)) => {
                        $crate::__job_table_insert_rows! { sqlite $table, $new_row, $taken, $key, fresh_, $conn, $step }
                    }
                    other_ => other_,
                }
            }
            other_ => other_,
        }
    }};
    // SQLite runs in this process: a prepared insert a row costs no round trip.
    (sqlite $table:expr, $new_row:ident, $taken:ident, $key:expr, $rows:ident, $conn:ident, $step:ident) => {{
        let mut created_ = 0;
        for (key_, updates_) in $rows {
            if <Self as $crate::JobStore<Connection>>::insert_row($conn, key_, updates_, $step)?.is_some() {
                created_ += 1;
            }
        }
        ::core::result::Result::Ok(created_)
    }};
    (@values $new_row:ident, $rows:ident, $step:ident) => {
        ::core::iter::Iterator::collect::<::std::vec::Vec<_>>(::core::iter::Iterator::map($rows.iter(), |row_| {
            $new_row!(&row_.0, &row_.1, $step)
        }))
    };
}

/// Reads the first ready rows, without locks: keys and times.
#[doc(hidden)]
#[macro_export]
macro_rules! __job_table_first_rows {
    (mysql $table:expr, $key:expr, $columns:expr, $statuses:expr, $ready:ident, $order:expr, $limit:expr) => {
        $crate::__private::first_ready(
            $table,
            $key,
            $columns,
            ::core::iter::Iterator::collect(::core::iter::Iterator::map(
                ::core::iter::IntoIterator::into_iter($statuses),
                |status_| $ready!([status_]),
            )),
            $order,
            $limit,
        )
    };
    ($other:ident $table:expr, $key:expr, $columns:expr, $statuses:expr, $ready:ident, $order:expr, $limit:expr) => {
        $table
            .select($columns)
            .filter($ready!($statuses))
            .order_by($order)
            .limit(
                ::core::convert::TryFrom::try_from($limit).unwrap_or(::core::primitive::i64::MAX),
            )
    };
}

/// The keys of a query's rows that no other transaction holds, which are
/// locked then until the end of this one. SQLite locks no rows.
#[doc(hidden)]
#[macro_export]
macro_rules! __job_table_free_keys {
    (sqlite $query:expr, $keys:expr, $conn:expr) => {
        ::core::result::Result::Ok(<[Key]>::to_vec($keys))
    };
    // Not `FOR UPDATE`, which would pass over rows that a foreign key of another
    // transaction refers to.
    (postgres $query:expr, $keys:expr, $conn:expr) => {
        ::core::result::Result::Ok(keys_of($crate::__private::diesel::RunQueryDsl::load(
            $query.for_no_key_update().skip_locked(),
            $conn,
        )?))
    };
    (mysql $query:expr, $keys:expr, $conn:expr) => {
        ::core::result::Result::Ok(keys_of($crate::__private::diesel::RunQueryDsl::load(
            $query.for_update().skip_locked(),
            $conn,
        )?))
    };
}

/// Claims the first rows of `candidates`.
#[doc(hidden)]
#[macro_export]
macro_rules! __job_table_claim_rows {
    (postgres $table:expr, $changes:expr, $candidates:ident, $free_keys:ident, $claim_keys:ident, $claimed_keys:ident, $key:expr, $key_names:expr, $claimed:ident, $decode:expr, $limit:ident, $token:ident, $step:ident, $search:ident, $conn:ident, $is_kept:ident) => {{
        let claim_ = $crate::__private::update_next(
            $table,
            $changes,
            $candidates!(),
            $limit,
            $key,
            $key_names,
            $claimed!(
                $crate::__private::Place,
                <$crate::__private::Since<NowType> as ::core::default::Default>::default()
            ),
        );
        let claim_ = $crate::__private::kept($is_kept!($limit), claim_);
        let mut rows_ = match $crate::__private::diesel::RunQueryDsl::load(claim_, $conn) {
            ::core::result::Result::Err(
                $crate::__private::diesel::result::Error::DeserializationError(_),
            ) => {
                return $crate::__private::held_by($conn, $token, $step);
            }
            other_ => other_?,
        };
        rows_.sort_by_key(
            |row_: &(
                _,
                _,
                _,
                _,
                _,
                ::core::primitive::i64,
                <NowType as TimeColumn>::Value,
            )| row_.5,
        );
        let times_ = ::core::iter::Iterator::filter_map(rows_.iter(), |row_| {
            <NowType as TimeColumn>::read(row_.6)
        });
        ::core::result::Result::Ok($crate::__private::Batch {
            reached: ::core::iter::Iterator::max(times_),
            claimed: ::core::iter::Iterator::collect(::core::iter::Iterator::map(
                ::core::iter::IntoIterator::into_iter(rows_),
                |row_| $decode((row_.0, row_.1, row_.2, row_.3, row_.4)),
            )),
            passed_over: ::std::vec::Vec::new(),
            none_is_ready: false,
        })
    }};
    // One writer at a time, so nobody comes in between; several rows are one
    // transaction, and one wait for the disk.
    (sqlite $table:expr, $changes:expr, $candidates:ident, $free_keys:ident, $claim_keys:ident, $claimed_keys:ident, $key:expr, $key_names:expr, $claimed:ident, $decode:expr, $limit:ident, $token:ident, $step:ident, $search:ident, $conn:ident, $is_kept:ident) => {
        $crate::__private::claim_by_key::<JobTableStep, Connection, Row>(
            $conn, $limit, $token, $step, $search,
        )
    };
    // Read without locks, then claim by key, past those that others write to:
    // locks on ranges of rows deadlock, and so does who waits while holding some.
    (mysql $table:expr, $changes:expr, $candidates:ident, $free_keys:ident, $claim_keys:ident, $claimed_keys:ident, $key:expr, $key_names:expr, $claimed:ident, $decode:expr, $limit:ident, $token:ident, $step:ident, $search:ident, $conn:ident, $is_kept:ident) => {
        $crate::__private::claim_by_keys::<JobTableStep, Connection, Row>(
            $conn,
            $limit,
            $token,
            $step,
            $search,
            |conn_, keys_| {
                let keys_ = $crate::TrackerConnection::write_transaction(conn_, |conn_| {
                    let free_ = keys_of($crate::__private::diesel::RunQueryDsl::load(
                        $free_keys!(keys_),
                        conn_,
                    )?);
                    if !free_.is_empty() {
                        $crate::__private::diesel::RunQueryDsl::execute(
                            $claim_keys!(&free_),
                            conn_,
                        )?;
                    }
                    $crate::__private::diesel::QueryResult::Ok(free_)
                })?;
                if keys_.is_empty() {
                    return ::core::result::Result::Ok(::std::vec::Vec::new());
                }
                let rows_ =
                    $crate::__private::diesel::RunQueryDsl::load($claimed_keys!(&keys_), conn_)?;
                ::core::result::Result::Ok(::core::iter::Iterator::collect(
                    ::core::iter::Iterator::map(
                        <::std::vec::Vec<ClaimedRow> as ::core::iter::IntoIterator>::into_iter(
                            rows_,
                        ),
                        $decode,
                    ),
                ))
            },
        )
    };
}
