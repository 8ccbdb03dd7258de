//! What the compiler tells those who use the crate wrongly: the first line
//! names the column, the type or the entry, and the way out.

#[test]
fn messages() {
    let cases = trybuild::TestCases::new();
    cases.compile_fail("tests/ui/*.rs");
    if cfg!(all(feature = "postgres", feature = "mysql")) {
        cases.compile_fail("tests/ui/all_features/*.rs");
    } else {
        cases.compile_fail("tests/ui/sqlite_only/*.rs");
    }
}
