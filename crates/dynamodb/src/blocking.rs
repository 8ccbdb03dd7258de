//! The calls for those who have threads: [`BlockingCalls`].
//!
//! They block the thread that calls, and work with and without a runtime in it. A
//! runtime of this crate, with a thread of its own, serves the connections. It
//! begins with the first call, or when an unfinished guard is dropped outside of a
//! runtime.
//!
//! In async code use [`Calls`](crate::Calls): a blocked thread runs no other task. A
//! client keeps its connections on the runtime that opened them. So give the blocking
//! calls a client of their own in a program that ends its runtime and goes on.

mod calls;

pub use crate::attempt::blocking::RunningJob;
pub use calls::BlockingCalls;
