//! Finds values that a call gives and its statement does not take: a mistake of this
//! crate, for which the tests look at each call.

use super::backend::Binds;
use super::call::{Code, Keys};
use super::query::Query;
use super::template::{Piece, Reading, Slot};
use crate::table_info::Role;

impl<DB: Binds> Query<'_, DB> {
    /// A value that the call gives and the statement does not take.
    pub(super) fn unused(&self) -> Option<&'static str> {
        use Slot::{
            AnyGiven, ChangedSince, Changes, Count, Document, Filter, Is, Limit, LimitText, NewKey,
            NewStatus, PageOrder, Past, SeenLockAt, SetValues, Statuses, Token, Tokens, Unchanged,
            WrittenToken,
        };
        let pieces = self.statement.pieces(self.dialect);
        let takes = |slots: &[Slot]| {
            let slots: Vec<_> = slots.iter().map(|slot| Piece::Slot(*slot)).collect();
            pieces.iter().any(|piece| piece.holds(&slots))
        };
        let takes_time = |reading, role| {
            let time = [Piece::Time(reading, role)];
            pieces.iter().any(|piece| piece.holds(&time))
        };
        let (plain, values) = (self.plain, self.values);
        let given = [
            (
                values.count_keys(Keys::These) > 0,
                takes(&[Is, Slot::Any, AnyGiven, NewKey]),
                "keys",
            ),
            (
                values.count_keys(Keys::Past) > 0,
                takes(&[Past]),
                "past keys",
            ),
            (values.count_given() > 0, takes(&[Statuses]), "statuses"),
            (
                values.has_code(Code::New),
                takes(&[NewStatus]),
                "new status",
            ),
            (!plain.tokens.is_empty(), takes(&[Token, Tokens]), "tokens"),
            (
                plain.written_token.is_some(),
                takes(&[WrittenToken]),
                "token of what is written",
            ),
            (plain.count.is_some(), takes(&[Count]), "count"),
            (plain.document.is_some(), takes(&[Document]), "document"),
            (plain.since.is_some(), takes(&[ChangedSince]), "since"),
            (plain.limit.is_some(), takes(&[Limit, LimitText]), "limit"),
            (plain.filter.is_some(), takes(&[Filter]), "filter"),
            (plain.page.is_some(), takes(&[PageOrder]), "page"),
            (
                plain.seen_lock_at.is_some(),
                takes(&[SeenLockAt]),
                "seen lock",
            ),
            (
                plain.seen_update_at.is_some(),
                takes(&[Unchanged]),
                "seen change",
            ),
            (
                self.fragments.changes.is_some(),
                takes(&[Changes]),
                "changes",
            ),
            (
                !self.fragments.new_rows.is_empty(),
                takes(&[SetValues]),
                "new rows",
            ),
            (
                plain.ago.is_some(),
                [Role::LockAt, Role::UpdateAt]
                    .iter()
                    .any(|role| takes_time(Reading::Ago, *role)),
                "ago",
            ),
            (
                plain.later.is_some(),
                takes_time(Reading::Later, Role::RunAt),
                "later",
            ),
        ];
        let unused = given
            .iter()
            .find(|(is_given, is_taken, _)| *is_given && !is_taken);
        unused.map(|(_, _, value)| *value)
    }
}
