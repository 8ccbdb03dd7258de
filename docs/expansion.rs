use super::{Job, JobUpdates, jobs};
const _: () =
    {
        type JobTableRow = Job;
        type JobTableStatus = i32;
        type JobTableUpdates =
            <::diesel_status_tracker::__private::check::Passed<{
                ::diesel_status_tracker::__private::check::updates::<JobUpdates,
                        jobs::table>();
                true
            }> as
            ::diesel_status_tracker::__private::check::Checked<JobUpdates>>::Type;
        type JobTableChanges =
            <&'static JobTableUpdates as
            ::diesel_status_tracker::__private::diesel::query_builder::AsChangeset>::Changeset;
        /// The columns of the key.
        #[allow(non_camel_case_types, missing_debug_implementations,
        missing_copy_implementations)]
        pub struct JobTableKeyColumns<id>(::core::marker::PhantomData<id>);
        #[allow(non_camel_case_types)]
        impl<id: ::diesel_status_tracker::__private::diesel::Expression>
            JobTableKeyColumns<id> {
            const fn check<JobTableBackend>() where
                String: ::diesel_status_tracker::__private::check::FitsColumn<id,
                <id as
                ::diesel_status_tracker::__private::diesel::Expression>::SqlType,
                JobTableBackend> {}
        }
        #[allow(non_camel_case_types)]
        impl<id: ::diesel_status_tracker::__private::diesel::Column<SqlType
            : 'static>> JobTableKeyColumns<id> {
            fn names()
                ->
                    [(&'static ::core::primitive::str,
                    ::core::primitive::bool); ["id"].len()] {
                [::diesel_status_tracker::__private::key_column::<id>()]
            }
        }
        /// Their SQL types, by name.
        #[allow(non_camel_case_types)]
        trait JobTableKeyTypes {
            type id;
        }
        #[allow(non_camel_case_types)]
        impl<id: ::diesel_status_tracker::__private::diesel::Expression>
            JobTableKeyTypes for JobTableKeyColumns<id> {
            type id =
                <id as
                ::diesel_status_tracker::__private::diesel::Expression>::SqlType;
        }
        #[allow(non_camel_case_types, dead_code,
        missing_debug_implementations, missing_copy_implementations)]
        const _: () =
            {
                pub struct status;
                pub struct create_at;
                pub struct update_at;
                pub struct lock;
                pub struct lock_at;
                pub struct retry;
                pub struct errors;
                const _: () =
                    {
                        #[allow(unused_imports, clippy :: wildcard_imports)]
                        use jobs::columns::*;
                        use ::diesel_status_tracker::__private::{
                            ColumnInfo, HasColumns, check,
                        };
                        type JobTableColumn =
                            <::diesel_status_tracker::__private::check::Passed<{
                                use ::diesel_status_tracker::__private::check::Missing as _;
                                if !<::diesel_status_tracker::__private::check::Existence<status>>::KNOWN
                                    {
                                    {
                                        ::core::panicking::panic_fmt(format_args!("job_table!: `jobs` has no column `status`; add it, or name yours in `columns: {{ status: … }}`"));
                                    }
                                };
                                true
                            }> as
                            ::diesel_status_tracker::__private::check::Checked<status>>::Type;
                        impl HasColumns for JobTableRow {
                            type Status = JobTableColumn;
                            const COLUMNS: &'static [ColumnInfo] =
                                &[check::status::<JobTableColumn>(),
                                            check::create_at::<<::diesel_status_tracker::__private::check::Passed<{
                                                        use ::diesel_status_tracker::__private::check::Missing as _;
                                                        if !<::diesel_status_tracker::__private::check::Existence<create_at>>::KNOWN
                                                            {
                                                            {
                                                                ::core::panicking::panic_fmt(format_args!("job_table!: `jobs` has no column `create_at`; add it, or name yours in `columns: {{ create_at: … }}`"));
                                                            }
                                                        };
                                                        true
                                                    }> as
                                                    ::diesel_status_tracker::__private::check::Checked<create_at>>::Type>(),
                                            check::update_at::<<::diesel_status_tracker::__private::check::Passed<{
                                                        use ::diesel_status_tracker::__private::check::Missing as _;
                                                        if !<::diesel_status_tracker::__private::check::Existence<update_at>>::KNOWN
                                                            {
                                                            {
                                                                ::core::panicking::panic_fmt(format_args!("job_table!: `jobs` has no column `update_at`; add it, or name yours in `columns: {{ update_at: … }}`"));
                                                            }
                                                        };
                                                        true
                                                    }> as
                                                    ::diesel_status_tracker::__private::check::Checked<update_at>>::Type>(),
                                            check::lock::<<::diesel_status_tracker::__private::check::Passed<{
                                                        use ::diesel_status_tracker::__private::check::Missing as _;
                                                        if !<::diesel_status_tracker::__private::check::Existence<lock>>::KNOWN
                                                            {
                                                            {
                                                                ::core::panicking::panic_fmt(format_args!("job_table!: `jobs` has no column `lock`; add it, or name yours in `columns: {{ lock: … }}`"));
                                                            }
                                                        };
                                                        true
                                                    }> as
                                                    ::diesel_status_tracker::__private::check::Checked<lock>>::Type>(),
                                            check::lock_at::<<::diesel_status_tracker::__private::check::Passed<{
                                                        use ::diesel_status_tracker::__private::check::Missing as _;
                                                        if !<::diesel_status_tracker::__private::check::Existence<lock_at>>::KNOWN
                                                            {
                                                            {
                                                                ::core::panicking::panic_fmt(format_args!("job_table!: `jobs` has no column `lock_at`; add it, or name yours in `columns: {{ lock_at: … }}`"));
                                                            }
                                                        };
                                                        true
                                                    }> as
                                                    ::diesel_status_tracker::__private::check::Checked<lock_at>>::Type>(),
                                            check::retry::<<::diesel_status_tracker::__private::check::Passed<{
                                                        use ::diesel_status_tracker::__private::check::Missing as _;
                                                        if !<::diesel_status_tracker::__private::check::Existence<retry>>::KNOWN
                                                            {
                                                            {
                                                                ::core::panicking::panic_fmt(format_args!("job_table!: `jobs` has no column `retry`; add it, or name yours in `columns: {{ retry: … }}`"));
                                                            }
                                                        };
                                                        true
                                                    }> as
                                                    ::diesel_status_tracker::__private::check::Checked<retry>>::Type>(),
                                            check::errors::<<::diesel_status_tracker::__private::check::Passed<{
                                                        use ::diesel_status_tracker::__private::check::Missing as _;
                                                        if !<::diesel_status_tracker::__private::check::Existence<errors>>::KNOWN
                                                            {
                                                            {
                                                                ::core::panicking::panic_fmt(format_args!("job_table!: `jobs` has no column `errors`; add it, or name yours in `columns: {{ errors: … }}`"));
                                                            }
                                                        };
                                                        true
                                                    }> as
                                                    ::diesel_status_tracker::__private::check::Checked<errors>>::Type>()];
                        }
                    };
            };
        const _: () =
            {
                fn status_of(row_: &JobTableRow) -> JobTableStatus {
                    let row_ =
                        ::diesel_status_tracker::__private::check::RowNeedsThisFieldOrStatusFieldNone::of(row_);
                    ::diesel_status_tracker::__private::check::StatusField(&row_.status).get::<JobTableStatus>()
                }
                impl ::diesel_status_tracker::ShowsStatus for JobTableRow {
                    fn status(&self) -> JobTableStatus { status_of(self) }
                }
            };
        #[allow(non_camel_case_types, dead_code,
        missing_debug_implementations, missing_copy_implementations)]
        const _: () =
            {
                pub struct id;
                const _: () =
                    {
                        #[allow(unused_imports, clippy :: wildcard_imports)]
                        use jobs::columns::*;
                        impl ::diesel_status_tracker::__private::HasKeyColumns for
                            JobTableRow {
                            type Columns =
                                JobTableKeyColumns<<::diesel_status_tracker::__private::check::Passed<{
                                    use ::diesel_status_tracker::__private::check::Missing as _;
                                    if !<::diesel_status_tracker::__private::check::Existence<id>>::KNOWN
                                        {
                                        {
                                            ::core::panicking::panic_fmt(format_args!("job_table!: `jobs` has no column `id`, which `key` names"));
                                        }
                                    };
                                    true
                                }> as
                                ::diesel_status_tracker::__private::check::Checked<id>>::Type>;
                        }
                    };
            };
        impl ::diesel_status_tracker::Tracked for JobTableRow {
            type Key = String;
            type Status = JobTableStatus;
            type Updates = JobTableUpdates;
            const HAS_RUN_AT: ::core::primitive::bool =
                ::diesel_status_tracker::__private::has_run_at(<JobTableRow
                        as
                        ::diesel_status_tracker::__private::HasColumns>::COLUMNS);
            const OLDEST_FIRST: ::core::primitive::bool = true;
            fn info() -> &'static ::diesel_status_tracker::TableInfo {
                static INFO:
                    ::std::sync::OnceLock<::diesel_status_tracker::TableInfo> =
                    ::std::sync::OnceLock::new();
                INFO.get_or_init(||
                        {
                            ::diesel_status_tracker::__private::info::<JobTableRow,
                                    _>(jobs::table,
                                &<JobTableRow as
                                            ::diesel_status_tracker::__private::HasKeyColumns>::Columns::names())
                        })
            }
            fn number(status_: Self::Status)
                -> ::core::option::Option<::core::primitive::i64> {
                use ::diesel_status_tracker::__private::{
                    IsNoNumber as _, IsNumber as _,
                };
                type Column =
                    <JobTableRow as
                    ::diesel_status_tracker::__private::HasColumns>::Status;
                (&::diesel_status_tracker::__private::Probe::<JobTableStatus,
                                    <Column as
                                    ::diesel_status_tracker::__private::diesel::Expression>::SqlType>::new(status_)).number()
            }
            fn tracked_column_in_updates()
                -> ::core::option::Option<&'static str> {
                static FOUND:
                    ::std::sync::OnceLock<::core::option::Option<&'static str>>
                    =
                    ::std::sync::OnceLock::new();
                *FOUND.get_or_init(::diesel_status_tracker::__private::tracked_column_in::<JobTableRow,
                            JobTableChanges>)
            }
        }
        const _: () =
            {
                use ::core::option::Option::{self, None, Some};
                use ::core::primitive::{bool, usize};
                use ::core::result::Result::Ok;
                use ::std::vec::Vec;
                use ::diesel_status_tracker::__private::diesel::query_builder::AstPass;
                use ::diesel_status_tracker::__private::diesel::serialize::Output;
                use ::diesel_status_tracker::__private::diesel::{
                    self, ExpressionMethods as _, QueryResult, deserialize,
                    serialize,
                };
                use ::diesel_status_tracker::__private::{
                    self as __private, Call, Dialect, Fragments, HasColumns,
                    HasKeyColumns, Record, Statement, TableTexts, check,
                };
                type SqlType<Column> =
                    <Column as diesel::Expression>::SqlType;
                type StatusColumn = <JobTableRow as HasColumns>::Status;
                type KeyTypes = <JobTableRow as HasKeyColumns>::Columns;
                type Backend =
                    ::diesel_status_tracker::__private::diesel::sqlite::Sqlite;
                type Selected =
                    check::Passed<{
                        check::selects::<JobTableRow, Backend>();
                        true
                    }>;
                type Fitting =
                    check::Passed<{
                        check::value::<JobTableStatus, StatusColumn, Backend>();
                        KeyTypes::check::<Backend>();
                        check::reads::<<Selected as
                                check::Checked<JobTableRow>>::Type, Backend>();
                        true
                    }>;
                type Connection =
                    <Fitting as
                    check::Checked<::diesel_status_tracker::__private::diesel::SqliteConnection>>::Type;
                type Row = <Fitting as check::Checked<JobTableRow>>::Type;
                type Status =
                    <Fitting as check::Checked<JobTableStatus>>::Type;
                type Key =
                    <Fitting as
                    check::Checked<<JobTableRow as
                    ::diesel_status_tracker::Tracked>::Key>>::Type;
                type Updates = JobTableUpdates;
                impl __private::TableOn<::diesel_status_tracker::__private::diesel::sqlite::Sqlite>
                    for JobTableRow {
                    fn bind_key<'b>(key_: &'b Key, column_: usize,
                        mut out_: AstPass<'_, 'b, Backend>) -> QueryResult<()> {
                        out_.push_bind_param::<<KeyTypes as JobTableKeyTypes>::id,
                            _>(key_)
                    }
                    fn write_key<'b>(key_: &'b Key, column_: usize,
                        out_: &mut Output<'b, '_, Backend>) -> serialize::Result {
                        serialize::ToSql::<<KeyTypes as JobTableKeyTypes>::id,
                                Backend>::to_sql(key_, out_)
                    }
                    fn bind_keys<'b>(keys_: &'b [Key],
                        mut out_: AstPass<'_, 'b, Backend>) -> QueryResult<()> {
                        { let _ = (keys_, &mut out_); Ok(()) }
                    }
                    fn read_key<'a>(row_: &impl diesel::row::Row<'a, Backend>,
                        first_: usize) -> deserialize::Result<Key> {
                        __private::read_column::<<KeyTypes as JobTableKeyTypes>::id,
                                _, Backend>(row_, first_)
                    }
                    fn bind_status<'b>(status_: &'b Status,
                        mut out_: AstPass<'_, 'b, Backend>) -> QueryResult<()> {
                        out_.push_bind_param::<SqlType<StatusColumn>,
                            Status>(status_)
                    }
                    fn read_status<'a>(row_:
                            &impl diesel::row::Row<'a, Backend>, column_: usize)
                        -> deserialize::Result<Status> {
                        __private::read_column::<SqlType<StatusColumn>, Status,
                                Backend>(row_, column_)
                    }
                    fn read_row<'a>(row_: &impl diesel::row::Row<'a, Backend>)
                        -> deserialize::Result<Row> {
                        __private::read_row::<Row, Backend>(row_)
                    }
                    fn with_fragments(updates_: Option<&Updates>,
                        run_: &mut __private::WithFragments<'_, Backend>)
                        -> QueryResult<()> {
                        let row_ =
                            <Row as diesel::Selectable<Backend>>::construct_selection();
                        let changes_ =
                            updates_.map(diesel::query_builder::AsChangeset::as_changeset);
                        run_(Fragments {
                                row: &row_,
                                order: None,
                                changes: match &changes_ {
                                    Some(changes_) => Some(changes_),
                                    None => None,
                                },
                                new_rows: &[],
                            })
                    }
                    fn with_new_rows(updates_: &[&Updates],
                        run_: &mut __private::WithNewRows<'_, Backend>)
                        -> QueryResult<()> {
                        {
                            type Table = jobs::table;
                            let values_ =
                                ::core::iter::Iterator::map(updates_.iter(),
                                    |updates_|
                                        <&Updates as
                                                    diesel::Insertable<Table>>::values(*updates_).values);
                            let values_: Vec<_> =
                                ::core::iter::Iterator::collect(values_);
                            __private::with_new_rows::<Table, _,
                                    Backend>(&values_, run_)
                        }
                    }
                    fn texts() -> &'static TableTexts {
                        static TEXTS: TableTexts = TableTexts::new();
                        &TEXTS
                    }
                }
                impl ::diesel_status_tracker::JobStore<::diesel_status_tracker::__private::diesel::SqliteConnection>
                    for JobTableRow {
                    fn dialect(conn_: &mut Connection) -> &'static Dialect {
                        __private::Sends::dialect(conn_)
                    }
                    fn execute(conn_: &mut Connection,
                        statement_: &'static Statement, call_: &Call<'_, Self>)
                        -> QueryResult<usize> {
                        __private::execute(conn_, statement_, call_)
                    }
                    fn read(conn_: &mut Connection,
                        statement_: &'static Statement, call_: &Call<'_, Self>)
                        -> QueryResult<Vec<Record<Self>>> {
                        __private::read(conn_, statement_, call_)
                    }
                    fn default_sets_nothing() -> QueryResult<bool> {
                        __private::default_sets_nothing::<Self, Backend>()
                    }
                    fn sets_nothing(updates_: &Updates) -> QueryResult<bool> {
                        __private::sets_nothing::<Self, Backend>(updates_)
                    }
                }
            };
    };
