//! Which column plays which role.

/// Replaces the default names by those in `columns: { role: name }`, then
/// goes on with all that is generated.
#[doc(hidden)]
#[macro_export]
macro_rules! __job_table_columns {
    ([$({ $($columns:tt)* })?] $model:tt) => {
        $crate::__job_table_columns! { @rename { $($($columns)*)? } [status create_at update_at lock lock_at retry errors] [] $model }
    };

    (@rename { status: $new:ident $(, $($rest:tt)*)? } [$s:ident $c:ident $u:ident $l:ident $a:ident $r:ident $e:ident] $run_at:tt $model:tt) => {
        $crate::__job_table_columns! { @rename { $($($rest)*)? } [$new $c $u $l $a $r $e] $run_at $model }
    };
    (@rename { create_at: $new:ident $(, $($rest:tt)*)? } [$s:ident $c:ident $u:ident $l:ident $a:ident $r:ident $e:ident] $run_at:tt $model:tt) => {
        $crate::__job_table_columns! { @rename { $($($rest)*)? } [$s $new $u $l $a $r $e] $run_at $model }
    };
    (@rename { update_at: $new:ident $(, $($rest:tt)*)? } [$s:ident $c:ident $u:ident $l:ident $a:ident $r:ident $e:ident] $run_at:tt $model:tt) => {
        $crate::__job_table_columns! { @rename { $($($rest)*)? } [$s $c $new $l $a $r $e] $run_at $model }
    };
    (@rename { lock: $new:ident $(, $($rest:tt)*)? } [$s:ident $c:ident $u:ident $l:ident $a:ident $r:ident $e:ident] $run_at:tt $model:tt) => {
        $crate::__job_table_columns! { @rename { $($($rest)*)? } [$s $c $u $new $a $r $e] $run_at $model }
    };
    (@rename { lock_at: $new:ident $(, $($rest:tt)*)? } [$s:ident $c:ident $u:ident $l:ident $a:ident $r:ident $e:ident] $run_at:tt $model:tt) => {
        $crate::__job_table_columns! { @rename { $($($rest)*)? } [$s $c $u $l $new $r $e] $run_at $model }
    };
    (@rename { retry: $new:ident $(, $($rest:tt)*)? } [$s:ident $c:ident $u:ident $l:ident $a:ident $r:ident $e:ident] $run_at:tt $model:tt) => {
        $crate::__job_table_columns! { @rename { $($($rest)*)? } [$s $c $u $l $a $new $e] $run_at $model }
    };
    (@rename { errors: $new:ident $(, $($rest:tt)*)? } [$s:ident $c:ident $u:ident $l:ident $a:ident $r:ident $e:ident] $run_at:tt $model:tt) => {
        $crate::__job_table_columns! { @rename { $($($rest)*)? } [$s $c $u $l $a $r $new] $run_at $model }
    };
    (@rename { run_at: $new:ident $(, $($rest:tt)*)? } $roles:tt $run_at:tt $model:tt) => {
        $crate::__job_table_columns! { @rename { $($($rest)*)? } $roles [$new] $model }
    };
    (@rename {} $roles:tt $run_at:tt $model:tt) => {
        $crate::__job_table_tracked! { $roles $run_at $model }
    };
    (@rename { $other:ident $($rest:tt)* } $roles:tt $run_at:tt $model:tt) => {
        ::core::compile_error! { ::core::concat!(
            "job_table!: `", ::core::stringify!($other), "` is no tracked column; `columns` names status, create_at, update_at, lock, lock_at, retry, errors and run_at, as in `columns: { lock: my_column }`"
        ) }
    };
}
