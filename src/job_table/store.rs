//! Every SQL statement, once.

/// `JobStore` over one connection type.
///
/// `claimed`, `held` and `ready` are the recurring parts: what a claim reads,
/// the fence (key *and* token), and what makes a row ready.
#[doc(hidden)]
#[macro_export]
macro_rules! __job_table_store {
    (
        $backend:ident $Connection:ty, $Backend:ty,
        { $Job:ident [$($table:tt)+] $key_columns:tt [$Status:ty] [$Updates:ty] [$($run_at:ident)?] [$(($($order:expr),+ $(,)?))?] }
    ) => {
        const _: () = {
            use $crate::__private::diesel::{
                BoolExpressionMethods as _, ExpressionMethods as _, OptionalExtension as _, QueryDsl as _,
                RunQueryDsl as _, SelectableHelper as _,
            };
            use $crate::__private::{
                Batch, Claimed, Code, ColumnTypes, DeadAttempt, ErrorsColumn, HasColumns, IsNoNumber as _, IsNumber as _, Probe,
                RetryColumn, RowState, Setback, Step, TimeColumn, ago, guard, now, one_of, update,
            };
            use $crate::__private::chrono::{DateTime, Utc};
            use $crate::__private::diesel::{self, QueryResult};
            use $crate::__private::serde_json::Value;
            use ::core::option::Option::{self, None, Some};
            use ::core::result::Result::Ok;
            use ::std::vec::Vec;

            guard::row::<$Job, $Backend>();
            guard::updates::<$Updates, $($table)+::table>();
            guard::value::<$Status, StatusColumn, $Backend>();

            type SqlType<Column> = <Column as diesel::Expression>::SqlType;
            type StatusColumn = <TrackedColumns as ColumnTypes>::Status;
            type NowType = SqlType<<TrackedColumns as ColumnTypes>::UpdateAt>;
            type LockAtType = SqlType<<TrackedColumns as ColumnTypes>::LockAt>;
            type RetryType = SqlType<<TrackedColumns as ColumnTypes>::Retry>;
            type ErrorsType = SqlType<<TrackedColumns as ColumnTypes>::Errors>;

            type Key = <$Job as $crate::Tracked>::Key;
            type KeyRow = $crate::__job_table_key!(@row $key_columns);
            type ClaimedRow = (
                $Job, KeyRow, <LockAtType as TimeColumn>::Value, <RetryType as RetryColumn>::Value, <ErrorsType as ErrorsColumn>::Value,
            );
            type StateRow = (
                $Status, Option<::std::string::String>, <LockAtType as TimeColumn>::Value, <RetryType as RetryColumn>::Value, <NowType as TimeColumn>::Value
                $(, $crate::__job_table_run_at!(@value $run_at))?
            );
            type DeadRow = (
                KeyRow, Option<::std::string::String>, <RetryType as RetryColumn>::Value, <ErrorsType as ErrorsColumn>::Value, <NowType as TimeColumn>::Value,
            );

            const COLUMNS: TrackedColumns = <$Job as HasColumns>::COLUMNS;

            fn key_of(row: KeyRow) -> Key {
                $crate::__job_table_key!(@of row, $key_columns)
            }

            fn claimed_of((job, key, lock_at, retry, errors): ClaimedRow) -> Claimed<$Job> {
                Claimed {
                    key: key_of(key),
                    job,
                    lock_at: <LockAtType as TimeColumn>::read(lock_at),
                    retry: <RetryType as RetryColumn>::read(retry),
                    errors: <ErrorsType as ErrorsColumn>::read(errors),
                }
            }

            fn keys_of(rows: Vec<KeyRow>) -> Vec<Key> {
                ::core::iter::Iterator::collect(::core::iter::Iterator::map(::core::iter::IntoIterator::into_iter(rows), key_of))
            }

            fn state_of(row: StateRow) -> RowState<$Status> {
                RowState {
                    status: row.0,
                    lock: row.1,
                    lock_at: <LockAtType as TimeColumn>::read(row.2),
                    retry: <RetryType as RetryColumn>::read(row.3),
                    now: <NowType as TimeColumn>::read(row.4).unwrap_or_default(),
                    run_at: $crate::__job_table_run_at!(@read row $($run_at)?),
                }
            }

            fn dead_of((key, lock, retry, errors, now): DeadRow) -> DeadAttempt<$Job> {
                DeadAttempt {
                    key: key_of(key),
                    lock: lock.unwrap_or_default(),
                    retry: <RetryType as RetryColumn>::read(retry),
                    errors: <ErrorsType as ErrorsColumn>::read(errors),
                    now: <NowType as TimeColumn>::read(now).unwrap_or_default(),
                }
            }

            fn code(status: $Status) -> Code<$Status, SqlType<StatusColumn>> {
                let number = (&Probe::<$Status, SqlType<StatusColumn>>::new(status)).number();
                Code::new(status, number)
            }

            fn codes(statuses: impl ::core::iter::IntoIterator<Item = $Status>) -> Vec<Code<$Status, SqlType<StatusColumn>>> {
                ::core::iter::Iterator::collect(::core::iter::Iterator::map(::core::iter::IntoIterator::into_iter(statuses), code))
            }

            macro_rules! table { () => { $($table)+::table } }
            macro_rules! row { () => { <$Job as diesel::SelectableHelper<$Backend>>::as_select() } }
            macro_rules! key { () => { $crate::__job_table_key!(@columns COLUMNS, $key_columns) } }
            macro_rules! claimed {
                () => { (row!(), key!(), COLUMNS.lock_at, COLUMNS.retry, COLUMNS.errors) };
                ($place:expr) => { (row!(), key!(), COLUMNS.lock_at, COLUMNS.retry, COLUMNS.errors, $place) };
            }
            macro_rules! read_claimed { ($key:expr, $token:expr, $conn:expr) => {
                table!().select(claimed!()).filter(held!($key, $token)).get_result($conn).optional()
            } }
            macro_rules! dead { () => { (key!(), COLUMNS.lock, COLUMNS.retry, COLUMNS.errors, now::<NowType>()) } }
            macro_rules! order { () => { $crate::__job_table_order!(COLUMNS [$($($order),+)?]) } }
            macro_rules! is { ($key:expr) => { $crate::__job_table_key!(@is COLUMNS, $key, $key_columns) } }
            macro_rules! held { ($key:expr, $token:expr) => { is!($key).and(COLUMNS.lock.eq($token)) } }
            macro_rules! ready { ($step:expr) => {
                COLUMNS.lock.is_null().and(one_of(COLUMNS.status, codes($step.ready())))
                    $(.and($crate::__job_table_run_at!(@due $run_at COLUMNS, now())))?
            } }
            macro_rules! expired { ($step:expr) => {
                COLUMNS.lock.is_not_null()
                    .and(one_of(COLUMNS.status, codes([$step.in_progress])))
                    .and(COLUMNS.lock_at.lt(ago($step.lock_expire)))
            } }
            macro_rules! claim { ($step:expr, $token:expr) => { (
                COLUMNS.status.eq($step.in_progress),
                COLUMNS.lock.eq($token),
                COLUMNS.lock_at.eq(now()),
                COLUMNS.update_at.eq(now()),
            ) } }
            macro_rules! setback { ($setback:expr, $errors:expr) => { (
                COLUMNS.status.eq($setback.status),
                COLUMNS.lock.eq(None::<&str>),
                COLUMNS.retry.eq(<RetryType as RetryColumn>::write($setback.retry)),
                COLUMNS.errors.eq(<ErrorsType as ErrorsColumn>::write($errors)),
                COLUMNS.update_at.eq(now()),
            ) } }
            macro_rules! renew { ($changes:expr, $key:expr, $token:expr, $conn:expr) => { {
                let lock_at: Option<<LockAtType as TimeColumn>::Value> = $crate::__job_table_changed! {
                    $backend update(table!(), $changes, held!($key, $token)), COLUMNS.lock_at, $conn,
                    table!().select(COLUMNS.lock_at).filter(held!($key, $token)).get_result($conn).optional()
                }?;
                Ok(lock_at.map(<LockAtType as TimeColumn>::read))
            } } }
            macro_rules! new_row { ($key:expr, $updates:expr, $step:expr) => { (
                $crate::__job_table_key!(@values COLUMNS, $key, $key_columns),
                COLUMNS.status.eq($step.pending),
                COLUMNS.create_at.eq(now()),
                COLUMNS.update_at.eq(now()),
                COLUMNS.lock_at.eq(<LockAtType as TimeColumn>::never()),
                COLUMNS.retry.eq(<RetryType as RetryColumn>::write(0)),
                COLUMNS.errors.eq(<ErrorsType as ErrorsColumn>::write(Value::Object(::core::default::Default::default()))),
                $updates,
            ) } }

            impl $crate::JobStore<$Connection> for $Job {
                fn insert_row(conn: &mut $Connection, key: &Key, updates: &$Updates, step: &Step<$Status>) -> QueryResult<Option<Self>> {
                    $crate::__job_table_insert_row! {
                        $backend diesel::insert_into(table!()).values(new_row!(key, updates, step)),
                        key!(), row!(), conn, <Self as $crate::JobStore<$Connection>>::row(conn, key)
                    }
                }

                fn insert_rows(conn: &mut $Connection, rows: &[(Key, $Updates)], step: &Step<$Status>) -> QueryResult<::core::primitive::usize> {
                    $crate::__job_table_insert_rows! {
                        $backend table!(),
                        ::core::iter::Iterator::collect::<Vec<_>>(::core::iter::Iterator::map(rows.iter(), |(key, updates)| new_row!(key, updates, step))),
                        key!(), rows, conn, step
                    }
                }

                fn claim_row(conn: &mut $Connection, key: &Key, token: &str, step: &Step<$Status>) -> QueryResult<Option<Claimed<Self>>> {
                    let claim = update(table!(), claim!(step, token), is!(key).and(ready!(step)));
                    let row: Option<ClaimedRow> = $crate::__job_table_changed! {
                        $backend claim, claimed!(), conn, read_claimed!(key, token, conn)
                    }?;
                    Ok(row.map(claimed_of))
                }

                fn claim_rows(conn: &mut $Connection, limit: ::core::primitive::usize, token: &str, step: &Step<$Status>) -> QueryResult<Batch<Self>> {
                    macro_rules! candidates { () => { table!().select(key!()).filter(ready!(step)).order_by(order!()) } }
                    $crate::__job_table_claim_rows! {
                        $backend table!(), claim!(step, token), candidates!(), key!(), $crate::__job_table_key!(@names $key_columns),
                        claimed, claimed_of, limit, token, step, conn
                    }
                }

                fn claimed_row(conn: &mut $Connection, key: &Key, token: &str) -> QueryResult<Option<Claimed<Self>>> {
                    let row: Option<ClaimedRow> = read_claimed!(key, token, conn)?;
                    Ok(row.map(claimed_of))
                }

                fn claimed_keys(conn: &mut $Connection, token: &str, step: &Step<$Status>) -> QueryResult<Vec<Key>> {
                    // By status too, for the index on it: there is none on the lock.
                    let rows: Vec<KeyRow> = table!()
                        .select(key!())
                        .filter(one_of(COLUMNS.status, codes([step.in_progress])).and(COLUMNS.lock.eq(token)))
                        .load(conn)?;
                    Ok(keys_of(rows))
                }

                fn row_state(conn: &mut $Connection, key: &Key) -> QueryResult<Option<RowState<$Status>>> {
                    let row: Option<StateRow> = table!()
                        .select((COLUMNS.status, COLUMNS.lock, COLUMNS.lock_at, COLUMNS.retry, now::<NowType>() $(, $crate::__job_table_run_at!(@column $run_at COLUMNS))?))
                        .filter(is!(key))
                        .get_result(conn)
                        .optional()?;
                    Ok(row.map(state_of))
                }

                fn succeed_row(conn: &mut $Connection, key: &Key, token: &str, updates: &$Updates, step: &Step<$Status>) -> QueryResult<::core::primitive::usize> {
                    let changes = (
                        COLUMNS.status.eq(step.succeeded),
                        COLUMNS.lock.eq(None::<&str>),
                        COLUMNS.retry.eq(<RetryType as RetryColumn>::write(0)),
                        COLUMNS.update_at.eq(now()),
                        updates,
                    );
                    update(table!(), changes, held!(key, token)).execute(conn)
                }

                fn fail_row(conn: &mut $Connection, key: &Key, token: &str, setback: Setback<$Status>, errors: Value) -> QueryResult<::core::primitive::usize> {
                    update(table!(), setback!(setback, errors), held!(key, token)).execute(conn)
                }

                fn release_row(conn: &mut $Connection, key: &Key, token: &str, step: &Step<$Status>) -> QueryResult<::core::primitive::usize> {
                    let changes = (COLUMNS.status.eq(step.pending), COLUMNS.lock.eq(None::<&str>), COLUMNS.update_at.eq(now()));
                    update(table!(), changes, held!(key, token)).execute(conn)
                }

                fn renew_row(conn: &mut $Connection, key: &Key, token: &str) -> QueryResult<Option<Option<DateTime<Utc>>>> {
                    renew!(COLUMNS.lock_at.eq(now()), key, token, conn)
                }

                fn save_row(conn: &mut $Connection, key: &Key, token: &str, updates: &$Updates) -> QueryResult<Option<Option<DateTime<Utc>>>> {
                    renew!((COLUMNS.lock_at.eq(now()), COLUMNS.update_at.eq(now()), updates), key, token, conn)
                }

                fn dead_attempts(conn: &mut $Connection, limit: ::core::primitive::i64, step: &Step<$Status>) -> QueryResult<Vec<DeadAttempt<Self>>> {
                    let rows: Vec<DeadRow> = table!().select(dead!()).filter(expired!(step)).limit(limit).load(conn)?;
                    Ok(::core::iter::Iterator::collect(::core::iter::Iterator::map(::core::iter::IntoIterator::into_iter(rows), dead_of)))
                }

                fn dead_attempt(conn: &mut $Connection, key: &Key, step: &Step<$Status>) -> QueryResult<Option<DeadAttempt<Self>>> {
                    let row: Option<DeadRow> = table!().select(dead!()).filter(is!(key).and(expired!(step))).get_result(conn).optional()?;
                    Ok(row.map(dead_of))
                }

                fn expire_row(conn: &mut $Connection, dead: &DeadAttempt<Self>, setback: Setback<$Status>, errors: Value, step: &Step<$Status>) -> QueryResult<::core::primitive::usize> {
                    update(table!(), setback!(setback, errors), held!(&dead.key, &dead.lock).and(expired!(step))).execute(conn)
                }

                fn reset_row(conn: &mut $Connection, key: &Key, step: &Step<$Status>) -> QueryResult<::core::primitive::usize> {
                    let changes = (
                        COLUMNS.status.eq(step.pending),
                        COLUMNS.lock.eq(None::<&str>),
                        COLUMNS.retry.eq(<RetryType as RetryColumn>::write(0)),
                        $($crate::__job_table_run_at!(@column $run_at COLUMNS).eq(now()),)?
                        COLUMNS.update_at.eq(now()),
                    );
                    let own = one_of(COLUMNS.status, codes(step.codes().map(|(_, code)| code)));
                    let free = COLUMNS.lock.is_null().or(COLUMNS.lock_at.is_null()).or(COLUMNS.lock_at.lt(ago(step.lock_expire)));
                    update(table!(), changes, is!(key).and(own).and(free)).execute(conn)
                }

                fn row(conn: &mut $Connection, key: &Key) -> QueryResult<Option<Self>> {
                    table!().select(row!()).filter(is!(key)).get_result(conn).optional()
                }

                fn rows_by_status(conn: &mut $Connection, status: $Status, limit: ::core::primitive::i64, order: $crate::Order) -> QueryResult<Vec<Self>> {
                    let rows = table!().select(row!()).filter(one_of(COLUMNS.status, codes([status]))).limit(limit);
                    match order {
                        $crate::Order::NewestFirst => rows.order_by(COLUMNS.update_at.desc()).load(conn),
                        _ => rows.order_by(COLUMNS.update_at.asc()).load(conn),
                    }
                }

                fn status_counts(conn: &mut $Connection) -> QueryResult<Vec<($Status, ::core::primitive::i64)>> {
                    table!().group_by(COLUMNS.status).select((COLUMNS.status, diesel::dsl::count_star())).load(conn)
                }
            }
        };
    };
}

/// `run_at`, where the table has it.
#[doc(hidden)]
#[macro_export]
macro_rules! __job_table_run_at {
    (@column $run_at:ident $columns:expr) => {
        $columns.run_at
    };
    (@due $run_at:ident $columns:expr, $now:expr) => {
        $columns.run_at.is_null().or($columns.run_at.le($now))
    };
    (@value $run_at:ident) => {
        <SqlType<<TrackedColumns as ColumnTypes>::RunAt> as TimeColumn>::Value
    };
    (@read $row:ident $run_at:ident) => {
        <SqlType<<TrackedColumns as ColumnTypes>::RunAt> as TimeColumn>::read($row.5)
    };
    (@read $row:ident) => {
        None
    };
}

/// The order in which jobs are taken.
#[doc(hidden)]
#[macro_export]
macro_rules! __job_table_order {
    ($columns:ident []) => { $columns.update_at.asc() };
    ($columns:ident [$($order:expr),+]) => { ($($order,)+) };
}
