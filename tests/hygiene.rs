//! `job_table!` works wherever it is written: whatever names the module
//! shadows, imports or lacks, and under strict lints.
#![cfg(feature = "sqlite")]
#![deny(
    warnings,
    missing_debug_implementations,
    missing_docs,
    trivial_casts,
    trivial_numeric_casts,
    unreachable_pub
)]

/// `job_table!` over every connection that the features allow.
#[cfg(not(all(feature = "postgres", feature = "mysql")))]
macro_rules! track {
    ($Job:ident in $($table:ident)::+ { $($first:tt)* } $($last:tt)*) => {
        ::diesel_status_tracker::job_table! {
            $Job in $($table)::+ { $($first)* connections: [SqliteConnection], $($last)* }
        }
    };
}
#[cfg(all(feature = "postgres", feature = "mysql"))]
macro_rules! track {
    ($Job:ident in $($table:ident)::+ { $($first:tt)* } $($last:tt)*) => {
        ::diesel_status_tracker::job_table! {
            $Job in $($table)::+ { $($first)* connections: [SqliteConnection, PgConnection, MysqlConnection], $($last)* }
        }
    };
}

/// The usual codes, for a row type that is its own step.
macro_rules! codes {
    ($Job:ident) => {
        impl ::diesel_status_tracker::StatusTracked for $Job {
            type Job = $Job;
            const PENDING: i32 = 10;
            const IN_PROGRESS: i32 = 20;
            const FAILED: i32 = 30;
            const SUCCEEDED: i32 = 40;
            const IGNORED: i32 = 50;
        }
    };
}

/// A row type that reads nothing but the key, and a type of updates.
macro_rules! row {
    ($vis:vis $Row:ident, $Updates:ident of $table:path { $key:ident, $set:ident }) => {
        /// A row.
        #[derive(Debug, diesel::Queryable, diesel::Selectable)]
        #[diesel(table_name = $table)]
        $vis struct $Row {
            /// Its key.
            #[allow(dead_code)]
            $vis $key: String,
        }

        /// What the user sets.
        #[derive(Debug, Default, diesel::Insertable, diesel::AsChangeset)]
        #[diesel(table_name = $table)]
        $vis struct $Updates {
            /// One column.
            $vis $set: Option<String>,
        }
    };
}

/// Tables, one of them in a nested module.
pub mod schema {
    diesel::table! {
        /// The usual names.
        jobs (id) {
            /// .
            id -> Text,
            /// .
            status -> Integer,
            /// .
            create_at -> Timestamp,
            /// .
            update_at -> Timestamp,
            /// .
            lock -> Nullable<Text>,
            /// .
            lock_at -> Nullable<Timestamp>,
            /// .
            retry -> Integer,
            /// .
            errors -> Json,
            /// .
            data -> Nullable<Text>,
        }
    }

    /// Columns named as the variables, functions and modules of the generated code.
    pub mod names {
        diesel::table! {
            /// As the title says.
            update (key, conn) {
                /// .
                key -> Text,
                /// .
                conn -> BigInt,
                /// .
                status -> Integer,
                /// .
                now -> Timestamp,
                /// .
                ago -> Timestamp,
                /// .
                token -> Nullable<Text>,
                /// .
                guard -> Nullable<Timestamp>,
                /// .
                step -> Integer,
                /// .
                errors -> Json,
                /// .
                limit -> Nullable<Timestamp>,
                /// .
                row -> Integer,
                /// .
                rows -> Integer,
                /// .
                code -> Integer,
                /// .
                codes -> Integer,
                /// .
                order -> Integer,
                /// .
                setback -> Integer,
                /// .
                updates -> Nullable<Text>,
                /// .
                changes -> Integer,
                /// .
                claim -> Integer,
                /// .
                dead -> Integer,
                /// .
                own -> Integer,
                /// .
                free -> Integer,
                /// .
                job -> Integer,
                /// .
                number -> Integer,
                /// .
                parts -> Integer,
                /// .
                error -> Integer,
                /// .
                other -> Integer,
                /// .
                f -> Integer,
            }
        }
    }
}

/// Names that the expansion uses, or might.
#[allow(dead_code)]
mod shadowed_names {
    mod rows {
        row!(pub(super) Job, JobUpdates of crate::schema::jobs { id, data });
    }
    use rows::{Job, JobUpdates};

    mod alloc {}
    mod chrono {}
    mod core {}
    mod diesel {}
    mod guard {}
    mod serde_json {}
    mod std {}

    struct AsChangeset;
    struct Backend;
    struct Batch;
    struct Checked;
    struct Claimed;
    struct Clone;
    struct Code;
    struct Column;
    struct Columns;
    struct Connection;
    struct Copy;
    struct DateTime;
    struct DeadAttempt;
    struct Debug;
    struct Default;
    struct Err;
    struct Fitting;
    struct From;
    struct Insertable;
    struct Into;
    struct Iterator;
    struct JobStore;
    struct Key;
    struct None;
    struct Ok;
    struct Option;
    struct Order;
    struct PartialEq;
    struct Passed;
    struct Probe;
    struct QueryResult;
    struct Queryable;
    struct Result;
    struct Row;
    struct RowState;
    struct RunQueryDsl;
    struct Selectable;
    struct Setback;
    struct Some;
    struct SqlType;
    struct Status;
    struct Step;
    struct String;
    struct Table;
    struct Tracked;
    struct Updates;
    struct Utc;
    struct Value;
    struct Vec;
    const COLUMNS: () = ();
    const CODES: () = ();

    track! {
        Job in crate::schema::jobs { key: (id: ::std::string::String), status: i32, updates: JobUpdates, }
        steps: [Job], status_field: none,
    }

    codes! { Job }
}

/// The user's types have names that the expansion uses.
mod names_of_the_expansion {
    use diesel::deserialize::FromSqlRow;
    use diesel::expression::AsExpression;

    row!(Step, Value of crate::schema::jobs { id, data });

    ::diesel_status_tracker::status_codes! {
        enum Code { Batch = 1, Claimed = 2, Setback = 3, Probe = 4, Key = 5 }
    }

    track! {
        Step in crate::schema::jobs { key: (id: String), status: Code, updates: Value, }
        steps: [Step], status_field: none,
    }

    impl diesel_status_tracker::StatusTracked for Step {
        type Job = Step;
        const PENDING: Code = Code::Batch;
        const IN_PROGRESS: Code = Code::Claimed;
        const FAILED: Code = Code::Setback;
        const SUCCEEDED: Code = Code::Probe;
        const IGNORED: Code = Code::Key;
    }

    row!(Row, Updates of crate::schema::names::update { key, updates });

    /// One part of the key.
    #[derive(Debug, Clone, PartialEq, AsExpression, FromSqlRow)]
    #[diesel(sql_type = diesel::sql_types::Text)]
    struct Key(String);

    impl<DB: diesel::backend::Backend> diesel::serialize::ToSql<diesel::sql_types::Text, DB> for Key
    where
        String: diesel::serialize::ToSql<diesel::sql_types::Text, DB>,
    {
        fn to_sql<'b>(
            &'b self,
            out: &mut diesel::serialize::Output<'b, '_, DB>,
        ) -> diesel::serialize::Result {
            self.0.to_sql(out)
        }
    }

    impl<DB: diesel::backend::Backend> diesel::deserialize::FromSql<diesel::sql_types::Text, DB> for Key
    where
        String: diesel::deserialize::FromSql<diesel::sql_types::Text, DB>,
    {
        fn from_sql(bytes: DB::RawValue<'_>) -> diesel::deserialize::Result<Self> {
            String::from_sql(bytes).map(Self)
        }
    }

    track! {
        Row in crate::schema::names::update { key: (key: Key, conn: i64), status: i32, updates: Updates, }
        columns: { create_at: now, update_at: ago, lock: token, lock_at: guard, retry: step },
        status_field: none,
    }

    codes! { Row }
}

/// All columns are imported, and every variable of the expansion has the name of one.
mod imported_columns {
    mod rows {
        row!(pub(super) Job, JobUpdates of crate::schema::names::update { key, updates });
    }
    use crate::schema::names::update;
    use crate::schema::names::update::dsl::*;
    use rows::{Job, JobUpdates};

    track! {
        Job in update { key: (key: String, conn: i64), status: i32, updates: JobUpdates, }
        columns: { create_at: now, update_at: ago, lock: token, lock_at: guard, retry: step, run_at: limit },
        order_by: (code.desc(), row.asc(), now.asc()),
        status_field: none,
    }

    codes! { Job }
}

/// Columns of the usual names are imported one by one.
mod imported_usual_columns {
    mod rows {
        row!(pub(super) Job, JobUpdates of crate::schema::jobs { id, data });
    }
    use crate::schema::jobs::columns::*;
    use crate::schema::jobs::{self, table};
    use rows::{Job, JobUpdates};

    track! {
        Job in jobs { key: (id: String), status: i32, updates: JobUpdates, }
        order_by: (diesel::ExpressionMethods::asc(create_at), diesel::ExpressionMethods::desc(retry)),
        status_field: none,
    }

    #[test]
    fn the_imports_stay_usable() {
        use diesel::prelude::*;
        let query = table
            .select((status, lock, lock_at, update_at, errors, data))
            .filter(id.eq("a"));
        assert!(
            diesel::debug_query::<diesel::sqlite::Sqlite, _>(&query)
                .to_string()
                .contains("FROM `jobs`")
        );
    }
}

/// The rows of the next module: Diesel's derives do not work there.
#[allow(dead_code)]
mod rows {
    row!(pub(super) Job, JobUpdates of crate::schema::jobs { id, data });
    row!(pub(super) Composite, CompositeUpdates of crate::schema::names::update { key, updates });
    row!(pub(super) Keys, NoUpdates of crate::schema::names::update { key, updates });
}

/// Nothing is in scope that was not imported.
#[no_implicit_prelude]
mod without_prelude {
    use super::rows::{Composite, CompositeUpdates, Job, JobUpdates, Keys};

    track! {
        Job in crate::schema::jobs { key: (id: ::std::string::String), status: i32, updates: JobUpdates, }
        steps: [Job], status_field: none,
    }

    codes! { Job }

    track! {
        Composite in crate::schema::names::update { key: (key: ::std::string::String, conn: i64), status: i32, updates: CompositeUpdates, }
        columns: { create_at: now, update_at: ago, lock: token, lock_at: guard, retry: step, run_at: limit },
        status_field: none,
    }

    track! {
        Keys in crate::schema::names::update { key: (key: ::std::string::String, conn: i64), status: i32, }
        columns: { create_at: now, update_at: ago, lock: token, lock_at: guard, retry: step, started_at: limit },
        status_field: none,
    }
}

/// Another trait has methods of the same names for every type, as in a module
/// that uses asynchronous queries too.
#[allow(dead_code)]
mod other_query_traits {
    row!(Job, JobUpdates of crate::schema::jobs { id, data });

    trait RunQueryDsl<Conn>: Sized {
        fn execute(self, _: &mut Conn) {}
        fn first(self, _: &mut Conn) {}
        fn get_result(self, _: &mut Conn) {}
        fn get_results(self, _: &mut Conn) {}
        fn load(self, _: &mut Conn) {}
    }
    impl<T, Conn> RunQueryDsl<Conn> for T {}

    trait OptionalExtension: Sized {
        fn optional(self) {}
    }
    impl<T> OptionalExtension for T {}

    track! {
        Job in crate::schema::jobs { key: (id: String), status: i32, updates: JobUpdates, }
        status_field: none,
    }
}

/// Several in one module, private and public, and nothing else in it.
pub mod several {
    use crate::schema::jobs;
    use crate::schema::names::update;
    use diesel_status_tracker::{StatusTracked, status_codes};

    status_codes! {
        /// Codes.
        pub enum Status {
            /// .
            Pending = 10,
            /// .
            InProgress = 20,
            /// .
            Failed = 30,
            /// .
            Succeeded = 40,
            /// .
            Ignored = 50,
        }
    }

    /// A row that shows its status.
    #[derive(Debug, Clone, diesel::Queryable, diesel::Selectable)]
    #[diesel(table_name = jobs)]
    pub struct Public {
        /// .
        pub id: String,
        /// .
        pub status: Status,
    }

    /// What the user sets.
    #[derive(Debug, Clone, Default, diesel::Insertable, diesel::AsChangeset)]
    #[diesel(table_name = jobs)]
    pub struct Updates {
        /// .
        pub data: Option<String>,
    }

    row!(Private, PrivateUpdates of jobs { id, data });
    row!(pub Composite, CompositeUpdates of update { key, updates });
    row!(pub(crate) Inner, InnerUpdates of update { key, updates });

    track! { Public in jobs { key: (id: String), status: Status, updates: Updates, } steps: [Public], }
    track! { Private in jobs { key: (id: String), status: Status, updates: PrivateUpdates, } status_field: none }
    track! {
        Composite in update { key: (key: String, conn: i64,), status: Status, updates: CompositeUpdates, }
        columns: { create_at: now, update_at: ago, lock: token, lock_at: guard, retry: step },
        status_field: none,
    }
    track! {
        Inner in update { key: (key: String, conn: i64), status: Status, updates: InnerUpdates, }
        columns: { create_at: now, update_at: ago, lock: token, lock_at: guard, retry: step, },
        order_by: (update::code.desc(),),
        status_field: none,
    }

    macro_rules! steps {
        ($($Step:ident of $Row:ident),*) => {$(
            impl StatusTracked for $Step {
                type Job = $Row;
                const PENDING: Status = Status::Pending;
                const IN_PROGRESS: Status = Status::InProgress;
                const FAILED: Status = Status::Failed;
                const SUCCEEDED: Status = Status::Succeeded;
                const IGNORED: Status = Status::Ignored;
            }
        )*};
    }
    steps!(Public of Public, Private of Private, Composite of Composite, Inner of Inner);
}

/// Inside a function; and the key of several columns is made of a tuple.
#[test]
fn in_a_function_with_a_composite_key() {
    use diesel_status_tracker::KeyOf;

    row!(Job, JobUpdates of crate::schema::names::update { key, updates });

    codes!(Job);
    track! {
        Job in crate::schema::names::update { key: (key: String, conn: i64), status: i32, updates: JobUpdates, }
        columns: { create_at: now, update_at: ago, lock: token, lock_at: guard, retry: step },
        status_field: none,
    }

    let key = KeyOf::<Job>::from(("a", 7));
    assert_eq!((key.key.as_str(), key.conn), ("a", 7));
    assert_eq!(format!("{key:?}"), r#"("a", 7)"#);
    assert!(key == key.clone());
}

/// A `&mut` is moved into a call; `&mut *` lends it.
#[test]
fn a_borrowed_connection_serves_more_than_one_call() -> Result<(), Box<dyn std::error::Error>> {
    use crate::several::{Public, Updates};
    use diesel::prelude::*;
    use diesel_status_tracker::StatusTracked;

    fn create_and_find(
        conn: &mut SqliteConnection,
    ) -> diesel_status_tracker::Result<Option<Public>> {
        Public::create_and_save(&mut *conn, "a", Updates::default())?;
        Public::find(conn, "a")
    }

    let conn = &mut SqliteConnection::establish(":memory:")?;
    diesel::connection::SimpleConnection::batch_execute(
        conn,
        "CREATE TABLE jobs (id TEXT PRIMARY KEY, status INTEGER NOT NULL, create_at TIMESTAMP NOT NULL, update_at TIMESTAMP NOT NULL,
         lock TEXT, lock_at TIMESTAMP, retry INTEGER NOT NULL, errors TEXT NOT NULL, data TEXT)",
    )?;
    assert!(create_and_find(conn)?.is_some_and(|job| job.id == "a" && Public::is_pending(&job)));
    Ok(())
}
