//! Pages of a sorted list: each begins after the last row of the one before, and
//! no row is counted over.

use diesel::QueryResult;
use diesel::query_builder::AstPass;

use super::backend::Binds;
use super::call::{Page, Place};
use super::query::Query;
use crate::table_info::Role;

impl<DB: Binds> Query<'_, DB> {
    /// By a time, then by the key, so that each row has its own place.
    pub(super) fn write_page_order(&self, out: &mut AstPass<'_, '_, DB>) -> QueryResult<()> {
        let Some(page) = self.plain.page else {
            return self.missing("page");
        };
        let direction = usize::from(page.is_descending);
        // After the table's name, since what is read may have the names of columns.
        out.push_sql(&self.names().columns[page.by as usize].qualified);
        out.push_sql(match self.info.is_nullable(page.by) {
            true => self.dialect.null_before_all[direction],
            false => [" ASC", " DESC"][direction],
        });
        for name in &self.names().key {
            out.push_sql(", ");
            out.push_sql(&name.qualified);
            out.push_sql([" ASC", " DESC"][direction]);
        }
        Ok(())
    }

    /// The condition that a row has a later place than the last one of the page
    /// before. NULL is before all times. The time stands alone before its `AND`, so
    /// that the database finds the first row by an index.
    pub(super) fn write_past_cursor<'b>(
        &'b self,
        out: &mut AstPass<'_, 'b, DB>,
    ) -> QueryResult<()> {
        let Some(page) = self.plain.page else {
            return self.missing("page");
        };
        let Some(after) = page.after else {
            return self.missing("place");
        };
        let time = self.time_name(page.by);
        let later = if page.is_descending { " < " } else { " > " };
        out.push_sql("(");
        match (after.time, page.is_descending) {
            (None, false) => {
                out.push_sql(time);
                out.push_sql(" IS NOT NULL OR ");
                self.write_later_key(after, 0, later, out)?;
            }
            (None, true) => {
                out.push_sql(time);
                out.push_sql(" IS NULL AND ");
                self.write_later_key(after, 0, later, out)?;
            }
            (Some(bound), is_descending) => {
                if is_descending && self.info.is_nullable(page.by) {
                    out.push_sql(time);
                    out.push_sql(" IS NULL OR ");
                }
                out.push_sql(time);
                out.push_sql(if is_descending { " <= " } else { " >= " });
                self.bind_time_text(page, bound, out)?;
                out.push_sql(" AND (");
                out.push_sql(time);
                out.push_sql(later);
                self.bind_time_text(page, bound, out)?;
                out.push_sql(" OR ");
                self.write_later_key(after, 0, later, out)?;
                out.push_sql(")");
            }
        }
        out.push_sql(")");
        Ok(())
    }

    /// The condition that the key is a later one, from this column of it on.
    fn write_later_key<'b>(
        &'b self,
        after: Place<'b>,
        column: usize,
        later: &str,
        out: &mut AstPass<'_, 'b, DB>,
    ) -> QueryResult<()> {
        let (Some(name), Some(text)) = (self.names().key.get(column), after.key.get(column)) else {
            return self.missing("key of its place");
        };
        out.push_sql("(");
        out.push_sql(&name.alone);
        out.push_sql(later);
        self.bind_as_column(self.info.key_name(column), text, out)?;
        if column + 1 < after.key.len() {
            out.push_sql(" OR ");
            out.push_sql(&name.alone);
            out.push_sql(" = ");
            self.bind_as_column(self.info.key_name(column), text, out)?;
            out.push_sql(" AND ");
            self.write_later_key(after, column + 1, later, out)?;
        }
        out.push_sql(")");
        Ok(())
    }

    fn bind_time_text<'b>(
        &'b self,
        page: Page<'b>,
        time: &'b str,
        out: &mut AstPass<'_, 'b, DB>,
    ) -> QueryResult<()> {
        self.bind_as_column(self.info.column(page.by).unwrap_or_default(), time, out)
    }

    /// Binds text as a value of a column's type.
    fn bind_as_column<'b>(
        &'b self,
        column: &str,
        text: &'b str,
        out: &mut AstPass<'_, 'b, DB>,
    ) -> QueryResult<()> {
        let [before, after] = self.dialect.cast_from_text(self.names(), column);
        out.push_sql(&before);
        DB::bind_text(text, out.reborrow())?;
        out.push_sql(&after);
        Ok(())
    }

    fn time_name(&self, role: Role) -> &str {
        &self.names().columns[role as usize].alone
    }
}
