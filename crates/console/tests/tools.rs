//! The tools for the schema of a table, on each database: see `tools/`.

#[path = "tools/database.rs"]
mod database;
#[cfg(all(feature = "cli", target_os = "linux"))]
#[path = "tools/demo.rs"]
mod demo;
#[path = "tools/describe.rs"]
mod describe;
#[path = "tools/doctor.rs"]
mod doctor;
#[path = "tools/migration.rs"]
mod migration;
#[cfg(all(feature = "cli", unix))]
#[path = "support/pages.rs"]
mod pages;
#[cfg(feature = "cli")]
#[path = "tools/program.rs"]
mod program;
#[path = "tools/scaffold.rs"]
mod scaffold;
#[cfg(all(feature = "cli", unix))]
#[path = "tools/served.rs"]
mod served;
