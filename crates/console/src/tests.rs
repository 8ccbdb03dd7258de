//! Tests of several rooms together.

mod shapes;
