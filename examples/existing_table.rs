//! An application that has its table already: `invoices`, with its own names,
//! an integer key and states as words. One ALTER TABLE and one `job_table!`
//! later the rows that are there are tracked.
//!
//! ```text
//! cargo run --example existing_table
//! ```

use std::error::Error;

use diesel::connection::SimpleConnection;
use diesel::deserialize::{self, FromSql, FromSqlRow};
use diesel::expression::AsExpression;
use diesel::prelude::*;
use diesel::r2d2::{ConnectionManager, Pool};
use diesel::serialize::{self, IsNull, Output, ToSql};
use diesel::sql_types::Text;
use diesel::sqlite::{Sqlite, SqliteValue};
use diesel_status_tracker::{self as tracker, StatusTracked, job_table, sqlite};

// ---- Before: what the application has -------------------------------------

const BEFORE: &str = "
    CREATE TABLE invoices (
        invoice_id INTEGER PRIMARY KEY,
        customer   TEXT NOT NULL,
        cents      BIGINT NOT NULL,
        receipt    TEXT,
        state      TEXT NOT NULL DEFAULT 'open',
        created    TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP,
        changed    TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP
    );
    INSERT INTO invoices (invoice_id, customer, cents, state) VALUES
        (1, 'Ada', 1200, 'sent'), (2, 'Bob', 900, 'open'), (3, 'Cyd', 4500, 'open');
";

#[derive(Debug, Clone, Copy, PartialEq, AsExpression, FromSqlRow)]
#[diesel(sql_type = Text)]
enum State {
    Open,
    Sent,
    // New, for what the application had no word for:
    Sending,
    Failed,
    GivenUp,
}

const WORDS: [(State, &str); 5] = [
    (State::Open, "open"),
    (State::Sent, "sent"),
    (State::Sending, "sending"),
    (State::Failed, "failed"),
    (State::GivenUp, "given up"),
];

impl ToSql<Text, Sqlite> for State {
    fn to_sql<'b>(&'b self, out: &mut Output<'b, '_, Sqlite>) -> serialize::Result {
        let word = WORDS.iter().find(|(state, _)| state == self);
        out.set_value(word.ok_or("a state without a word")?.1);
        Ok(IsNull::No)
    }
}

impl FromSql<Text, Sqlite> for State {
    fn from_sql(value: SqliteValue<'_, '_, '_>) -> deserialize::Result<Self> {
        let text = <String as FromSql<Text, Sqlite>>::from_sql(value)?;
        let state = WORDS.iter().find(|(_, word)| *word == text);
        Ok(state.ok_or_else(|| format!("unknown state `{text}`"))?.0)
    }
}

// ---- After: what tracking adds --------------------------------------------

// Four columns, all nullable or with a default, so that the application's own
// INSERTs go on as they are. State and both times were there already.
const AFTER: &str = "
    ALTER TABLE invoices ADD COLUMN held_by  TEXT;
    ALTER TABLE invoices ADD COLUMN held_at  TIMESTAMP;
    ALTER TABLE invoices ADD COLUMN failures SMALLINT NOT NULL DEFAULT 0;
    ALTER TABLE invoices ADD COLUMN problems TEXT;
";

mod schema {
    diesel::table! {
        invoices (invoice_id) {
            invoice_id -> Integer,
            customer -> Text,
            cents -> BigInt,
            receipt -> Nullable<Text>,
            state -> Text,
            created -> Timestamp,
            changed -> Timestamp,
            held_by -> Nullable<Text>,
            held_at -> Nullable<Timestamp>,
            failures -> SmallInt,
            problems -> Nullable<Text>,
        }
    }
}
use schema::invoices;

// The row type need not know the new columns.
#[derive(Debug, Queryable, Selectable)]
#[diesel(table_name = invoices)]
struct Invoice {
    invoice_id: i32,
    customer: String,
    cents: i64,
    state: State,
    receipt: Option<String>,
}

#[derive(Debug, Default, Insertable, AsChangeset)]
#[diesel(table_name = invoices)]
struct InvoiceUpdates {
    receipt: Option<String>,
}

impl StatusTracked for Invoice {
    type Job = Invoice;
    const PENDING: State = State::Open;
    const IN_PROGRESS: State = State::Sending;
    const FAILED: State = State::Failed;
    const SUCCEEDED: State = State::Sent;
    const IGNORED: State = State::GivenUp;
}

job_table! {
    Invoice in invoices {
        key: (invoice_id: i32),
        status: State,
        updates: InvoiceUpdates,
        connections: [SqliteConnection],
        columns: {
            status: state, create_at: created, update_at: changed,
            lock: held_by, lock_at: held_at, retry: failures, errors: problems,
        },
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let folder = tempfile::tempdir()?; // removed at the end, with the database
    let file = folder.path().join("invoices.db");
    let pool = Pool::builder()
        .max_size(4)
        .test_on_check_out(false) // the tracker replaces a dead connection when it meets one
        .connection_customizer(Box::new(sqlite::Customizer::default()))
        .build(ConnectionManager::<SqliteConnection>::new(
            file.to_string_lossy(),
        ))?;
    pool.get()?.batch_execute(BEFORE)?;
    pool.get()?.batch_execute(AFTER)?;

    println!("The application still inserts as it always did:");
    pool.get()?
        .batch_execute("INSERT INTO invoices (customer, cents) VALUES ('Dan', 0)")?;
    show(&pool)?;

    println!("\nInvoice 1 was sent before there was tracking, and is not sent again:");
    println!(
        "  {}",
        Invoice::run_job(&pool, 1, |_, _| Ok(())).unwrap_err()
    );

    println!("\nThe open ones are sent, oldest first:");
    loop {
        let sent = Invoice::run_next(&pool, |invoice, updates| {
            if invoice.cents == 0 {
                return Err("nothing to pay".into());
            }
            println!("  sent to {}", invoice.customer);
            updates.receipt = Some(format!("receipt {}", invoice.invoice_id));
            Ok(())
        });
        match sent {
            Ok(Some(())) => {}
            Ok(None) => break, // none left
            // Recorded in the row; it is tried again, three times in all.
            Err(failure @ tracker::Error::Failed { .. }) => println!("  {failure}"),
            Err(error) => return Err(error.into()),
        }
    }

    println!("\nIn the end:");
    show(&pool)
}

/// A report of the application's own, in plain Diesel.
fn show(pool: &Pool<ConnectionManager<SqliteConnection>>) -> Result<(), Box<dyn Error>> {
    let rows = invoices::table
        .select((Invoice::as_select(), invoices::failures))
        .order_by(invoices::invoice_id)
        .load::<(Invoice, i16)>(&mut pool.get()?)?;
    for (row, failures) in rows {
        let state = format!("{:?}", row.state);
        let receipt = row.receipt.unwrap_or("no receipt".into());
        println!(
            "  {} {} {:<7} {failures} failures, {receipt}",
            row.invoice_id, row.customer, state
        );
    }
    Ok(())
}
