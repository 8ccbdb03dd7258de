//! What is generated once, whatever the connections.

/// The columns, their checks, the key and `Tracked`; then a store for each
/// connection.
///
/// The user's types are named in the outer block only, whose own names begin
/// with `JobTable`: further in they go by these, and no name of the macro's
/// can stand for one of the user's.
#[doc(hidden)]
#[macro_export]
macro_rules! __job_table_tracked {
    (
        $roles:tt $run_at:tt
        { $Job:ident $table:tt $key:tt [$Status:ty] [$Updates:ty] $connections:tt $order_by:tt $field:tt }
    ) => {
        const _: () = {
            type JobTableRow = $Job;
            type JobTableStatus = $Status;
            type JobTableUpdates = <
                $crate::__private::check::Passed<{ $crate::__private::check::updates::<$Updates, $crate::__job_table_of!($table)>(); true }>
                as $crate::__private::check::Checked<$Updates>
            >::Type;
            $crate::__job_table_key! { @struct $key }
            $crate::__job_table_key! { @struct_of_columns $key }

            impl $crate::Tracked for $Job {
                type Key = $crate::__job_table_key!(@type $key);
                type Status = $Status;
                type Updates = $Updates;
                const TABLE: &'static str = $crate::__job_table_name!($table);
                const HAS_RUN_AT: ::core::primitive::bool = $crate::__job_table_or_unit!(@is_named $run_at);
                const OLDEST_FIRST: ::core::primitive::bool = !$crate::__job_table_or_unit!(@is_named $order_by);

                fn info() -> &'static $crate::TableInfo {
                    static INFO: ::std::sync::OnceLock<$crate::TableInfo> = ::std::sync::OnceLock::new();
                    INFO.get_or_init(|| {
                        <JobTableRow as $crate::__private::HasColumns>::Columns::info(
                            $crate::__job_table_of!($table),
                            &<JobTableRow as $crate::__private::HasKeyColumns>::Columns::names(),
                        )
                    })
                }

                fn number(status_: Self::Status) -> ::core::option::Option<::core::primitive::i64> {
                    use $crate::__private::{IsNoNumber as _, IsNumber as _};
                    type Column = <JobTableRow as $crate::__private::HasColumns>::Status;
                    (&$crate::__private::Probe::<JobTableStatus, <Column as $crate::__private::diesel::Expression>::SqlType>::new(status_)).number()
                }

                fn tracked_column_in_updates() -> ::core::option::Option<&'static str> {
                    static FOUND: ::std::sync::OnceLock<::core::option::Option<&'static str>> = ::std::sync::OnceLock::new();
                    *FOUND.get_or_init(|| {
                        <JobTableRow as $crate::__private::HasColumns>::Columns::set_by::<
                            <&'static JobTableUpdates as $crate::__private::diesel::query_builder::AsChangeset>::Changeset,
                            <JobTableRow as $crate::__private::HasKeyColumns>::Columns,
                        >()
                    })
                }
            }

            $crate::__job_table_has_columns! { $table $run_at $roles }
            $crate::__job_table_has_key_columns! { $table $key }
            $crate::__job_table_status! { $roles $field }

            $crate::__job_table_backends! { $connections $connections { $table $key $order_by } }
        };
    };
}

/// The tracked columns as values, and the checks.
///
/// A missing column is found by name shadowing: the outer block defines a
/// unit struct of each column's name, and the columns of the table, imported
/// in the inner block, take its place where they exist.
#[doc(hidden)]
#[macro_export]
macro_rules! __job_table_has_columns {
    ([$($table:tt)+] [$($run_at:ident)?] [$status:ident $create_at:ident $update_at:ident $lock:ident $lock_at:ident $retry:ident $errors:ident]) => {
        #[allow(non_camel_case_types, dead_code, missing_debug_implementations, missing_copy_implementations)]
        const _: () = {
            pub struct $status;
            pub struct $create_at;
            pub struct $update_at;
            pub struct $lock;
            pub struct $lock_at;
            pub struct $retry;
            pub struct $errors;
            $(pub struct $run_at;)?

            const _: () = {
                #[allow(unused_imports, clippy::wildcard_imports)]
                use $($table)+::columns::*;

                type Status = $crate::__job_table_column!(status $status, $($table)+);
                type CreateAt = $crate::__job_table_column!(create_at $create_at, $($table)+);
                type UpdateAt = $crate::__job_table_column!(update_at $update_at, $($table)+);
                type Lock = $crate::__job_table_column!(lock $lock, $($table)+);
                type LockAt = $crate::__job_table_column!(lock_at $lock_at, $($table)+);
                type Retry = $crate::__job_table_column!(retry $retry, $($table)+);
                type Errors = $crate::__job_table_column!(errors $errors, $($table)+);
                type RunAt = $crate::__job_table_or_unit!(@type [$($table)+] $($run_at)?);
                type Fitting = $crate::__private::check::Passed<{
                    $crate::__private::check::time::<CreateAt>();
                    $crate::__private::check::time::<UpdateAt>();
                    $crate::__private::check::lock::<Lock>();
                    $crate::__private::check::time::<LockAt>();
                    $crate::__private::check::retry::<Retry>();
                    $crate::__private::check::errors::<Errors>();
                    $crate::__job_table_or_unit!(@check RunAt $($run_at)?);
                    true
                }>;

                impl $crate::__private::HasColumns for JobTableRow {
                    type Columns = <Fitting as $crate::__private::check::Checked<$crate::__private::Columns<
                        Status, CreateAt, UpdateAt, Lock, LockAt, Retry, Errors, RunAt,
                    >>>::Type;
                    type Status = Status;
                }
            };
        };
    };
}

/// The same for the columns of the key.
#[doc(hidden)]
#[macro_export]
macro_rules! __job_table_has_key_columns {
    ([$($table:tt)+] ($($key:ident : $Key:ty),+ $(,)?)) => {
        #[allow(non_camel_case_types, dead_code, missing_debug_implementations, missing_copy_implementations)]
        const _: () = {
            $(pub struct $key;)+

            const _: () = {
                #[allow(unused_imports, clippy::wildcard_imports)]
                use $($table)+::columns::*;

                impl $crate::__private::HasKeyColumns for JobTableRow {
                    type Columns = $crate::__job_table_key_columns!([$($table)+] $($key)+);
                }
            };
        };
    };
}

/// A column's type, if the table has the column.
#[doc(hidden)]
#[macro_export]
macro_rules! __job_table_column {
    ($role:ident $column:ident, $($table:tt)+) => { $crate::__job_table_column!(
        @existing $column, ::core::concat!("job_table!: `", ::core::stringify!($($table)+), "` has no column `", ::core::stringify!($column), "`; add it, or name yours in `columns: {{ ", ::core::stringify!($role), ": … }}`")
    ) };
    (@key $column:ident, [$($table:tt)+]) => { $crate::__job_table_column!(
        @existing $column, ::core::concat!("job_table!: `", ::core::stringify!($($table)+), "` has no column `", ::core::stringify!($column), "`, which `key` names")
    ) };
    (@existing $column:ident, $message:expr) => {
        <
            $crate::__private::check::Passed<{
                use $crate::__private::check::Missing as _;
                ::core::assert!(<$crate::__private::check::Existence<$column>>::KNOWN, $message);
                true
            }>
            as $crate::__private::check::Checked<$column>
        >::Type
    };
}

/// The columns of the key, if the table has them.
#[doc(hidden)]
#[macro_export]
macro_rules! __job_table_key_columns {
    ($table:tt $($key:ident)+) => { JobTableKeyColumns<$($crate::__job_table_column!(@key $key, $table)),+> };
}

/// A column that need not be named, and its check.
#[doc(hidden)]
#[macro_export]
macro_rules! __job_table_or_unit {
    (@is_named []) => { false };
    (@is_named [$name:tt]) => { true };
    (@type $table:tt) => { $crate::__private::NoColumn };
    (@check $Column:ident) => { () };
    (@type [$($table:tt)+] $column:ident) => { $crate::__job_table_column!(run_at $column, $($table)+) };
    (@check $Column:ident $column:ident) => { $crate::__private::check::time::<$Column>() };
}

/// Diesel's type of the table.
#[doc(hidden)]
#[macro_export]
macro_rules! __job_table_of {
    ([$($path:tt)+]) => { $($path)+::table };
}

/// The last name of a path.
#[doc(hidden)]
#[macro_export]
macro_rules! __job_table_name {
    ([$name:ident]) => { ::core::stringify!($name) };
    ([$outer:ident :: $($rest:tt)+]) => { $crate::__job_table_name!([$($rest)+]) };
}

/// The field of the row that holds the status, if it has one.
#[doc(hidden)]
#[macro_export]
macro_rules! __job_table_status {
    ($roles:tt [none]) => {};
    ([$column:ident $($roles:ident)*] []) => {
        $crate::__job_table_status! { [] [$column] }
    };
    ($roles:tt [$field:ident]) => {
        const _: () = {
            // Outside the impl, where `status` would be taken for its method.
            fn status_of(row_: &JobTableRow) -> JobTableStatus {
                let row_ = $crate::__private::check::RowNeedsThisFieldOrStatusFieldNone::of(row_);
                $crate::__private::check::StatusField(&row_.$field).get::<JobTableStatus>()
            }

            impl $crate::ShowsStatus for JobTableRow {
                fn status(&self) -> JobTableStatus {
                    status_of(self)
                }
            }
        };
    };
}

/// Refuses a step whose five codes are not distinct.
#[doc(hidden)]
#[macro_export]
macro_rules! __job_table_codes {
    ($Step:ty) => {
        const _: () = {
            use $crate::StatusTracked;
            #[allow(clippy::cast_lossless, clippy::cast_possible_wrap, trivial_numeric_casts)]
            const CODES: [i64; 5] = [
                <$Step>::PENDING as i64,
                <$Step>::IN_PROGRESS as i64,
                <$Step>::FAILED as i64,
                <$Step>::SUCCEEDED as i64,
                <$Step>::IGNORED as i64,
            ];
            ::core::assert!(
                <$Step>::RETRY_DELAY.is_none() || <<$Step as StatusTracked>::Job as $crate::Tracked>::HAS_RUN_AT,
                ::core::concat!("step `", ::core::stringify!($Step), "` sets RETRY_DELAY, but its table has no `run_at` to make a job wait: add the column, and name it in `columns: {{ run_at: … }}` of `job_table!`")
            );
            let mut one_ = 0;
            while one_ < 5 {
                let mut other_ = one_ + 1;
                while other_ < 5 {
                    ::core::assert!(
                        CODES[one_] != CODES[other_],
                        ::core::concat!("two of the status codes PENDING, IN_PROGRESS, FAILED, SUCCEEDED, IGNORED of step `", ::core::stringify!($Step), "` are the same; give each its own")
                    );
                    other_ += 1;
                }
                one_ += 1;
            }
        };
    };
}
