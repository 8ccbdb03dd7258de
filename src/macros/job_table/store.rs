//! What is generated for each connection: how the user's types are bound and
//! read. The statements stand in `sql/statements`.

/// `TableOn` and `JobStore` over one connection type.
///
/// Local names end in an underscore: a column that the user's module imports
/// would stand in for the local of its name.
#[doc(hidden)]
#[macro_export]
macro_rules! __job_table_store {
    ($backend:ident $Connection:ty, $Backend:ty, { $key:tt $($more:tt)* }) => {
        const _: () = {
            use ::core::option::Option::{self, None, Some};
            use ::core::primitive::{bool, usize};
            use ::core::result::Result::Ok;
            use ::std::vec::Vec;
            use $crate::__private::diesel::query_builder::AstPass;
            use $crate::__private::diesel::serialize::Output;
            use $crate::__private::diesel::{
                self, ExpressionMethods as _, QueryResult, deserialize, serialize,
            };
            use $crate::__private::{
                self as __private, Call, Dialect, Fragments, HasColumns, HasKeyColumns, Record,
                Statement, TableTexts, check,
            };

            type SqlType<Column> = <Column as diesel::Expression>::SqlType;
            type StatusColumn = <JobTableRow as HasColumns>::Status;
            type KeyTypes = <JobTableRow as HasKeyColumns>::Columns;

            type Backend = $Backend;
            type Selected = check::Passed<
                {
                    check::selects::<JobTableRow, Backend>();
                    true
                },
            >;
            type Fitting = check::Passed<
                {
                    check::value::<JobTableStatus, StatusColumn, Backend>();
                    KeyTypes::check::<Backend>();
                    check::reads::<<Selected as check::Checked<JobTableRow>>::Type, Backend>();
                    true
                },
            >;
            type Connection = <Fitting as check::Checked<$Connection>>::Type;
            type Row = <Fitting as check::Checked<JobTableRow>>::Type;
            type Status = <Fitting as check::Checked<JobTableStatus>>::Type;
            type Key = <Fitting as check::Checked<<JobTableRow as $crate::Tracked>::Key>>::Type;
            type Updates = JobTableUpdates;

            impl __private::TableOn<$Backend> for JobTableRow {
                fn bind_key<'b>(
                    key_: &'b Key,
                    column_: usize,
                    mut out_: AstPass<'_, 'b, Backend>,
                ) -> QueryResult<()> {
                    $crate::__job_table_key! { @bind key_, column_, out_, $key }
                }
                fn write_key<'b>(
                    key_: &'b Key,
                    column_: usize,
                    out_: &mut Output<'b, '_, Backend>,
                ) -> serialize::Result {
                    $crate::__job_table_key! { @write key_, column_, out_, $key }
                }
                fn bind_keys<'b>(
                    keys_: &'b [Key],
                    mut out_: AstPass<'_, 'b, Backend>,
                ) -> QueryResult<()> {
                    $crate::__job_table_key! { @bind_array $backend keys_, out_, $key }
                }
                fn read_key<'a>(
                    row_: &impl diesel::row::Row<'a, Backend>,
                    first_: usize,
                ) -> deserialize::Result<Key> {
                    $crate::__job_table_key! { @read row_, first_, $key }
                }
                fn bind_status<'b>(
                    status_: &'b Status,
                    mut out_: AstPass<'_, 'b, Backend>,
                ) -> QueryResult<()> {
                    out_.push_bind_param::<SqlType<StatusColumn>, Status>(status_)
                }
                fn read_status<'a>(
                    row_: &impl diesel::row::Row<'a, Backend>,
                    column_: usize,
                ) -> deserialize::Result<Status> {
                    __private::read_column::<SqlType<StatusColumn>, Status, Backend>(row_, column_)
                }
                fn read_row<'a>(
                    row_: &impl diesel::row::Row<'a, Backend>,
                ) -> deserialize::Result<Row> {
                    __private::read_row::<Row, Backend>(row_)
                }
                fn with_fragments(
                    updates_: Option<&Updates>,
                    run_: &mut __private::WithFragments<'_, Backend>,
                ) -> QueryResult<()> {
                    let row_ = <Row as diesel::Selectable<Backend>>::construct_selection();
                    let changes_ = $crate::__job_table_changes!(updates_, $($more)*);
                    run_(Fragments {
                        row: &row_,
                        order: $crate::__job_table_order!($($more)*),
                        changes: match &changes_ {
                            Some(changes_) => Some(changes_),
                            None => None,
                        },
                        new_rows: &[],
                    })
                }
                fn with_new_rows(
                    updates_: &[&Updates],
                    run_: &mut __private::WithNewRows<'_, Backend>,
                ) -> QueryResult<()> {
                    $crate::__job_table_new_rows!(updates_, run_, $($more)*)
                }
                fn texts() -> &'static TableTexts {
                    static TEXTS: TableTexts = TableTexts::new();
                    &TEXTS
                }
            }

            impl $crate::JobStore<$Connection> for JobTableRow {
                fn dialect(conn_: &mut Connection) -> &'static Dialect {
                    __private::Sends::dialect(conn_)
                }
                fn execute(
                    conn_: &mut Connection,
                    statement_: &'static Statement,
                    call_: &Call<'_, Self>,
                ) -> QueryResult<usize> {
                    __private::execute(conn_, statement_, call_)
                }
                fn read(
                    conn_: &mut Connection,
                    statement_: &'static Statement,
                    call_: &Call<'_, Self>,
                ) -> QueryResult<Vec<Record<Self>>> {
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
}

/// The order in which jobs are taken, where it is given.
#[doc(hidden)]
#[macro_export]
macro_rules! __job_table_order {
    (@is_default []) => { true };
    (@is_default $order:tt) => { false };
    ([] $updates:tt) => { None };
    ([($($order:expr),+ $(,)?)] $updates:tt) => { Some(&($($order,)+)) };
}

/// What the updates assign, where the table has updates.
#[doc(hidden)]
#[macro_export]
macro_rules! __job_table_changes {
    ($updates:ident, $order:tt [; $($table:tt)+]) => {
        $updates.map(|&()| __private::NoColumns)
    };
    ($updates:ident, $order:tt $some:tt) => {
        $updates.map(diesel::query_builder::AsChangeset::as_changeset)
    };
}

/// What the updates write into new rows.
#[doc(hidden)]
#[macro_export]
macro_rules! __job_table_new_rows {
    ($updates:ident, $run:ident, $order:tt [; $($table:tt)+]) => {
        __private::with_keys_alone($updates, $run)
    };
    ($updates:ident, $run:ident, $order:tt [$Updates:ty; $($table:tt)+]) => {{
        type Table = $($table)+::table;
        let values_ = ::core::iter::Iterator::map($updates.iter(), |updates_| <&Updates as diesel::Insertable<Table>>::values(*updates_).values);
        let values_: Vec<_> = ::core::iter::Iterator::collect(values_);
        __private::with_new_rows::<Table, _, Backend>(&values_, $run)
    }};
}
