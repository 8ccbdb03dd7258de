//! The contract on MySQL and MariaDB: see `contract.rs`, which has the promises.
#![allow(
    clippy::type_complexity,
    clippy::unit_arg,
    reason = "a handler, and a table of handlers, in one line"
)]

#[path = "contract/macros.rs"]
#[macro_use]
mod macros;

macro_rules! tracked { ($($table:tt)+) => { tracked_over! { [MysqlConnection] $($table)+ } } }
macro_rules! only {
    ([mysql $($more:ident)*] $($family:item)+) => { $($family)+ };
    ([$other:ident $($more:ident)*] $($family:item)+) => { only! { [$($more)*] $($family)+ } };
    ([] $($family:item)+) => {};
}
#[path = "contract/families.rs"]
mod mysql;
