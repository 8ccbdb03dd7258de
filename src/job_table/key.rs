//! The key: one column, which stands for itself, or several, which get a struct.

/// What is written differently for one column and for several.
#[doc(hidden)]
#[macro_export]
macro_rules! __job_table_key {
    // The type of the key, and its struct.
    (@type ($column:ident : $Key:ty $(,)?)) => { $Key };
    (@type ($($columns:tt)+)) => { JobTableKey };
    (@struct ($column:ident : $Key:ty $(,)?)) => {};
    (@struct ($($column:ident : $Key:ty),+ $(,)?)) => {
        /// The key of a job, made of a tuple of its columns.
        #[allow(clippy::derive_partial_eq_without_eq)]
        #[derive(::core::clone::Clone, ::core::cmp::PartialEq)]
        pub struct JobTableKey {
            $(
                /// One column of the key.
                pub $column: $Key,
            )+
        }

        impl ::core::fmt::Debug for JobTableKey {
            fn fmt(&self, f_: &mut ::core::fmt::Formatter<'_>) -> ::core::fmt::Result {
                f_.debug_tuple("")$(.field(&self.$column))+.finish()
            }
        }

        #[allow(non_camel_case_types)]
        impl<$($column: ::core::convert::Into<$Key>),+> ::core::convert::From<($($column,)+)> for JobTableKey {
            fn from(parts_: ($($column,)+)) -> Self {
                $crate::__job_table_key! { @parts parts_ {} [$($column)+] [0 1 2 3 4 5 6 7] }
            }
        }
    };

    // The columns themselves, by name, and whether the types of the key fit them.
    (@struct_of_columns ($($column:ident : $Key:ty),+ $(,)?)) => {
        /// The columns of the key.
        #[allow(non_camel_case_types)]
        #[derive(::core::clone::Clone, ::core::marker::Copy, ::core::fmt::Debug)]
        pub struct JobTableKeyColumns<$($column),+> {
            $(
                /// One column of the key.
                pub $column: $column,
            )+
        }

        #[allow(non_camel_case_types)]
        impl<$($column: $crate::__private::diesel::Expression),+> JobTableKeyColumns<$($column),+> {
            const fn guard<JobTableBackend>()
            where
                $($Key: $crate::__private::guard::FitsColumn<$column, <$column as $crate::__private::diesel::Expression>::SqlType, JobTableBackend>,)+
            {
            }
        }
    };

    (@parts $parts:ident { $($field:ident $n:tt)+ } [] $rest:tt) => {
        JobTableKey { $($field: ::core::convert::Into::into($parts.$n)),+ }
    };
    (@parts $parts:ident { $($done:tt)* } [$column:ident $($columns:ident)*] [$n:tt $($rest:tt)*]) => {
        $crate::__job_table_key! { @parts $parts { $($done)* $column $n } [$($columns)*] [$($rest)*] }
    };
    (@parts $parts:ident $done:tt $columns:tt []) => {
        ::core::compile_error! { "job_table!: a key has eight columns at the most" }
    };

    // A value as it is compared with a column of the key.
    (@value postgres $column:expr, $value:expr) => { $crate::__private::key_value($column, $value) };
    (@value $backend:ident $column:expr, $value:expr) => { $crate::__private::bound($column, $value) };

    // Is this the row with this key?
    (@is $backend:ident $columns:expr, $key:expr, ($column:ident : $Key:ty $(,)?)) => {
        $columns.key.$column.eq($crate::__job_table_key!(@value $backend $columns.key.$column, $key))
    };
    (@is $backend:ident $columns:expr, $key:expr, ($first:ident : $First:ty, $($column:ident : $Key:ty),+ $(,)?)) => {
        $columns.key.$first.eq($crate::__job_table_key!(@value $backend $columns.key.$first, &$key.$first))
            $(.and($columns.key.$column.eq($crate::__job_table_key!(@value $backend $columns.key.$column, &$key.$column))))+
    };

    // Is this one of the rows with these keys, which were read? PostgreSQL
    // takes them as one array; the others need a list, whose length the text shows.
    (@is_any postgres $columns:expr, $keys:expr, ($column:ident : $Key:ty $(,)?)) => { $columns.key.$column.eq_any($keys) };
    (@is_any $backend:ident $columns:expr, $keys:expr, $key_columns:tt) => {
        $crate::__job_table_key!(@is_any_given $backend $columns, $keys, $key_columns)
    };

    // The same of keys that the user gave, who may have written them otherwise.
    (@is_any_given $backend:ident $columns:expr, $keys:expr, ($column:ident : $Key:ty $(,)?)) => {
        $crate::__private::one_of(
            $columns.key.$column,
            ::core::iter::Iterator::collect(::core::iter::Iterator::map(
                ::core::iter::IntoIterator::into_iter($crate::__private::padded($keys)),
                |key_| $crate::__job_table_key!(@value $backend $columns.key.$column, key_),
            )),
        )
    };
    (@is_any_given $backend:ident $columns:expr, $keys:expr, ($($columns_of_key:tt)+)) => {
        $crate::__private::any_of(::core::iter::Iterator::collect(::core::iter::Iterator::map(
            ::core::iter::IntoIterator::into_iter($crate::__private::padded($keys)),
            |key_| $crate::__job_table_key!(@is $backend $columns, key_, ($($columns_of_key)+)),
        )))
    };

    // The values of a new row.
    (@values $columns:expr, $key:expr, ($column:ident : $Key:ty $(,)?)) => { ($columns.key.$column.eq($key),) };
    (@values $columns:expr, $key:expr, ($($column:ident : $Key:ty),+ $(,)?)) => {
        ($($columns.key.$column.eq(&$key.$column),)+)
    };

    // What is selected, what it is read as, and the key made of it.
    (@read postgres $columns:expr, ($($column:ident : $Key:ty),+ $(,)?)) => {
        ($($crate::__private::read_key($columns.key.$column),)+)
    };
    (@read $backend:ident $columns:expr, $key_columns:tt) => { $crate::__job_table_key!(@columns $columns, $key_columns) };
    (@columns $columns:expr, ($($column:ident : $Key:ty),+ $(,)?)) => { ($($columns.key.$column,)+) };
    (@names ($($column:ident : $Key:ty),+ $(,)?)) => { &[$(::core::stringify!($column)),+] };
    (@row ($($column:ident : $Key:ty),+ $(,)?)) => { ($($Key,)+) };
    (@of $row:expr, ($column:ident : $Key:ty $(,)?)) => { $row.0 };
    (@of $row:expr, ($($columns:tt)+)) => { <JobTableKey as ::core::convert::From<_>>::from($row) };
}
