//! Finds a prepared statement without writing its text, and writes it in few pieces.
//!
//! Diesel keeps prepared statements by a type, or else by their text, which then is
//! written at each call. The one query of this crate has one type for all statements. So
//! each text that does not vary from call to call gets a type of its own as its name,
//! and the query answers with that type when Diesel asks. It asks where rows are read;
//! where they are only changed, it asks a reference to the query, which has no answer
//! of its own. Diesel also walks through a query up to three times. So such a text is
//! kept with its codes filled in, and little more than the bound values is left to walk
//! through.

use std::any::TypeId;
use std::cell::Cell;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::backend::Binds;
use super::call::{Code, Keys};
use super::query::{OWN_CODES, Query};
use super::template::Slot;
use super::written::{Part, push};

/// Texts of one table that get a name: a few for each of its steps. Others are found by
/// their text.
const MOST: usize = 32;

/// The type that names the `N`th text.
struct Nth<const N: usize>;

/// The types `16 * row + column` of each row.
macro_rules! names {
    ($($row:literal)*) => {
        [$([
            TypeId::of::<Nth<{ 16 * $row }>>(), TypeId::of::<Nth<{ 16 * $row + 1 }>>(),
            TypeId::of::<Nth<{ 16 * $row + 2 }>>(), TypeId::of::<Nth<{ 16 * $row + 3 }>>(),
            TypeId::of::<Nth<{ 16 * $row + 4 }>>(), TypeId::of::<Nth<{ 16 * $row + 5 }>>(),
            TypeId::of::<Nth<{ 16 * $row + 6 }>>(), TypeId::of::<Nth<{ 16 * $row + 7 }>>(),
            TypeId::of::<Nth<{ 16 * $row + 8 }>>(), TypeId::of::<Nth<{ 16 * $row + 9 }>>(),
            TypeId::of::<Nth<{ 16 * $row + 10 }>>(), TypeId::of::<Nth<{ 16 * $row + 11 }>>(),
            TypeId::of::<Nth<{ 16 * $row + 12 }>>(), TypeId::of::<Nth<{ 16 * $row + 13 }>>(),
            TypeId::of::<Nth<{ 16 * $row + 14 }>>(), TypeId::of::<Nth<{ 16 * $row + 15 }>>(),
        ]),*]
    };
}

/// The names, for the texts of all tables of the program.
static NAMES: [[TypeId; 16]; 16] = names!(0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15);

/// A name that no text has had. `None` where all are given away.
fn new_name() -> Option<TypeId> {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    let next = NEXT.fetch_add(1, Ordering::Relaxed);
    NAMES.as_flattened().get(next).copied()
}

/// A text that does not vary, and its name.
#[derive(Debug)]
struct Fixed {
    /// The statement and the dialect, by their numbers.
    of: (usize, usize),
    /// What the text says of the wait for a row.
    wait: [&'static str; 2],
    /// The codes that are numbers in the text.
    codes: Vec<Option<i64>>,
    name: Option<TypeId>,
    /// The text, in as few pieces as possible.
    parts: Vec<Part>,
    /// For the check that it does not vary.
    text: OnceLock<String>,
}

/// The texts of one table on one backend that do not vary.
#[derive(Debug)]
pub(super) struct FixedTexts([OnceLock<Fixed>; MOST]);

impl FixedTexts {
    pub const fn new() -> Self {
        Self([const { OnceLock::new() }; MOST])
    }

    /// Gives the query the name of its text, and the text in few pieces; unless the text
    /// varies from call to call.
    pub fn settle<'a, DB: Binds>(&'a self, query: &mut Query<'a, DB>) {
        if query.varies() {
            return;
        }
        let of = (query.statement.number, query.dialect.number);
        let wait = query.wait();
        let found = self.0.iter().find_map(|place| {
            let fixed = place.get_or_init(|| Fixed {
                of,
                wait,
                codes: codes(query).collect(),
                name: new_name(),
                parts: query.settled(query.parts),
                text: OnceLock::new(),
            });
            let is_this = fixed.of == of && fixed.wait == wait;
            (is_this && fixed.codes.iter().copied().eq(codes(query))).then_some(fixed)
        });
        let Some(fixed) = found else {
            return;
        };
        // As it would be written anew for this call.
        let anew = cfg!(debug_assertions).then(|| query.text().unwrap_or_default());
        query.parts = &fixed.parts;
        let kept = || fixed.text.get_or_init(|| query.text().unwrap_or_default());
        debug_assert_eq!(
            Some(kept()),
            anew.as_ref(),
            "the text of `{}` varies",
            query.statement.name
        );
        query.name = fixed.name;
    }
}

/// The codes of the query's step, as far as they are numbers in its text.
fn codes<DB: Binds>(query: &Query<'_, DB>) -> impl Iterator<Item = Option<i64>> {
    let more = (0..query.values.count_more()).map(Code::More);
    OWN_CODES
        .into_iter()
        .chain(more)
        .map(|code| query.values.number(code))
}

impl<DB: Binds> Query<'_, DB> {
    fn wait(&self) -> [&'static str; 2] {
        let wait = (self.dialect.wait)(self.plain.wait);
        let wait = [wait.before, wait.condition];
        if wait == [""; 2] || !self.statement.waits() {
            return [""; 2];
        }
        wait
    }

    /// Whether something else than the statement, the table and the step decides on
    /// the text.
    fn varies(&self) -> bool {
        let (plain, values) = (self.plain, self.values);
        let is_of_one_row = values.count_keys(Keys::These) == 1
            && values.count_keys(Keys::Past) == 0
            && values.count_given() == 0
            && plain.tokens.len() == 1
            && self.fragments.new_rows.is_empty()
            && self.filter.is_none()
            && plain.filter.is_none();
        let has_options = plain.ago.is_some()
            || plain.later.is_some()
            || plain.since.is_some()
            || plain.limit.is_some()
            || plain.page.is_some();
        let changes = self.fragments.changes;
        !is_of_one_row
            || has_options
            || changes.is_some_and(|changes| !matches!(changes.is_noop(&DB::default()), Ok(true)))
    }
}

// What a text that does not vary consists of.
impl<DB: Binds> Query<'_, DB> {
    /// These parts with the codes of the step as text, and without what the call leaves out.
    fn settled(&self, parts: &[Part]) -> Vec<Part> {
        let mut settled = Vec::new();
        for part in parts {
            match part {
                Part::Optional(inner) if inner.iter().all(|part| self.is_given(part)) => {
                    let inner = self.settled(inner);
                    inner.into_iter().for_each(|part| push(&mut settled, part));
                }
                Part::Optional(_) => {}
                Part::Slot(slot) => {
                    let part = self
                        .code_text(*slot)
                        .map_or_else(|| part.clone(), Part::Text);
                    push(&mut settled, part);
                }
                other => push(&mut settled, other.clone()),
            }
        }
        settled
    }

    fn is_given(&self, part: &Part) -> bool {
        matches!(self.exists(part), Ok(true))
    }

    /// The codes that are numbers in the text at this place.
    fn code_text(&self, slot: Slot) -> Option<String> {
        let codes: Vec<Code> = match slot {
            Slot::Pending => vec![Code::Pending],
            Slot::InProgress => vec![Code::InProgress],
            Slot::Succeeded => vec![Code::Succeeded],
            Slot::Ignored => vec![Code::Ignored],
            Slot::ReadyCodes => self.ready().collect(),
            Slot::OwnCodes => OWN_CODES.into(),
            _ => return None,
        };
        let numbers = codes.into_iter().map(|code| self.values.number(code));
        let numbers: Option<Vec<_>> = numbers.map(|number| Some(number?.to_string())).collect();
        Some(numbers?.join(", "))
    }
}

thread_local! {
    /// The name of the text that this thread is sending.
    static SENT: Cell<Option<TypeId>> = const { Cell::new(None) };
}

/// The name of the text that this thread is sending.
pub(super) fn sent() -> Option<TypeId> {
    SENT.get()
}

/// Calls `send`, in which Diesel is told this name. Whoever sends another query in there,
/// as the user's instrumentation may, does not change it.
pub(super) fn named<T>(name: Option<TypeId>, send: impl FnOnce() -> T) -> T {
    struct Before(Option<TypeId>);
    impl Drop for Before {
        fn drop(&mut self) {
            SENT.set(self.0);
        }
    }
    let _before = Before(SENT.replace(name));
    send()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_name_is_another_type() {
        let mut names = NAMES.as_flattened().to_vec();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), 256);
    }

    #[test]
    fn a_name_counts_until_the_statement_is_sent_whatever_is_sent_meanwhile() {
        let [one, other] = [NAMES[0][0], NAMES[0][1]];
        named(Some(one), || {
            named(Some(other), || assert_eq!(sent(), Some(other)));
            assert_eq!(sent(), Some(one));
            named(None, || assert_eq!(sent(), None));
            assert_eq!(sent(), Some(one));
        });
        assert_eq!(sent(), None);
        let panicked = std::panic::catch_unwind(|| named(Some(one), || panic!("the line is cut")));
        assert!(panicked.is_err() && sent().is_none());
    }
}
