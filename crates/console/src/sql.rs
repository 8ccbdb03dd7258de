//! All SQL of the console: the texts, and what reads their rows.

pub(crate) mod catalog;
pub(crate) mod doctor;
