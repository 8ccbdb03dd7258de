//! Every SQL statement, once.

/// `JobStore` over one connection type.
///
/// `claimed`, `held` and `ready` are the recurring parts: what a claim reads,
/// the fence (key *and* token), and what makes a row ready.
///
/// Local names end in an underscore: a column that the user's module imports
/// would stand in for the local of its name.
#[doc(hidden)]
#[macro_export]
macro_rules! __job_table_store {
    (
        $backend:ident $Connection:ty, $Backend:ty,
        { [$($table:tt)+] $key_columns:tt [$($run_at:ident)?] [$(($($order:expr),+ $(,)?))?] }
    ) => {
        const _: () = {
            use $crate::__private::diesel::{
                BoolExpressionMethods as _, ExpressionMethods as _, QueryDsl as _,
            };
            use $crate::__private::{
                self as __private, Batch, Claimed, Code, ColumnTypes, DeadAttempt, ErrorsColumn, HasColumns, IsNoNumber as _,
                IsNumber as _, Lenient, LockWait, Probe, Ready, Renewed, RetryColumn, RowState, Search, FailureOutcome, Step, Texts, TimeColumn, guard,
            };
            use $crate::__private::chrono::{DateTime, Utc};
            use $crate::__private::diesel::{self, QueryResult};
            use $crate::__private::serde_json::Value;
            use ::core::option::Option::{self, None, Some};
            use ::core::result::Result::Ok;
            use ::core::time::Duration;
            use ::std::string::String;
            use ::std::vec::Vec;

            type SqlType<Column> = <Column as diesel::Expression>::SqlType;
            type TrackedColumns = <JobTableRow as HasColumns>::Columns;
            type StatusColumn = <TrackedColumns as ColumnTypes>::Status;
            type NowType = SqlType<<TrackedColumns as ColumnTypes>::UpdateAt>;
            type LockAtType = SqlType<<TrackedColumns as ColumnTypes>::LockAt>;
            type RetryType = SqlType<<TrackedColumns as ColumnTypes>::Retry>;
            type ErrorsType = SqlType<<TrackedColumns as ColumnTypes>::Errors>;

            type Backend = $Backend;
            type Selected = guard::Passed<{ guard::selects::<JobTableRow, Backend>(); true }>;
            type Fitting = guard::Passed<{
                guard::value::<JobTableStatus, StatusColumn, Backend>();
                <<TrackedColumns as ColumnTypes>::Key>::guard::<Backend>();
                guard::reads::<<Selected as guard::Checked<JobTableRow>>::Type, Backend>();
                true
            }>;
            type Connection = <Fitting as guard::Checked<$Connection>>::Type;
            type Row = <Fitting as guard::Checked<JobTableRow>>::Type;
            type Status = <Fitting as guard::Checked<JobTableStatus>>::Type;
            type KeyRow = <Fitting as guard::Checked<JobTableKeyRow>>::Type;
            type Key = <Fitting as guard::Checked<<JobTableRow as $crate::Tracked>::Key>>::Type;
            type Updates = JobTableUpdates;

            type ClaimedRow = (
                Row, KeyRow, <LockAtType as TimeColumn>::Value, <RetryType as RetryColumn>::Value, <ErrorsType as ErrorsColumn>::Value,
            );
            type StateRow = (
                Status, Option<String>, <LockAtType as TimeColumn>::Value, <RetryType as RetryColumn>::Value, <NowType as TimeColumn>::Value
                $(, $crate::__job_table_run_at!(@value $run_at))?
            );
            type RenewedRow = (KeyRow, Option<String>, <LockAtType as TimeColumn>::Value);
            type DeadRow = (
                KeyRow, Option<String>, <RetryType as RetryColumn>::Value, <ErrorsType as ErrorsColumn>::Value, <NowType as TimeColumn>::Value,
            );

            const COLUMNS: TrackedColumns = <JobTableRow as HasColumns>::COLUMNS;

            fn key_of(row_: KeyRow) -> Key {
                $crate::__job_table_key!(@of row_, $key_columns)
            }

            fn claimed_of(row_: ClaimedRow) -> Claimed<Row> {
                Claimed {
                    job: row_.0,
                    key: key_of(row_.1),
                    lock_at: <LockAtType as TimeColumn>::read(row_.2),
                    retry: <RetryType as RetryColumn>::read(row_.3),
                    errors: <ErrorsType as ErrorsColumn>::read(row_.4),
                }
            }

            fn ready_of(row_: (KeyRow, Lenient<<NowType as TimeColumn>::Value>)) -> Ready<Key> {
                Ready { key: key_of(row_.0), update_at: row_.1.0.and_then(<NowType as TimeColumn>::read) }
            }

            fn keys_of(rows_: Vec<KeyRow>) -> Vec<Key> {
                ::core::iter::Iterator::collect(::core::iter::Iterator::map(::core::iter::IntoIterator::into_iter(rows_), key_of))
            }

            fn state_of(row_: StateRow) -> RowState<Status> {
                RowState {
                    status: row_.0,
                    lock: row_.1,
                    lock_at: <LockAtType as TimeColumn>::read(row_.2),
                    retry: <RetryType as RetryColumn>::read(row_.3),
                    now: <NowType as TimeColumn>::read(row_.4).unwrap_or_default(),
                    run_at: $crate::__job_table_run_at!(@read row_ $($run_at)?),
                }
            }

            fn dead_of(row_: DeadRow) -> DeadAttempt<Row> {
                DeadAttempt {
                    key: key_of(row_.0),
                    lock: row_.1.unwrap_or_default(),
                    retry: <RetryType as RetryColumn>::read(row_.2),
                    errors: <ErrorsType as ErrorsColumn>::read(row_.3),
                    now: <NowType as TimeColumn>::read(row_.4).unwrap_or_default(),
                }
            }

            fn code_of(status_: Status) -> Code<Status, SqlType<StatusColumn>> {
                let number_ = (&Probe::<Status, SqlType<StatusColumn>>::new(status_)).number();
                Code::new(status_, number_)
            }

            fn codes_of(statuses_: impl ::core::iter::IntoIterator<Item = Status>) -> Vec<Code<Status, SqlType<StatusColumn>>> {
                ::core::iter::Iterator::collect(::core::iter::Iterator::map(::core::iter::IntoIterator::into_iter(statuses_), code_of))
            }

            /// Whether a statement that sets `updates_` stays prepared.
            fn is_kept(texts_: &Texts, updates_: &Updates) -> QueryResult<::core::primitive::bool> {
                texts_.keeps_part::<Backend, _>(&diesel::query_builder::AsChangeset::as_changeset(updates_))
            }

            macro_rules! table { () => { $($table)+::table } }
            macro_rules! row { () => { <Row as diesel::SelectableHelper<Backend>>::as_select() } }
            macro_rules! key { () => { $crate::__job_table_key!(@columns COLUMNS, $key_columns) } }
            macro_rules! read_key { () => { $crate::__job_table_key!(@read $backend COLUMNS, $key_columns) } }
            macro_rules! claimed {
                () => { (row!(), read_key!(), COLUMNS.lock_at, COLUMNS.retry, COLUMNS.errors) };
                ($place:expr, $since:expr) => { (row!(), read_key!(), COLUMNS.lock_at, COLUMNS.retry, COLUMNS.errors, $place, $since) };
            }
            // By path: the user's module may hold other traits with methods of these names.
            macro_rules! execute { ($statement:expr, $conn:expr) => { diesel::RunQueryDsl::execute($statement, $conn) } }
            macro_rules! load { ($query:expr, $conn:expr) => { diesel::RunQueryDsl::load($query, $conn) } }
            macro_rules! find { ($query:expr, $conn:expr) => {
                diesel::OptionalExtension::optional(diesel::RunQueryDsl::get_result($query, $conn))
            } }
            macro_rules! taken {
                ($key:expr, $conn:expr) => { taken!(@found table!().select(key!()).filter(is!($key)), $conn) };
                // As others have committed it, whatever this transaction has seen before.
                ($key:expr, $conn:expr, now) => { taken!(@found table!().select(key!()).filter(is!($key)).for_update(), $conn) };
                (@found $query:expr, $conn:expr) => { {
                    let key_: Option<KeyRow> = find!($query, $conn)?;
                    key_.is_some()
                } };
            }
            macro_rules! read_claimed { ($key:expr, $token:expr, $conn:expr) => {
                find!(table!().select(claimed!()).filter(held!($key, $token)), $conn)
            } }
            macro_rules! dead { () => { (read_key!(), COLUMNS.lock, COLUMNS.retry, COLUMNS.errors, __private::now::<NowType>()) } }
            macro_rules! order { () => { $crate::__job_table_order!(COLUMNS [$($($order),+)?]) } }
            macro_rules! is { ($key:expr) => { $crate::__job_table_key!(@is $backend COLUMNS, $key, $key_columns) } }
            macro_rules! is_any { ($keys:expr) => { $crate::__job_table_key!(@is_any $backend COLUMNS, $keys, $key_columns) } }
            macro_rules! is_any_given { ($keys:expr) => { $crate::__job_table_key!(@is_any_given $backend COLUMNS, $keys, $key_columns) } }
            macro_rules! held_any { ($keys:expr, $token:expr) => { is_any!($keys).and($crate::__job_table_bears!($backend COLUMNS.lock, $token)) } }
            macro_rules! held { ($key:expr, $token:expr) => { is!($key).and($crate::__job_table_bears!($backend COLUMNS.lock, $token)) } }
            macro_rules! ready { ($step:expr) => { ready_in!($step.ready()) } }
            macro_rules! ready_in { ($statuses:expr) => {
                COLUMNS.lock.is_null().and(__private::one_of(COLUMNS.status, codes_of($statuses)))
                    $(.and($crate::__job_table_run_at!(@due $run_at COLUMNS, __private::now())))?
            } }
            macro_rules! since { ($since:expr) => { $since.map(|time_| COLUMNS.update_at.ge(<NowType as TimeColumn>::write(time_))) } }
            macro_rules! expired { ($step:expr) => {
                COLUMNS.lock.is_not_null()
                    .and(__private::one_of(COLUMNS.status, codes_of([$step.in_progress])))
                    .and(COLUMNS.lock_at.lt(__private::ago($step.lock_expire)))
            } }
            macro_rules! stale { ($statuses:expr, $unchanged_for:expr) => {
                COLUMNS.lock.is_null()
                    .and(__private::one_of(COLUMNS.status, codes_of(::core::iter::Iterator::copied($statuses.iter()))))
                    .and(COLUMNS.update_at.lt(__private::ago($unchanged_for)))
            } }
            macro_rules! claim { ($step:expr, $token:expr) => { (
                COLUMNS.status.eq($step.in_progress),
                COLUMNS.lock.eq($token),
                COLUMNS.lock_at.eq(__private::stamp()),
                COLUMNS.update_at.eq(__private::stamp()),
            ) } }
            macro_rules! success { ($step:expr) => { (
                COLUMNS.status.eq($step.succeeded),
                COLUMNS.lock.eq(None::<&str>),
                COLUMNS.retry.eq(<RetryType as RetryColumn>::write(0)),
                COLUMNS.update_at.eq(__private::stamp()),
            ) } }
            macro_rules! setback { ($setback:expr, $errors:expr) => { (
                COLUMNS.status.eq($setback.status),
                COLUMNS.lock.eq(None::<&str>),
                COLUMNS.retry.eq(<RetryType as RetryColumn>::write($setback.retry)),
                COLUMNS.errors.eq(<ErrorsType as ErrorsColumn>::write($errors)),
                COLUMNS.update_at.eq(__private::stamp()),
                $($setback.delay.map(|delay_| $crate::__job_table_run_at!(@column $run_at COLUMNS).eq(__private::from_now(delay_))),)?
            ) } }
            macro_rules! new_row { ($key:expr, $updates:expr, $step:expr) => { (
                $crate::__job_table_key!(@values COLUMNS, $key, $key_columns),
                COLUMNS.status.eq($step.pending),
                COLUMNS.create_at.eq(__private::now()),
                COLUMNS.update_at.eq(__private::now()),
                COLUMNS.lock_at.eq(<LockAtType as TimeColumn>::never()),
                COLUMNS.retry.eq(<RetryType as RetryColumn>::write(0)),
                COLUMNS.errors.eq(<ErrorsType as ErrorsColumn>::write(Value::Object(::core::default::Default::default()))),
                $updates,
            ) } }

            impl $crate::JobStore<$Connection> for JobTableRow {
                fn insert_row(conn_: &mut Connection, key_: &Key, updates_: &Updates, step_: &Step<Status>) -> QueryResult<Option<Self>> {
                    $crate::__job_table_insert_row! {
                        $backend diesel::insert_into(table!()).values(new_row!(key_, updates_, step_)),
                        key!(), row!(), conn_, <Self as $crate::JobStore<Connection>>::row(conn_, key_),
                        taken!(key_, conn_, now),
                        <&Updates as diesel::Insertable<$($table)+::table>>::values(updates_)
                    }
                }

                fn insert_rows(conn_: &mut Connection, rows_: &[(Key, Updates)], step_: &Step<Status>) -> QueryResult<::core::primitive::usize> {
                    $crate::__job_table_insert_rows! { $backend table!(), new_row, taken, key!(), rows_, conn_, step_ }
                }

                fn claim_row<JobTableStep: 'static>(conn_: &mut Connection, key_: &Key, token_: &str, step_: &Step<Status>, wait_: LockWait) -> QueryResult<Option<Claimed<Self>>> {
                    let claim_ = __private::update(table!(), claim!(step_, token_), is!(key_).and(ready!(step_)), wait_);
                    macro_rules! run_as { ($Id:ty) => {
                        $crate::__job_table_changed! {
                            $backend __private::unvarying::<$Id, _>(claim_), claimed!(), conn_, read_claimed!(key_, token_, conn_)
                        }?
                    } }
                    let row_: Option<ClaimedRow> = match wait_ {
                        LockWait::Never if <Backend as __private::LimitsLockWait>::IN_TEXT => run_as!((Connection, Row, JobTableStep, LockWait)),
                        _ => run_as!((Connection, Row, JobTableStep)),
                    };
                    Ok(row_.map(claimed_of))
                }

                fn claim_rows<JobTableStep: 'static>(conn_: &mut Connection, limit_: ::core::primitive::usize, token_: &str, step_: &Step<Status>, search_: &Search<Key>) -> QueryResult<Batch<Self>> {
                    macro_rules! candidates { () => {
                        table!()
                            .select((key!(), COLUMNS.update_at))
                            .filter(__private::narrowed(ready!(step_), since!(search_.since), search_.past.some().map(|keys_| is_any!(keys_))))
                            .order_by(order!())
                    } }
                    macro_rules! free_keys { ($keys:expr) => {
                        table!().select(key!()).filter(is_any!($keys).and(ready!(step_))).for_update().skip_locked()
                    } }
                    macro_rules! claim_keys { ($keys:expr) => {
                        __private::update(table!(), claim!(step_, token_), is_any!($keys).and(ready!(step_)), LockWait::Never)
                    } }
                    macro_rules! claimed_keys { ($keys:expr) => {
                        table!().select(claimed!()).filter(held_any!($keys, token_))
                    } }
                    static TEXTS: Texts = Texts::new();
                    macro_rules! is_kept { ($limit:expr) => { TEXTS.keeps_limit::<JobTableStep>($limit) } }
                    $crate::__job_table_claim_rows! {
                        $backend table!(), claim!(step_, token_), candidates, free_keys, claim_keys, claimed_keys, key!(), $crate::__job_table_key!(@names $key_columns),
                        claimed, claimed_of, limit_, token_, step_, search_, conn_, is_kept
                    }
                }

                fn ready_rows(conn_: &mut Connection, limit_: ::core::primitive::usize, step_: &Step<Status>, since_: Option<DateTime<Utc>>) -> QueryResult<Vec<Ready<Key>>> {
                    macro_rules! ready_since { ($statuses:expr) => {
                        __private::narrowed(ready_in!($statuses), since!(since_), None::<__private::Code<::core::primitive::bool, diesel::sql_types::Bool>>)
                    } }
                    let rows_: Vec<(KeyRow, Lenient<<NowType as TimeColumn>::Value>)> = load!($crate::__job_table_first_rows! {
                        $backend table!(), key!(), (read_key!(), COLUMNS.update_at), step_.ready(), ready_since, order!(), limit_
                    }, conn_)?;
                    Ok(::core::iter::Iterator::collect(::core::iter::Iterator::map(::core::iter::IntoIterator::into_iter(rows_), ready_of)))
                }

                fn free_keys(conn_: &mut Connection, keys_: &[Key]) -> QueryResult<Vec<Key>> {
                    $crate::__job_table_free_keys! { $backend table!().select(read_key!()).filter(is_any!(keys_)), keys_, conn_ }
                }

                fn retries(conn_: &mut Connection, key_: &Key) -> QueryResult<Option<::core::primitive::i32>> {
                    let retry_: Option<<RetryType as RetryColumn>::Value> = find!(table!().select(COLUMNS.retry).filter(is!(key_)), conn_)?;
                    Ok(retry_.map(<RetryType as RetryColumn>::read))
                }

                fn claimed_row(conn_: &mut Connection, key_: &Key, token_: &str) -> QueryResult<Option<Claimed<Self>>> {
                    let row_: Option<ClaimedRow> = read_claimed!(key_, token_, conn_)?;
                    Ok(row_.map(claimed_of))
                }

                fn claimed_keys(conn_: &mut Connection, token_: &str, step_: &Step<Status>) -> QueryResult<Vec<Key>> {
                    // By status too, for the index on it: there is none on the lock.
                    let rows_: Vec<KeyRow> = load!(
                        table!()
                            .select(read_key!())
                            .filter(__private::one_of(COLUMNS.status, codes_of([step_.in_progress])).and(COLUMNS.lock.eq(token_)))
                            .order_by(order!()),
                        conn_
                    )?;
                    Ok(keys_of(rows_))
                }

                fn row_state(conn_: &mut Connection, key_: &Key) -> QueryResult<Option<RowState<Status>>> {
                    let row_: Option<StateRow> = find!(
                        table!()
                            .select((COLUMNS.status, COLUMNS.lock, COLUMNS.lock_at, COLUMNS.retry, __private::now::<NowType>() $(, $crate::__job_table_run_at!(@column $run_at COLUMNS))?))
                            .filter(is!(key_)),
                        conn_
                    )?;
                    Ok(row_.map(state_of))
                }

                fn succeed_row(conn_: &mut Connection, key_: &Key, token_: &str, updates_: &Updates, step_: &Step<Status>, wait_: LockWait) -> QueryResult<::core::primitive::usize> {
                    static TEXTS: Texts = Texts::new();
                    let success_ = __private::update(table!(), (success!(step_), updates_), held!(key_, token_), wait_);
                    execute!(__private::kept(is_kept(&TEXTS, updates_)?, success_), conn_)
                }

                fn succeed_rows(conn_: &mut Connection, keys_: &[Key], token_: &str, step_: &Step<Status>) -> QueryResult<::core::primitive::usize> {
                    execute!(__private::update(table!(), success!(step_), held_any!(keys_, token_), LockWait::Briefly), conn_)
                }

                fn sets_nothing(updates_: &Updates) -> QueryResult<::core::primitive::bool> {
                    let changes_ = diesel::query_builder::AsChangeset::as_changeset(updates_);
                    diesel::query_builder::QueryFragment::<Backend>::is_noop(&changes_, &::core::default::Default::default())
                }

                fn fail_row(conn_: &mut Connection, key_: &Key, token_: &str, setback_: FailureOutcome<Status>, errors_: Value, wait_: LockWait) -> QueryResult<::core::primitive::usize> {
                    execute!(__private::update(table!(), setback!(setback_, errors_), held!(key_, token_), wait_), conn_)
                }

                fn release_rows(conn_: &mut Connection, keys_: &[Key], token_: &str, status_: Status, wait_: LockWait) -> QueryResult<::core::primitive::usize> {
                    let changes_ = (COLUMNS.status.eq(status_), COLUMNS.lock.eq(None::<&str>), COLUMNS.update_at.eq(__private::stamp()));
                    execute!(__private::update(table!(), changes_, held_any!(keys_, token_), wait_), conn_)
                }

                fn take_row(conn_: &mut Connection, key_: &Key, token_: &str) -> QueryResult<::core::primitive::bool> {
                    $crate::__job_table_take_row! {
                        $backend table!().select(read_key!()).filter(held!(key_, token_)), KeyRow, conn_,
                        <Self as $crate::JobStore<Connection>>::renew_rows(
                            conn_, ::core::slice::from_ref(key_), &[token_], LockWait::Never
                        )
                    }
                }

                fn renew_rows(conn_: &mut Connection, keys_: &[Key], tokens_: &[&str], wait_: LockWait) -> QueryResult<Vec<Renewed<Key>>> {
                    macro_rules! held_by_us { () => { is_any!(keys_).and(__private::one_of(
                        COLUMNS.lock,
                        ::core::iter::Iterator::collect(::core::iter::Iterator::map(
                            ::core::iter::IntoIterator::into_iter(__private::padded(tokens_)),
                            |token_| __private::bound(COLUMNS.lock, *token_),
                        )),
                    )) } }
                    let rows_: Vec<RenewedRow> = $crate::__job_table_changed_rows! {
                        $backend __private::update(table!(), COLUMNS.lock_at.eq(__private::stamp()), held_by_us!(), wait_),
                        (read_key!(), COLUMNS.lock, COLUMNS.lock_at), conn_,
                        table!().select((read_key!(), COLUMNS.lock, COLUMNS.lock_at)).filter(held_by_us!())
                    }?;
                    Ok(::core::iter::Iterator::collect(::core::iter::Iterator::map(
                        ::core::iter::IntoIterator::into_iter(rows_),
                        |row_| Renewed {
                            key: key_of(row_.0),
                            lock: row_.1.unwrap_or_default(),
                            lock_at: <LockAtType as TimeColumn>::read(row_.2),
                        },
                    )))
                }

                fn save_row(conn_: &mut Connection, key_: &Key, token_: &str, updates_: &Updates) -> QueryResult<Option<Option<DateTime<Utc>>>> {
                    static TEXTS: Texts = Texts::new();
                    let changes_ = (COLUMNS.lock_at.eq(__private::stamp()), COLUMNS.update_at.eq(__private::stamp()), updates_);
                    let save_ = __private::update(table!(), changes_, held!(key_, token_), LockWait::Briefly);
                    let save_ = __private::kept(is_kept(&TEXTS, updates_)?, save_);
                    let lock_at_: Option<<LockAtType as TimeColumn>::Value> = $crate::__job_table_changed! {
                        $backend save_, COLUMNS.lock_at, conn_,
                        find!(table!().select(COLUMNS.lock_at).filter(held!(key_, token_)), conn_)
                    }?;
                    Ok(lock_at_.map(<LockAtType as TimeColumn>::read))
                }

                fn dead_keys(conn_: &mut Connection, limit_: ::core::primitive::usize, step_: &Step<Status>) -> QueryResult<Vec<Key>> {
                    let limit_ = ::core::convert::TryFrom::try_from(limit_).unwrap_or(::core::primitive::i64::MAX);
                    Ok(keys_of(load!(table!().select(read_key!()).filter(expired!(step_)).order_by(COLUMNS.lock_at).limit(limit_), conn_)?))
                }

                fn dead_attempt(conn_: &mut Connection, key_: &Key, step_: &Step<Status>) -> QueryResult<Option<DeadAttempt<Self>>> {
                    let row_: Option<DeadRow> = find!(table!().select(dead!()).filter(is!(key_).and(expired!(step_))), conn_)?;
                    Ok(row_.map(dead_of))
                }

                fn expire_row(conn_: &mut Connection, dead_: &DeadAttempt<Row>, setback_: FailureOutcome<Status>, errors_: Value, step_: &Step<Status>) -> QueryResult<::core::primitive::usize> {
                    execute!(__private::update(table!(), setback!(setback_, errors_), held!(&dead_.key, &dead_.lock).and(expired!(step_)), LockWait::Never), conn_)
                }

                fn reset_rows(conn_: &mut Connection, keys_: &[Key], step_: &Step<Status>, wait_: LockWait) -> QueryResult<::core::primitive::usize> {
                    let changes_ = (
                        COLUMNS.status.eq(step_.pending),
                        COLUMNS.lock.eq(None::<&str>),
                        COLUMNS.retry.eq(<RetryType as RetryColumn>::write(0)),
                        $($crate::__job_table_run_at!(@column $run_at COLUMNS).eq(__private::now()),)?
                        COLUMNS.update_at.eq(__private::stamp()),
                    );
                    let own_ = __private::one_of(COLUMNS.status, codes_of(step_.codes().map(|(_, code_)| code_)));
                    let free_ = COLUMNS.lock.is_null().or(COLUMNS.lock_at.is_null()).or(COLUMNS.lock_at.lt(__private::ago(step_.lock_expire)));
                    execute!(__private::update(table!(), changes_, is_any_given!(keys_).and(own_).and(free_), wait_), conn_)
                }

                fn stale_keys(conn_: &mut Connection, limit_: ::core::primitive::usize, statuses_: &[Status], unchanged_for_: Duration) -> QueryResult<Vec<Key>> {
                    let limit_ = ::core::convert::TryFrom::try_from(limit_).unwrap_or(::core::primitive::i64::MAX);
                    Ok(keys_of(load!(table!().select(read_key!()).filter(stale!(statuses_, unchanged_for_)).limit(limit_), conn_)?))
                }

                fn delete_stale_rows(conn_: &mut Connection, keys_: &[Key], statuses_: &[Status], unchanged_for_: Duration, wait_: LockWait) -> QueryResult<::core::primitive::usize> {
                    execute!(__private::delete(table!(), is_any!(keys_).and(stale!(statuses_, unchanged_for_)), wait_), conn_)
                }

                fn row(conn_: &mut Connection, key_: &Key) -> QueryResult<Option<Self>> {
                    find!(table!().select(row!()).filter(is!(key_)), conn_)
                }

                fn rows_by_status(conn_: &mut Connection, status_: Status, limit_: ::core::primitive::i64, order_: $crate::Order) -> QueryResult<Vec<Self>> {
                    let rows_ = table!().select(row!()).filter(__private::one_of(COLUMNS.status, codes_of([status_]))).limit(limit_);
                    match order_ {
                        $crate::Order::NewestFirst => load!(rows_.order_by(COLUMNS.update_at.desc()), conn_),
                        _ => load!(rows_.order_by(COLUMNS.update_at.asc()), conn_),
                    }
                }

                fn status_counts(conn_: &mut Connection) -> QueryResult<Vec<(Status, ::core::primitive::i64)>> {
                    load!(table!().group_by(COLUMNS.status).select((COLUMNS.status, diesel::dsl::count_star())), conn_)
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
