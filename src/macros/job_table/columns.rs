//! Which column plays which role.

/// Finds the column of each role: what `columns: { role: name }` says, else the
/// role's own name. An optional role, here in brackets, is left out where nothing
/// names its column.
///
/// To add a role: a line in each of the three lists below, marked `roles`.
#[doc(hidden)]
#[macro_export]
macro_rules! __job_table_columns {
    // Each pair of the user's is one token.
    ([$(($role:ident : $name:ident))*] $table:tt $field:tt) => {
        $($crate::__job_table_role! { $role })*
        $crate::__job_table_columns! {
            @next
            // roles
            [status create_at update_at lock lock_at retry errors [run_at] [started_at]]
            []
            { [$(($role: $name))*] $table $field }
        }
    };

    // For the next role, the search begins with the user's first pair.
    (@next [] $found:tt { $given:tt $table:tt $field:tt }) => {
        $crate::__job_table_has_columns! { $table $table $found }
        $crate::__job_table_status! { $found $field }
    };
    (@next $roles:tt $found:tt { [$($given:tt)*] $($more:tt)* }) => {
        $crate::__job_table_columns! { @find $roles [$($given)*] $found { [$($given)*] $($more)* } }
    };

    // roles
    (@find [status $($roles:tt)*] [(status: $name:ident) $($rest:tt)*] [$($found:tt)*] $more:tt) => {
        $crate::__job_table_columns! { @next [$($roles)*] [$($found)* (status $name)] $more }
    };
    (@find [create_at $($roles:tt)*] [(create_at: $name:ident) $($rest:tt)*] [$($found:tt)*] $more:tt) => {
        $crate::__job_table_columns! { @next [$($roles)*] [$($found)* (create_at $name)] $more }
    };
    (@find [update_at $($roles:tt)*] [(update_at: $name:ident) $($rest:tt)*] [$($found:tt)*] $more:tt) => {
        $crate::__job_table_columns! { @next [$($roles)*] [$($found)* (update_at $name)] $more }
    };
    (@find [lock $($roles:tt)*] [(lock: $name:ident) $($rest:tt)*] [$($found:tt)*] $more:tt) => {
        $crate::__job_table_columns! { @next [$($roles)*] [$($found)* (lock $name)] $more }
    };
    (@find [lock_at $($roles:tt)*] [(lock_at: $name:ident) $($rest:tt)*] [$($found:tt)*] $more:tt) => {
        $crate::__job_table_columns! { @next [$($roles)*] [$($found)* (lock_at $name)] $more }
    };
    (@find [retry $($roles:tt)*] [(retry: $name:ident) $($rest:tt)*] [$($found:tt)*] $more:tt) => {
        $crate::__job_table_columns! { @next [$($roles)*] [$($found)* (retry $name)] $more }
    };
    (@find [errors $($roles:tt)*] [(errors: $name:ident) $($rest:tt)*] [$($found:tt)*] $more:tt) => {
        $crate::__job_table_columns! { @next [$($roles)*] [$($found)* (errors $name)] $more }
    };
    (@find [[run_at] $($roles:tt)*] [(run_at: $name:ident) $($rest:tt)*] [$($found:tt)*] $more:tt) => {
        $crate::__job_table_columns! { @next [$($roles)*] [$($found)* (run_at $name)] $more }
    };
    (@find [[started_at] $($roles:tt)*] [(started_at: $name:ident) $($rest:tt)*] [$($found:tt)*] $more:tt) => {
        $crate::__job_table_columns! { @next [$($roles)*] [$($found)* (started_at $name)] $more }
    };

    // Another role's pair.
    (@find $roles:tt [$other:tt $($rest:tt)*] $found:tt $more:tt) => {
        $crate::__job_table_columns! { @find $roles [$($rest)*] $found $more }
    };
    // Nothing names its column.
    (@find [[$role:ident] $($roles:tt)*] [] $found:tt $more:tt) => {
        $crate::__job_table_columns! { @next [$($roles)*] $found $more }
    };
    (@find [$role:ident $($roles:tt)*] [] [$($found:tt)*] $more:tt) => {
        $crate::__job_table_columns! { @next [$($roles)*] [$($found)* ($role $role)] $more }
    };
}

/// Refuses what is no role.
#[doc(hidden)]
#[macro_export]
macro_rules! __job_table_role {
    // roles
    (status) => {};
    (create_at) => {};
    (update_at) => {};
    (lock) => {};
    (lock_at) => {};
    (retry) => {};
    (errors) => {};
    (run_at) => {};
    (started_at) => {};
    ($other:ident) => {
        ::core::compile_error! { ::core::concat!(
            "job_table!: `", ::core::stringify!($other), "` is no tracked column; `columns` names status, create_at, update_at, lock, lock_at, retry, errors, run_at and started_at, as in `columns: { lock: my_column }`"
        ) }
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
    ([$($path:tt)+] $table:tt [(status $status:ident) $(($role:ident $name:ident))+]) => {
        #[allow(non_camel_case_types, dead_code, missing_debug_implementations, missing_copy_implementations)]
        const _: () = {
            pub struct $status;
            $(pub struct $name;)+

            const _: () = {
                #[allow(unused_imports, clippy::wildcard_imports)]
                use $($path)+::columns::*;
                use $crate::__private::{ColumnInfo, HasColumns, check};

                type JobTableColumn = $crate::__job_table_column!(status $status, $table);
                impl HasColumns for JobTableRow {
                    type Status = JobTableColumn;
                    const COLUMNS: &'static [ColumnInfo] = &[
                        check::status::<JobTableColumn>(),
                        $(check::$role::<$crate::__job_table_column!($role $name, $table)>(),)+
                    ];
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

/// The columns of the key, if the table has them.
#[doc(hidden)]
#[macro_export]
macro_rules! __job_table_key_columns {
    ($table:tt $($key:ident)+) => { JobTableKeyColumns<$($crate::__job_table_column!(@key $key, $table)),+> };
}

/// A column's type, if the table has the column.
#[doc(hidden)]
#[macro_export]
macro_rules! __job_table_column {
    ($role:ident $column:ident, [$($table:tt)+]) => { $crate::__job_table_column!(
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
