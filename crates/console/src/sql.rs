//! All SQL of the console: the texts by name, how they are filled, and how they run.

mod beginning;
pub(crate) mod catalog;
mod condition;
mod dialect;
pub(crate) mod doctor;
mod part;
mod run;
pub(crate) mod statements;

pub(crate) use condition::{Names, PageEnd, StatusAs};
pub(crate) use dialect::Dialect;
pub(crate) use part::Part;
pub(crate) use run::{Session, TextRow};
