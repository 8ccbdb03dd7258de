//! What the families of each database are written with.

/// A step with the codes of `Status`, and what else it sets.
macro_rules! step {
    ($Step:ident on $Job:ident { $($more:tt)* }) => {
        impl diesel_status_tracker::StatusTracked for $Step {
            type Job = $Job;
            const PENDING: Status = Status::Pending;
            const IN_PROGRESS: Status = Status::InProgress;
            const FAILED: Status = Status::Failed;
            const SUCCEEDED: Status = Status::Succeeded;
            const IGNORED: Status = Status::Ignored;
            $($more)*
        }
    };
}

/// Holds that an error is of a kind: `assert_err!(error, Locked)`, or with what it
/// says, `assert_err!(error, Ignored { retry: 3, .. })`.
macro_rules! assert_err {
    ($error:expr, $Kind:ident) => {
        assert_err!($error, $Kind { .. })
    };
    ($error:expr, $Kind:ident { $($field:tt)* }) => {{
        let error = &$error;
        let is_so = matches!(error, diesel_status_tracker::Error::$Kind { $($field)* });
        assert!(is_so, "{error:?}");
    }};
}

/// `job_table!` over these connections. Each module has a `tracked!` of this, since
/// `job_table!` knows connections by their names and sees through no alias.
macro_rules! tracked_over {
    ([$($Connection:ident),+] $Job:ident in $table:ident {
        key: $key:tt, status: $Status:ty, updates: $Updates:ty $(, $($more:tt)*)?
    }) => {
        diesel_status_tracker::job_table! {
            $Job in $table { key: $key, status: $Status, updates: $Updates, connections: [$($Connection),+] $(, $($more)*)? }
        }
    };
    ([$($Connection:ident),+] $Job:ident in $table:ident { key: $key:tt, status: $Status:ty $(, $($more:tt)*)? }) => {
        diesel_status_tracker::job_table! {
            $Job in $table { key: $key, status: $Status, connections: [$($Connection),+] $(, $($more)*)? }
        }
    };
}
