//! Tests of several modules together.

mod shapes;
