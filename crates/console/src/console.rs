//! The console of an application.

use std::sync::Arc;

use axum::Router;
use axum::http::HeaderName;
use diesel::r2d2::{ManageConnection, Pool};
use diesel_status_tracker::{DescribedConnection, DescribedTable, StatusTracked, TableInfo};

use crate::error::{Error, Result};
use crate::table::Source;
use crate::web;

/// The pages of some tracked tables, to be mounted in an axum application under any
/// path. See the [crate's documentation](crate) for an example.
///
/// Who may see the pages is the application's to decide, with a layer of its own.
#[derive(Debug, Clone, Default)]
pub struct Console {
    sources: Vec<Source>,
    has_actions: bool,
    who: Option<HeaderName>,
}

impl Console {
    /// A console without tables, which shows and changes nothing.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// With the table of the step `S`, and that step. A table with several steps, or
    /// whose statuses are text, is a [`source`](Self::source).
    ///
    /// # Errors
    ///
    /// [`Error::Tracker`] where the step is not valid, or its statuses are no numbers;
    /// [`Error::TwoNames`].
    pub fn table<S, M>(self, pool: &Pool<M>) -> Result<Self>
    where
        S: StatusTracked,
        M: ManageConnection<Connection: DescribedConnection>,
    {
        let table = DescribedTable::new(TableInfo::of::<S>()?);
        self.source(Source::new(table, pool.clone()))
    }

    /// With this table.
    ///
    /// # Errors
    ///
    /// [`Error::TwoNames`].
    pub fn source(mut self, source: Source) -> Result<Self> {
        if self
            .sources
            .iter()
            .any(|other| other.name() == source.name())
        {
            return Err(Error::TwoNames(source.name().into()));
        }
        self.sources.push(source);
        Ok(self)
    }

    /// Whether jobs can be changed. By default they can only be looked at.
    #[must_use]
    pub fn actions(mut self, are_allowed: bool) -> Self {
        self.has_actions = are_allowed;
        self
    }

    /// The header that names who sends a request, for the log of what was changed.
    /// Make sure that a browser cannot set it: it is to come from what checks who
    /// somebody is.
    #[must_use]
    pub fn who(mut self, header: HeaderName) -> Self {
        self.who = Some(header);
        self
    }

    /// The pages.
    pub fn router<S: Clone + Send + Sync + 'static>(self) -> Router<S> {
        web::router(Arc::new(web::App::new(
            self.sources,
            self.has_actions,
            self.who,
        )))
    }
}
