//! What the compiler tells those who use the crate wrongly: the first line
//! names the column, the type or the entry, and the way out.
#![cfg(feature = "sqlite")]

#[test]
fn messages() {
    let cases = trybuild::TestCases::new();
    cases.compile_fail("tests/ui/*.rs");
    if cfg!(not(feature = "postgres")) {
        cases.compile_fail("tests/ui/features/postgres_is_off.rs");
    }
    if cfg!(not(feature = "mysql")) {
        cases.compile_fail("tests/ui/features/mysql_is_off.rs");
    }
    if cfg!(all(feature = "postgres", feature = "mysql")) {
        cases.compile_fail("tests/ui/features/*connection*.rs");
    }
}
