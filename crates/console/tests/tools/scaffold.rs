//! The Rust of a table, pasted into a new crate, compiles there without a warning.

use std::fmt::Write;
use std::path::Path;
use std::process::Command;
use std::{env, fs};

use diesel_status_console::{Catalog, migration, scaffold, tracking};
use diesel_status_tracker::{Role, StatusCode, StepCodes, StepInfo, TableInfo};

use crate::database::{Kind, TestDatabase, databases};

fn codes<T: Into<StatusCode>>(codes: [T; 5]) -> StepCodes {
    let [pending, in_progress, failed, succeeded, ignored] = codes.map(Into::into);
    StepCodes {
        pending,
        in_progress,
        failed,
        succeeded,
        ignored,
    }
}

/// The Rust before the table has its tracking columns, and after.
fn both(database: &TestDatabase, table: &str, info: impl Fn(&Catalog) -> TableInfo) -> [String; 2] {
    let before = database.catalog(table);
    let rust = scaffold(&before, &info(&before)).unwrap();
    database.sql(&migration(&before, &info(&before), None).unwrap().up);
    let after = database.catalog(table);
    [rust, scaffold(&after, &info(&after)).unwrap()]
}

/// One module for each text of Rust.
fn modules(database: &TestDatabase) -> Vec<String> {
    let text = database.pick("TEXT", "TEXT", "VARCHAR(40)");
    let types = database.pick(
        "a BIGINT, b SMALLINT NOT NULL, c REAL, d FLOAT, e BOOLEAN, f BLOB, g DATE, h TIME, i TIMESTAMPTZ, j JSON, k \"point\"",
        "a BIGINT, b SMALLINT NOT NULL, c REAL, d DOUBLE PRECISION, e BOOLEAN, f BYTEA, g DATE, h TIME, i TIMESTAMPTZ, j JSONB, \
         k point, l CHAR(3), o uuid, m bigint GENERATED ALWAYS AS (a + 1) STORED",
        "a BIGINT UNSIGNED, b SMALLINT NOT NULL, c FLOAT, d DOUBLE, e BOOLEAN, f BLOB, g DATE, h TIME, i DATETIME(6), j JSON, \
         k POINT, l TINYINT, m BIGINT GENERATED ALWAYS AS (b + 1) STORED, n ENUM('x', 'y')",
    );
    database.sql(&format!(
        "CREATE TABLE invoices (tenant BIGINT NOT NULL, number {text} NOT NULL, sent_to {text}, {types}, PRIMARY KEY (tenant, number))"
    ));
    let usual = |catalog: &Catalog| tracking(catalog, &[], &[]).unwrap();
    let mut modules = Vec::from(both(database, "invoices", usual));

    // A pipeline, names that are none of Rust's, no columns of one's own.
    let quote = |name: &str| {
        database
            .pick(
                &format!("\"{name}\""),
                &format!("\"{name}\""),
                &format!("`{name}`"),
            )
            .to_owned()
    };
    database.sql(&format!(
        "CREATE TABLE {} ({} {text} NOT NULL PRIMARY KEY)",
        quote("my photos"),
        quote("type")
    ));
    let columns = [
        (Role::Lock, "self".to_owned()),
        (Role::RunAt, "not before".into()),
        (Role::StartedAt, "started_at".into()),
    ];
    let steps = [
        StepInfo::new("download", codes([10, 11, 12, 13, 14])),
        StepInfo::new("re-size", codes([20, 21, 22, 23, 24]))
            .with_more_pending([13.into(), 60.into()])
            .with_lock_expire(std::time::Duration::from_secs(5))
            .with_max_retry(7),
    ];
    let pipeline = |catalog: &Catalog| tracking(catalog, &columns, &steps).unwrap();
    modules.extend(both(database, "my photos", pipeline));

    // Statuses that are words.
    database.sql("CREATE TABLE mails (id INTEGER NOT NULL PRIMARY KEY, body VARCHAR(10) NOT NULL)");
    let steps = [StepInfo::new(
        "send",
        codes(["new", "sending", "failed", "se\"nt", "dropped"]),
    )];
    let words = |catalog: &Catalog| tracking(catalog, &[], &steps).unwrap();
    modules.extend(both(database, "mails", words));

    if database.kind == Kind::Postgres {
        database.sql(
            "CREATE SCHEMA post; CREATE TYPE post.state AS ENUM ('new', 'sending', 'failed', 'sent', 'dropped'); \
             CREATE TABLE post.letters (id bigserial PRIMARY KEY, state post.state NOT NULL DEFAULT 'new', create_at timestamptz NOT NULL DEFAULT now())",
        );
        let columns = [(Role::Status, "state".to_owned())];
        let steps = [StepInfo::new(
            "send",
            codes(["new", "sending", "failed", "sent", "dropped"]),
        )];
        let words = |catalog: &Catalog| tracking(catalog, &columns, &steps).unwrap();
        modules.extend(both(database, "post.letters", words));
    }
    modules
}

/// The dependencies that the first lines of a text name, each with its features.
fn dependencies(rust: &str) -> impl Iterator<Item = &str> {
    let lines = rust.lines().skip(1);
    lines.map_while(|line| line.strip_prefix("// "))
}

#[test]
fn the_rust_of_a_table_compiles_in_a_new_crate() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let folder = tempfile::tempdir().unwrap();
    let mut library = "#![allow(dead_code)]\n#![deny(warnings)]\n".to_owned();
    let mut features: Vec<_> = [
        "32-column-tables",
        "sqlite",
        "postgres",
        "mysql",
        "returning_clauses_for_sqlite_3_35",
    ]
    .map(|feature| format!("\"{feature}\""))
    .into();
    let mut others = Vec::new();
    for database in databases() {
        for rust in modules(&database) {
            for dependency in dependencies(&rust) {
                let (name, rest) = dependency.split_once(" = ").unwrap();
                match name {
                    "diesel" => {
                        let (_, list) = rest.split_once("features = [").unwrap();
                        let list = list.trim_end_matches("] }").split(", ").map(str::to_owned);
                        features.extend(list);
                    }
                    "diesel_status_tracker" => {}
                    _ => others.push(dependency.to_owned()),
                }
            }
            let number = library.len();
            let _ = writeln!(library, "mod m{number} {{\n{rust}\n}}");
        }
    }
    features.sort();
    features.dedup();
    others.sort();
    others.dedup();
    // One build of Diesel serves all of them.
    let manifest = format!(
        "[package]\nname = \"pasted\"\nversion = \"0.0.0\"\nedition = \"2024\"\n\n[workspace]\n\n[dependencies]\n\
         diesel = {{ version = \"2.3\", default-features = false, features = [{}] }}\n\
         diesel_status_tracker = {{ path = {:?}, features = [\"postgres\", \"mysql\"] }}\n{}\n",
        features.join(", "),
        root.canonicalize().unwrap(),
        others.join("\n")
    );
    fs::create_dir(folder.path().join("src")).unwrap();
    fs::write(folder.path().join("Cargo.toml"), manifest).unwrap();
    fs::write(folder.path().join("src/lib.rs"), &library).unwrap();
    fs::copy(root.join("Cargo.lock"), folder.path().join("Cargo.lock")).unwrap();
    let output = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .current_dir(folder.path())
        .env("CARGO_TARGET_DIR", root.join("target/scaffold"))
        .args(["check", "--quiet", "--offline"])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
}

#[test]
fn what_is_written_names_the_table_and_its_columns() {
    for database in databases() {
        database.sql("CREATE TABLE invoices (id INTEGER NOT NULL PRIMARY KEY, sent_to VARCHAR(9), state INTEGER NOT NULL)");
        let catalog = database.catalog("invoices");
        let columns = [(Role::Status, "state".to_owned())];
        let rust = scaffold(&catalog, &tracking(&catalog, &columns, &[]).unwrap()).unwrap();
        for expected in [
            "    invoices (id) {\n",
            "pub enum InvoiceStatus {\n        Pending = 10,\n",
            "pub struct InvoiceUpdates {\n    pub sent_to: Option<String>,\n}\n",
            "columns: { status: state },\n",
            "const IGNORED: InvoiceStatus = InvoiceStatus::Ignored;\n",
        ] {
            assert!(rust.contains(expected), "{expected}\n{rust}");
        }
    }
}
