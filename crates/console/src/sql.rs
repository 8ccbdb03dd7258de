//! All SQL of the console: the texts by name, how they are filled, and how they run.

mod condition;
mod dialect;
mod part;
mod run;
pub(crate) mod statements;

pub(crate) use condition::{Names, PageEnd};
pub(crate) use part::Part;
pub(crate) use run::{Session, TextRow};
