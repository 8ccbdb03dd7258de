//! The tables that the command line means.

use std::env;
use std::error::Error as StdError;
use std::path::Path;
use std::sync::Arc;

use diesel_status_tracker::{Role, RowKey, TableInfo};

use super::Common;
use super::output::shown;
use crate::catalog::Catalog;
use crate::database::connect;
use crate::describe::describe;
use crate::description::{DatabaseUrl, DescribedEntry, Description};
use crate::error::{Error, Result};
use crate::overview::{PAGE_LIMIT, QUERY_LIMIT, cut};
use crate::roles::{guessed, usual_name};
use crate::sql::statements::FIRST_CODES;
use crate::status::{Status, code, meanings};
use crate::table::Source;

/// The description that is read where none is named.
const USUAL_FILE: &str = "status-console.toml";
/// The variable that a description made here names.
pub(super) const VARIABLE: &str = "DATABASE_URL";

/// The tables of the description, if there is one.
pub(super) fn described(common: &Common) -> Result<Option<Description>, Box<dyn StdError>> {
    let path = match &common.config {
        Some(path) => path,
        None if Path::new(USUAL_FILE).exists() => Path::new(USUAL_FILE),
        None => return Ok(None),
    };
    match Description::load(path) {
        Ok(description) => Ok(Some(description)),
        Err(error @ Error::Description { .. }) => {
            // A shell has made it, and the program that was to fill it has failed.
            let is_empty = std::fs::metadata(path).is_ok_and(|file| file.len() == 0);
            let path = path.display();
            Err(match is_empty {
                true => format!("{path} is empty: delete it, or write a description with `status-console describe TABLE > {path}`"),
                false => format!("{path}: {error}"),
            }
            .into())
        }
        Err(error) => Err(error.into()),
    }
}

/// One table, by its name in the description, or by that in the database.
pub(super) fn source(common: &Common, name: &str) -> Result<Source, Box<dyn StdError>> {
    if let Some(description) = described(common)? {
        let mut sources = part(&description, name)?.connect()?;
        return sources.pop().ok_or_else(|| unknown(&description, name));
    }
    let url = url(common)?;
    let catalog = catalog_at(&url, name)?;
    let text = describe(&catalog, VARIABLE);
    let mut guessed = Description::parse(&text).map_err(|error| {
        format!("what is tracked of `{name}` cannot be guessed ({error}): describe it in a file, which `status-console describe {name}` begins")
    })?;
    for entry in &mut guessed.tables {
        entry.url = DatabaseUrl::Given(url.clone());
    }
    let mut sources = guessed.connect()?;
    let source = sources.pop().ok_or("the table is not described")?;
    let source = source.named(name);
    let warning = match missing(&catalog) {
        None => other_codes(&source).unwrap_or_else(|error| {
            Some(format!("whether `{name}` has other codes than those that are assumed cannot be seen: {error}"))
        }),
        missing => missing,
    };
    if let Some(warning) = warning {
        eprintln!("status-console: {warning}");
    }
    Ok(source)
}

/// Says which columns a table lacks, if it does. The doctor looks at such a table, too.
fn missing(catalog: &Catalog) -> Option<String> {
    let needed = Role::ALL.into_iter().map(|(_, role)| role);
    let needed = needed.filter(|role| !matches!(role, Role::RunAt | Role::StartedAt));
    let missing = needed.filter(|role| guessed(catalog, *role).is_none());
    let missing: Vec<_> = missing.map(usual_name).collect();
    (!missing.is_empty()).then(|| {
        format!(
            "no column of `{catalog}` looks like {}: `status-console migration {catalog}` prints the SQL that adds what is missing, \
             and `status-console describe {catalog}` begins a file in which you name others",
            missing.join(", ")
        )
    })
}

/// Rows that are looked at for codes that were not assumed.
const FIRST_ROWS: &str = "10000";
/// So many codes are named.
const MOST_CODES: usize = 10;

/// Says that the table has other codes than those that were assumed, if it has.
fn other_codes(source: &Source) -> Result<Option<String>> {
    let rows = source.session(PAGE_LIMIT, |session| {
        session.ask(&FIRST_CODES, QUERY_LIMIT, &[("cap", FIRST_ROWS.into())])
    })?;
    let info = source.info();
    let codes = rows.iter().filter_map(|row| row.text(0));
    let mut others: Vec<_> = codes
        .filter(|text| meanings(info, &code(info, text)).is_empty())
        .map(|text| shown(&cut(text, 40)))
        .collect();
    if others.is_empty() {
        return Ok(None);
    }
    others.sort();
    if others.len() > MOST_CODES {
        others.truncate(MOST_CODES);
        others.push("…".into());
    }
    let steps = info.steps().iter();
    let assumed = steps.flat_map(|step| {
        let codes = |status: Status| {
            status
                .codes(step)
                .into_iter()
                .map(move |code| (code, status))
        };
        Status::ALL.into_iter().flat_map(codes)
    });
    let assumed: Vec<_> = assumed
        .map(|(code, status)| format!("{code} {status}"))
        .collect();
    let name = source.name();
    Ok(Some(format!(
        "no file describes `{name}`, so that its codes are assumed: {}; it has jobs with other codes too, which are not shown ({}): \
         write its codes into the file that `status-console describe {name} > {USUAL_FILE}` begins",
        assumed.join(", "),
        others.join(", ")
    )))
}

/// These tables, or else all of the description.
pub(super) fn sources(common: &Common, names: &[String]) -> Result<Vec<Source>, Box<dyn StdError>> {
    if !names.is_empty() {
        return names.iter().map(|name| source(common, name)).collect();
    }
    match described(common)? {
        Some(description) => Ok(description.connect()?),
        None => Err(format!(
            "which tables? Name them, or describe them in a file: `status-console describe TABLE > {USUAL_FILE}` begins it, or see --config"
        )
        .into()),
    }
}

/// A table by its name, as far as its database could be reached.
pub(super) type Reached = (String, Result<Source, Arc<Error>>);

/// The same, where one that cannot be reached hides no other.
pub(super) fn each_source(
    common: &Common,
    names: &[String],
) -> Result<Vec<Reached>, Box<dyn StdError>> {
    match described(common)? {
        Some(description) => Ok(chosen(description, names)?.connect_each()),
        None => {
            let sources = sources(common, names)?.into_iter();
            let named = sources.map(|source| (source.name().to_owned(), Ok(source)));
            Ok(named.collect())
        }
    }
}

/// The same for a program that goes on: a database that cannot be reached is told, and
/// tried again whenever one of its tables is read. An error where that is so for all.
pub(super) fn lasting_sources(
    common: &Common,
    names: &[String],
) -> Result<Vec<Source>, Box<dyn StdError>> {
    let Some(description) = described(common)? else {
        return sources(common, names);
    };
    let (sources, unreached) = chosen(description, names)?.connect_lasting()?;
    if let Some((_, error)) = unreached.first()
        && unreached.len() == sources.len()
    {
        return Err(Arc::clone(error).into());
    }
    for (name, error) in unreached {
        eprintln!("status-console: `{name}` cannot be read, and is tried again: {error}");
    }
    Ok(sources)
}

/// Of the description the tables with these names, or else all.
fn chosen(description: Description, names: &[String]) -> Result<Description, Box<dyn StdError>> {
    if names.is_empty() {
        return Ok(description);
    }
    let tables = names.iter().map(|name| {
        let mut part = part(&description, name)?;
        part.tables.pop().ok_or_else(|| unknown(&description, name))
    });
    Ok(Description {
        tables: tables.collect::<Result<_, _>>()?,
    })
}

/// The description of one table alone, so that no other database is asked.
fn part(description: &Description, name: &str) -> Result<Description, Box<dyn StdError>> {
    let found = description.tables.iter().find(|entry| entry.name == name);
    let entry = found.ok_or_else(|| unknown(description, name))?;
    Ok(Description {
        tables: vec![entry.clone()],
    })
}

fn unknown(description: &Description, name: &str) -> Box<dyn StdError> {
    let names: Vec<_> = description
        .tables
        .iter()
        .map(|entry| &*entry.name)
        .collect();
    format!(
        "the description has no table `{name}`, only these: {}",
        names.join(", ")
    )
    .into()
}

/// What the database says of a table, and what the description says of it, if anything.
pub(super) fn catalog(
    common: &Common,
    name: &str,
) -> Result<(Catalog, Option<TableInfo>), Box<dyn StdError>> {
    let description = described(common)?;
    let entry = description.as_ref().and_then(|description| {
        let mut tables = description.tables.iter();
        tables.find(|entry| entry.name == name)
    });
    match (entry, &common.url) {
        (Some(entry), _) => {
            let catalog = catalog_at(&url_of(entry)?, &entry.info.to_string())?;
            Ok((catalog, Some(entry.info.clone())))
        }
        (None, Some(url)) => Ok((catalog_at(url, name)?, None)),
        (None, None) => match &description {
            Some(description) => Err(unknown(description, name)),
            None => Err(no_url().into()),
        },
    }
}

/// What the database says of a table that is to be described. The shell may have made the
/// file that is to hold the description already, so that it is empty.
pub(super) fn undescribed(common: &Common, name: &str) -> Result<Catalog, Box<dyn StdError>> {
    match &common.url {
        Some(url) => Ok(catalog_at(url, name)?),
        None => Ok(catalog(common, name)?.0),
    }
}

fn catalog_at(url: &str, name: &str) -> Result<Catalog> {
    let pool = connect(url, 1)?;
    let mut conn = pool.get().map_err(|source| Error::NoConnection {
        table: name.into(),
        source,
    })?;
    Catalog::read(&mut *conn, name)
}

fn url_of(entry: &DescribedEntry) -> Result<String> {
    match &entry.url {
        DatabaseUrl::Given(url) => Ok(url.clone()),
        DatabaseUrl::Variable(variable) => env::var(variable).map_err(|_| Error::NoVariable {
            variable: variable.clone(),
            table: entry.name.clone(),
        }),
    }
}

fn url(common: &Common) -> Result<String, String> {
    common.url.clone().ok_or_else(no_url)
}

fn no_url() -> String {
    format!(
        "no table is described: give --config with a description, or --url (or {VARIABLE}) with a database"
    )
}

/// The keys among the arguments, one argument for each column of the key.
pub(super) fn keys(source: &Source, parts: &[String]) -> Result<Vec<RowKey>, String> {
    let columns: Vec<_> = source.info().key().collect();
    if parts.is_empty() || !parts.len().is_multiple_of(columns.len()) {
        return Err(format!(
            "a job of `{}` is named by {}: give an argument for each",
            source.name(),
            columns.join(" and ")
        ));
    }
    Ok(parts
        .chunks(columns.len())
        .map(|key| key.to_vec().into())
        .collect())
}
