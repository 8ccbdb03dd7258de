//! Pages that are longer than the README should be. Their examples are tests.
//!
//! - [`adopting`]: what real tables need, with an example of every entry of `job_table!`
//! - [`worker`]: how many threads and connections, how large a batch, how long a lock
//! - [`failures`]: what is recorded of them, secrets in errors, code that panics
//! - [`guarantees`]: what exactly is promised, and where that ends
//! - [`databases`]: versions, isolation levels, PgBouncer, other languages
//! - [`indexes`]: which ones a table needs, and why
//! - [`performance`]: how fast it is, and what stays prepared
//!
//! In the repository are two more: `docs/reliability.md`, how all of this is tried, with
//! the figures of runs; and `docs/scale.md`, what to do when one server is not enough.

/// A page of `docs/`. In the repository its links lead to files; the definitions that
/// stand first here lead them to the pages of this documentation.
macro_rules! page {
    ($name:ident, $text:expr) => {
        #[doc = "[track]: crate#tracking-a-table-that-you-have"]
        #[doc = "[fails]: crate#when-a-job-fails"]
        #[doc = "[char]: crate::guide::adopting#charn-keys-on-postgresql"]
        #[doc = "[around]: crate::guide"]
        #[doc = "[databases]: crate::guide::databases"]
        #[doc = "[indexes]: crate::guide::indexes"]
        #[doc = "[reliability]: crate::guide"]
        #[doc = "[what-to-set]: crate::guide"]
        #[doc = ""]
        #[doc = $text]
        pub mod $name {}
    };
}

page!(adopting, include_str!("../docs/adopting.md"));
page!(databases, include_str!("../docs/databases.md"));
page!(failures, include_str!("../docs/failures.md"));
page!(guarantees, include_str!("../docs/guarantees.md"));
page!(indexes, include_str!("../docs/indexes.md"));
page!(performance, include_str!("../docs/performance.md"));
page!(worker, include_str!("../docs/worker.md"));
