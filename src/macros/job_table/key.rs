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
        #[allow(non_camel_case_types, missing_debug_implementations, missing_copy_implementations)]
        pub struct JobTableKeyColumns<$($column),+>($(::core::marker::PhantomData<$column>),+);

        #[allow(non_camel_case_types)]
        impl<$($column: $crate::__private::diesel::Expression),+> JobTableKeyColumns<$($column),+> {
            const fn check<JobTableBackend>()
            where
                $($Key: $crate::__private::check::FitsColumn<$column, <$column as $crate::__private::diesel::Expression>::SqlType, JobTableBackend>,)+
            {
            }
        }

        #[allow(non_camel_case_types)]
        impl<$($column: $crate::__private::diesel::Column<SqlType: 'static>),+> JobTableKeyColumns<$($column),+> {
            fn names() -> [(&'static ::core::primitive::str, ::core::primitive::bool); [$(::core::stringify!($column)),+].len()] {
                [$($crate::__private::key_column::<$column>()),+]
            }
        }

        /// Their SQL types, by name.
        #[allow(non_camel_case_types)]
        trait JobTableKeyTypes {
            $(type $column;)+
        }

        #[allow(non_camel_case_types)]
        impl<$($column: $crate::__private::diesel::Expression),+> JobTableKeyTypes for JobTableKeyColumns<$($column),+> {
            $(type $column = <$column as $crate::__private::diesel::Expression>::SqlType;)+
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

    // Binding, writing and reading it.
    (@bind $key:ident, $at:ident, $out:ident, ($column:ident : $Key:ty $(,)?)) => {
        $out.push_bind_param::<<KeyTypes as JobTableKeyTypes>::$column, _>($key)
    };
    (@bind $key:ident, $at:ident, $out:ident, ($($column:ident : $Key:ty),+ $(,)?)) => {{
        let mut before_ = 0;
        $(
            if $at == before_ {
                return $out.push_bind_param::<<KeyTypes as JobTableKeyTypes>::$column, _>(&$key.$column);
            }
            before_ += 1;
        )+
        ::core::debug_assert!($at < before_);
        Ok(())
    }};
    (@write $key:ident, $at:ident, $out:ident, ($column:ident : $Key:ty $(,)?)) => {
        serialize::ToSql::<<KeyTypes as JobTableKeyTypes>::$column, Backend>::to_sql($key, $out)
    };
    (@write $key:ident, $at:ident, $out:ident, ($($column:ident : $Key:ty),+ $(,)?)) => {{
        let mut before_ = 0;
        $(
            if $at == before_ {
                return serialize::ToSql::<<KeyTypes as JobTableKeyTypes>::$column, Backend>::to_sql(&$key.$column, $out);
            }
            before_ += 1;
        )+
        ::core::debug_assert!($at < before_);
        Ok(serialize::IsNull::Yes)
    }};
    (@bind_array postgres $keys:ident, $out:ident, ($column:ident : $Key:ty $(,)?)) => {
        $out.push_bind_param::<diesel::sql_types::Array<<KeyTypes as JobTableKeyTypes>::$column>, [Key]>($keys)
    };
    (@bind_array $backend:ident $keys:ident, $out:ident, $columns:tt) => {{
        let _ = ($keys, &mut $out);
        Ok(())
    }};
    (@read $row:ident, $first:ident, ($column:ident : $Key:ty $(,)?)) => {
        __private::read_column::<<KeyTypes as JobTableKeyTypes>::$column, _, Backend>($row, $first)
    };
    (@read $row:ident, $first:ident, ($($column:ident : $Key:ty),+ $(,)?)) => {{
        let mut next_ = $first..;
        Ok(JobTableKey {
            $($column: __private::read_column::<<KeyTypes as JobTableKeyTypes>::$column, _, Backend>(
                $row, ::core::iter::Iterator::next(&mut next_).unwrap_or_default(),
            )?,)+
        })
    }};
}
