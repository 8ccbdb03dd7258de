//! What is generated once, whatever the connections.

/// `Tracked`. The names that begin with `JobTable` are those of the block that
/// `job_table!` opens.
#[doc(hidden)]
#[macro_export]
macro_rules! __job_table_tracked {
    ([$($table:tt)+] $key:tt $order_by:tt) => {
        impl $crate::Tracked for JobTableRow {
            type Key = $crate::__job_table_key!(@type $key);
            type Status = JobTableStatus;
            type Updates = JobTableUpdates;
            const HAS_RUN_AT: ::core::primitive::bool =
                $crate::__private::has_run_at(<JobTableRow as $crate::__private::HasColumns>::COLUMNS);
            const OLDEST_FIRST: ::core::primitive::bool = $crate::__job_table_order!(@is_default $order_by);

            fn info() -> &'static $crate::TableInfo {
                static INFO: ::std::sync::OnceLock<$crate::TableInfo> = ::std::sync::OnceLock::new();
                INFO.get_or_init(|| {
                    $crate::__private::info::<JobTableRow, _>(
                        $($table)+::table,
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
                *FOUND.get_or_init($crate::__private::tracked_column_in::<JobTableRow, JobTableChanges>)
            }
        }
    };
}

/// The type of the updates, and of what they change; `()` where there are none.
#[doc(hidden)]
#[macro_export]
macro_rules! __job_table_updates {
    ([$($table:tt)+] [$Updates:ty]) => {
        type JobTableUpdates = <
            $crate::__private::check::Passed<{ $crate::__private::check::updates::<$Updates, $($table)+::table>(); true }>
            as $crate::__private::check::Checked<$Updates>
        >::Type;
        type JobTableChanges = <&'static JobTableUpdates as $crate::__private::diesel::query_builder::AsChangeset>::Changeset;
    };
    ($table:tt []) => {
        type JobTableUpdates = ();
        type JobTableChanges = ();
    };
}

/// The field of the row that holds the status, if it has one.
#[doc(hidden)]
#[macro_export]
macro_rules! __job_table_status {
    ($columns:tt [none]) => {};
    ([(status $column:ident) $($columns:tt)*] []) => {
        $crate::__job_table_status! { [] [$column] }
    };
    ($columns:tt [$field:ident]) => {
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
