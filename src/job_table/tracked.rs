//! What is generated once, whatever the connections.

/// The columns, their guards, the key and `Tracked`; then a store for each
/// connection.
#[doc(hidden)]
#[macro_export]
macro_rules! __job_table_tracked {
    (
        [$status:ident $create_at:ident $update_at:ident $lock:ident $lock_at:ident $retry:ident $errors:ident] $run_at:tt
        { $Job:ident $table:tt $key:tt [$Status:ty] [$Updates:ty] [$($Connection:ident)+] $order_by:tt $field:tt }
    ) => {
        const _: () = {
            $crate::__job_table_key! { @struct $key }
            $crate::__job_table_has_columns! {
                $Job $table $key $run_at [$status $create_at $update_at $lock $lock_at $retry $errors]
            }

            type TrackedColumns = <$Job as $crate::__private::HasColumns>::Columns;

            impl $crate::Tracked for $Job {
                type Key = $crate::__job_table_key!(@type $key);
                type Status = $Status;
                type Updates = $Updates;
                const TABLE: &'static str = $crate::__job_table_name!($table);

                fn tracked_column_in_updates() -> ::core::option::Option<&'static str> {
                    static FOUND: ::std::sync::OnceLock<::core::option::Option<&'static str>> = ::std::sync::OnceLock::new();
                    *FOUND.get_or_init(|| {
                        TrackedColumns::set_by::<
                            <&'static $Updates as $crate::__private::diesel::query_builder::AsChangeset>::Changeset,
                        >()
                    })
                }
            }

            $crate::__job_table_status! { $Job [$Status] $status $field }

            $(
                $crate::__job_table_backend! {
                    $Connection { $Job $table $key [$Status] [$Updates] $run_at $order_by }
                }
            )+
        };
    };
}

/// The tracked columns as values, and the guards.
///
/// A missing column is found by name shadowing: the outer block defines a
/// unit struct of each column's name, and the columns of the table, imported
/// in the inner block, take its place where they exist.
#[doc(hidden)]
#[macro_export]
macro_rules! __job_table_has_columns {
    ($Job:ident [$($table:tt)+] ($($key:ident : $Key:ty),+ $(,)?) [$($run_at:ident)?] [$status:ident $create_at:ident $update_at:ident $lock:ident $lock_at:ident $retry:ident $errors:ident]) => {
        /// The columns of the key.
        #[allow(non_camel_case_types)]
        #[derive(::core::clone::Clone, ::core::marker::Copy, ::core::fmt::Debug)]
        pub struct KeyColumns<$($key),+> {
            $(
                /// One column of the key.
                pub $key: $key,
            )+
        }

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
            $(pub struct $key;)+

            const _: () = {
                #[allow(unused_imports, clippy::wildcard_imports)]
                use $($table)+::columns::*;

                const _: () = {
                    use $crate::__private::guard;
                    guard::exists::<$status>();
                    guard::exists::<$create_at>();
                    guard::exists::<$update_at>();
                    guard::exists::<$lock>();
                    guard::exists::<$lock_at>();
                    guard::exists::<$retry>();
                    guard::exists::<$errors>();
                    $(guard::exists::<$run_at>();)?
                    $(guard::exists::<$key>();)+
                    guard::time::<$create_at>();
                    guard::time::<$update_at>();
                    guard::lock::<$lock>();
                    guard::nullable_time::<$lock_at>();
                    guard::retry::<$retry>();
                    guard::errors::<$errors>();
                    $(guard::nullable_time::<$run_at>();)?
                };

                impl $crate::__private::HasColumns for $Job {
                    type Columns = $crate::__private::Columns<
                        $status, $create_at, $update_at, $lock, $lock_at, $retry, $errors, $crate::__job_table_or_unit!($($run_at)?), KeyColumns<$($key),+>
                    >;
                    const COLUMNS: Self::Columns = $crate::__private::Columns {
                        status: $status,
                        create_at: $create_at,
                        update_at: $update_at,
                        lock: $lock,
                        lock_at: $lock_at,
                        retry: $retry,
                        errors: $errors,
                        run_at: $crate::__job_table_or_unit!($($run_at)?),
                        key: KeyColumns { $($key: $key),+ },
                    };
                }
            };
        };
    };
}

/// A column that the table may lack, as a type or a value.
#[doc(hidden)]
#[macro_export]
macro_rules! __job_table_or_unit {
    () => {
        ()
    };
    ($column:ident) => {
        $column
    };
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
    ($Job:ident $Status:tt $column:ident [none]) => {};
    ($Job:ident $Status:tt $column:ident []) => {
        $crate::__job_table_status! { $Job $Status $column [$column] }
    };
    ($Job:ident [$Status:ty] $column:ident [$field:ident]) => {
        impl $crate::ShowsStatus for $Job {
            fn status(&self) -> $Status {
                self.$field
            }
        }
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
            let mut one = 0;
            while one < 5 {
                let mut other = one + 1;
                while other < 5 {
                    ::core::assert!(
                        CODES[one] != CODES[other],
                        ::core::concat!("two of the status codes PENDING, IN_PROGRESS, FAILED, SUCCEEDED, IGNORED of step `", ::core::stringify!($Step), "` are the same; give each its own")
                    );
                    other += 1;
                }
                one += 1;
            }
        };
    };
}
