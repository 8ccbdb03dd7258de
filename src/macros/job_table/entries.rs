//! What is wrong with the entries of a `job_table!` that does not match.

/// Names the first entry that there is none of; else shows the form.
#[doc(hidden)]
#[macro_export]
macro_rules! __job_table_misfit {
    (key: $($rest:tt)+) => { $crate::__job_table_misfit! { @value $($rest)+ } };
    (status: $($rest:tt)+) => { $crate::__job_table_misfit! { @value $($rest)+ } };
    (updates: $($rest:tt)+) => { $crate::__job_table_misfit! { @value $($rest)+ } };
    (connections: $($rest:tt)+) => { $crate::__job_table_misfit! { @value $($rest)+ } };
    (columns: $($rest:tt)+) => { $crate::__job_table_misfit! { @value $($rest)+ } };
    (order_by: $($rest:tt)+) => { $crate::__job_table_misfit! { @value $($rest)+ } };
    (steps: $($rest:tt)+) => { $crate::__job_table_misfit! { @value $($rest)+ } };
    (status_field: $($rest:tt)+) => { $crate::__job_table_misfit! { @value $($rest)+ } };
    ($other:ident: $($rest:tt)+) => {
        ::core::compile_error! { ::core::concat!(
            "job_table!: `", ::core::stringify!($other), "` is no entry; they are `key`, `status`, `updates`, `connections`, then, if need be and in this order, `columns`, `order_by`, `steps`, `status_field`"
        ) }
    };
    // Past the value, to the name of the next entry.
    (@value , $name:ident: $($rest:tt)*) => { $crate::__job_table_misfit! { $name: $($rest)* } };
    (@value $skipped:tt $($rest:tt)*) => { $crate::__job_table_misfit! { @value $($rest)* } };
    ($($other:tt)*) => {
        ::core::compile_error! { "job_table! expects `Row in table { key: (column: Type), status: Type, updates: Type, connections: [SqliteConnection] }`, with, if need be and in this order at the end, `columns: { lock: my_column }`, `order_by: (…)`, `steps: [ … ]`, `status_field: name`; a table without columns of yours leaves `updates` out" }
    };
}
