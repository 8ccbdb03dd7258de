//! Money that is moved exactly once, though the processes that move it are
//! killed in the midst of it.
//!
//! ```text
//! cargo run --example transaction -- [--transfers N]
//! ```
//!
//! The transfers are the jobs. Each is booked in a transaction that commits
//! together with the job's success mark: a withdrawal, a deposit, two entries
//! in the ledger. This program starts worker processes of itself, kills most
//! of them with SIGKILL and starts others, three times over. At the end it
//! counts the money and the entries.

use std::collections::HashMap;
use std::env;
use std::error::Error;
use std::process::{Child, Command, ExitCode};
use std::thread;
use std::time::Duration;

use diesel::connection::SimpleConnection;
use diesel::dsl::count_star;
use diesel::prelude::*;
use diesel::r2d2::{ConnectionManager, Pool, PoolError};
use diesel_status_tracker::{
    BoxError, Retry, StatusTracked, Summary, job_table, sqlite, status_codes,
};
use serde_json::Value;

mod schema {
    diesel::table! {
        accounts (id) {
            id -> Integer,
            balance -> BigInt,
        }
    }
    diesel::table! {
        ledger (id) {
            id -> Integer,
            transfer -> Integer,
            account -> Integer,
            amount -> BigInt,
        }
    }
    diesel::table! {
        transfers (id) {
            id -> Integer,
            status -> Integer,
            create_at -> Timestamp,
            update_at -> Timestamp,
            lock -> Nullable<Text>,
            lock_at -> Nullable<Timestamp>,
            retry -> Integer,
            errors -> Json,
            payer -> Integer,
            payee -> Integer,
            amount -> BigInt,
        }
    }
}
use schema::{accounts, ledger, transfers};

// No constraint keeps a transfer from being booked twice: only the tracker does.
const CREATE_TABLES: &str = "
    CREATE TABLE accounts (id INTEGER PRIMARY KEY, balance BIGINT NOT NULL);
    CREATE TABLE ledger (
        id INTEGER PRIMARY KEY, transfer INTEGER NOT NULL, account INTEGER NOT NULL, amount BIGINT NOT NULL);
    CREATE TABLE transfers (
        id INTEGER PRIMARY KEY, status INTEGER NOT NULL, create_at TIMESTAMP NOT NULL, update_at TIMESTAMP NOT NULL,
        lock TEXT, lock_at TIMESTAMP, retry INTEGER NOT NULL, errors TEXT NOT NULL,
        payer INTEGER NOT NULL, payee INTEGER NOT NULL, amount BIGINT NOT NULL);
    CREATE INDEX transfers_ready ON transfers (update_at) WHERE lock IS NULL AND status IN (10, 30);
    CREATE INDEX transfers_locked ON transfers (lock_at) WHERE lock IS NOT NULL;";

status_codes! {
    enum Status { Pending = 10, Booking = 20, Failed = 30, Booked = 40, Refused = 50 }
}

#[derive(Debug, Queryable, Selectable)]
#[diesel(table_name = transfers)]
struct Transfer {
    id: i32,
    status: Status,
    errors: Value,
    payer: i32,
    payee: i32,
    amount: i64,
}

#[derive(Debug, Default, Insertable, AsChangeset)]
#[diesel(table_name = transfers)]
struct TransferUpdates {
    payer: Option<i32>,
    payee: Option<i32>,
    amount: Option<i64>,
}

impl StatusTracked for Transfer {
    type Job = Transfer;
    const PENDING: Status = Status::Pending;
    const IN_PROGRESS: Status = Status::Booking;
    const FAILED: Status = Status::Failed;
    const SUCCEEDED: Status = Status::Booked;
    const IGNORED: Status = Status::Refused;
    // So soon is free what a killed worker had in hand.
    const LOCK_EXPIRE: Duration = Duration::from_secs(2);
    // Each kill is one more failure of these, and there are going to be many.
    const MAX_RETRY: i32 = 10;
}

job_table! {
    Transfer in transfers {
        key: (id: i32),
        status: Status,
        updates: TransferUpdates,
        connections: [SqliteConnection],
        steps: [Transfer],
    }
}

/// Books one transfer. Whatever it returns, and wherever it is killed: all of
/// this happens, and the transfer is marked as booked, or nothing does.
fn book(
    conn: &mut SqliteConnection,
    transfer: &Transfer,
    _updates: &mut TransferUpdates,
) -> Result<(), BoxError> {
    let &Transfer {
        id,
        payer,
        payee,
        amount,
        ..
    } = transfer;
    let withdrawn = diesel::update(accounts::table.find(payer))
        .filter(accounts::balance.ge(amount))
        .set(accounts::balance.eq(accounts::balance - amount))
        .execute(conn)?;
    if withdrawn == 0 {
        // Not to be tried again: the bank refuses, it does not wait for money.
        return Err(Retry::never()
            .because(format!("account {payer} lacks funds for {amount}"))
            .into());
    }

    thread::sleep(Duration::from_millis(2)); // the money is nowhere: a good time to be killed

    diesel::update(accounts::table.find(payee))
        .set(accounts::balance.eq(accounts::balance + amount))
        .execute(conn)?;
    let entry = |account: i32, amount: i64| {
        (
            ledger::transfer.eq(id),
            ledger::account.eq(account),
            ledger::amount.eq(amount),
        )
    };
    diesel::insert_into(ledger::table)
        .values(vec![entry(payer, -amount), entry(payee, amount)])
        .execute(conn)?;
    Ok(())
}

type SqlitePool = Pool<ConnectionManager<SqliteConnection>>;

const ACCOUNTS: i32 = 10;
const OPENING_BALANCE: i64 = 1_000;
/// Worker processes at a time, and how many of them each round kills.
const WORKERS: usize = 3;
const KILLS: usize = 2;

fn main() -> ExitCode {
    let args: Vec<String> = env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let done = match args[..] {
        ["--worker", database] => be_a_worker(database),
        [] => run(600),
        ["--transfers", number] => match number.parse() {
            Ok(number @ 1..=1_000_000) => run(number),
            _ => Err("--transfers needs a number from 1 to 1000000".into()),
        },
        _ => {
            println!("usage: transaction [--transfers N]        (600 by default)");
            Ok(())
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("transaction: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(number: i32) -> Result<(), Box<dyn Error + Send + Sync>> {
    let folder = tempfile::tempdir()?; // removed at the end, with the database
    let database = folder.path().join("bank.db").to_string_lossy().into_owned();
    let pool = pool(&database)?;
    fill(&pool, number)?;
    println!("{ACCOUNTS} accounts with {OPENING_BALANCE} each, {number} transfers to book");

    let mut workers: Vec<Child> = Vec::new();
    for quarter in 1..=4 {
        while workers.len() < WORKERS {
            let program = env::current_exe()?;
            let worker = Command::new(program)
                .args(["--worker", &database])
                .spawn()?;
            println!("worker {} started", worker.id());
            workers.push(worker);
        }
        if quarter == 4 {
            break; // these may live
        }
        let mark = i64::from(number) * quarter / 4;
        while finished(&pool)? < mark {
            thread::sleep(Duration::from_millis(5));
            if workers
                .iter_mut()
                .all(|w| matches!(w.try_wait(), Ok(Some(_))))
            {
                break; // the rest is locked by the killed
            }
        }
        println!("\n{} of {number} are finished", finished(&pool)?);
        for mut worker in workers.drain(..KILLS) {
            worker.kill()?; // SIGKILL: no destructor runs, nothing is told to the database
            worker.wait()?;
            println!("worker {} killed", worker.id());
        }
    }
    for mut worker in workers {
        worker.wait()?;
    }

    // A worker does not wait for what others hold. What the killed held is
    // left, until their locks expire.
    let left = i64::from(number) - finished(&pool)?;
    println!("\n{left} are left, locked by the killed");
    while finished(&pool)? < i64::from(number) {
        thread::sleep(Duration::from_millis(100));
        let summary = work(&pool)?;
        if summary != Summary::default() {
            println!("the main process: {summary}");
        }
    }
    audit(&pool)
}

/// What each of the worker processes does.
fn be_a_worker(database: &str) -> Result<(), BoxError> {
    let summary = work(&pool(database)?)?;
    println!("worker {}: {summary}", std::process::id());
    Ok(())
}

fn work(pool: &SqlitePool) -> Result<Summary, diesel_status_tracker::Error> {
    Transfer::worker(pool)
        .threads(2)
        .batch(5)
        .run_in_transaction_until_empty(book)
}

fn pool(database: &str) -> Result<SqlitePool, PoolError> {
    Pool::builder()
        .max_size(4)
        .test_on_check_out(false) // the tracker replaces a dead connection when it meets one
        .connection_customizer(Box::new(sqlite::Customizer {
            durable: false, // a kill undoes nothing all the same, only a power cut could
            ..Default::default()
        }))
        .build(ConnectionManager::new(database))
}

fn fill(pool: &SqlitePool, number: i32) -> Result<(), BoxError> {
    let conn = &mut *pool.get()?;
    conn.batch_execute(CREATE_TABLES)?;
    let account = |id| (accounts::id.eq(id), accounts::balance.eq(OPENING_BALANCE));
    diesel::insert_into(accounts::table)
        .values((0..ACCOUNTS).map(account).collect::<Vec<_>>())
        .execute(conn)?;
    let transfer = |id: i32| TransferUpdates {
        payer: Some(id % ACCOUNTS),
        payee: Some((id * 7 + 3) % ACCOUNTS),
        // One in fifty asks for more than all accounts together have.
        amount: Some(if id % 50 == 0 {
            100_000
        } else {
            1 + i64::from(id % 90)
        }),
    };
    Transfer::create_many(conn, (1..=number).map(|id| (id, transfer(id))))?;
    Ok(())
}

/// Transfers that are booked or refused.
fn finished(pool: &SqlitePool) -> Result<i64, diesel_status_tracker::Error> {
    let counts = Transfer::count_by_status(pool)?;
    let last = counts
        .iter()
        .filter(|(status, _)| matches!(status, Status::Booked | Status::Refused));
    Ok(last.map(|(_, transfers)| transfers).sum())
}

/// Counts the money and the entries.
fn audit(pool: &SqlitePool) -> Result<(), BoxError> {
    let conn = &mut *pool.get()?;
    let transfers = transfers::table.select(Transfer::as_select()).load(conn)?;
    let entries: HashMap<i32, i64> = ledger::table
        .group_by(ledger::transfer)
        .select((ledger::transfer, count_star()))
        .load(conn)?
        .into_iter()
        .collect();
    let balances: Vec<i64> = accounts::table.select(accounts::balance).load(conn)?;

    let (booked, refused): (Vec<_>, Vec<_>) = transfers
        .iter()
        .partition(|transfer| Transfer::is_succeeded(transfer));
    let after_a_kill = booked
        .iter()
        .filter(|transfer| transfer.errors["error"].is_string());
    println!(
        "\n{} booked, {} of them after a worker was killed at it",
        booked.len(),
        after_a_kill.count()
    );
    println!("{} refused, for instance:", refused.len());
    for transfer in refused.iter().take(3) {
        let error = transfer.errors["error"].as_str().unwrap_or("-");
        println!("  transfer {}: {}", transfer.id, error.replace('\n', ": "));
    }

    let sum: i64 = balances.iter().sum();
    let expected = i64::from(ACCOUNTS) * OPENING_BALANCE;
    println!("\nmoney in all accounts: {sum}, as it was: {expected}");
    // Both entries where it is booked, none where it is refused.
    let wrong = transfers.iter().filter(|transfer| {
        let due = if Transfer::is_succeeded(transfer) {
            2
        } else {
            0
        };
        entries.get(&transfer.id).copied().unwrap_or(0) != due
    });
    let wrong = wrong.count();
    println!("transfers that are not in the ledger exactly once: {wrong}");
    if sum != expected || wrong > 0 {
        return Err("the books do not balance".into());
    }
    Ok(())
}
