//! What the handlers of a request get: the configured function, and the call of a known caller.

use std::sync::Arc;
use std::time::SystemTime;

use chat_store::{Admission, OwnerId, Visitor, microseconds};
use dsql::{Db, Dsql};
use http_api::{ApiError, Authenticator, Cors, Edge, Limiter};
use jiff::Timestamp;
use lambda_http::{Body, Request, Response};
use runtime::{ConfigError, Line, Lookup, Metrics, Pseudonyms};
use serde_json::Value;

use crate::config::{self, Limits, Uploads};

/// What a handler answers.
pub(crate) type Answer = Result<Response<Body>, ApiError>;

/// Which limit a route is counted by, besides that of all requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cost {
    /// None.
    Read,
    /// That of cheap writes.
    Write,
    /// That of writes of many rows, and of what starts long work.
    Heavy,
}

/// What every request needs.
#[derive(Debug)]
pub struct App {
    pub(crate) dsql: Dsql,
    pub(crate) authenticator: Authenticator,
    pseudonyms: Pseudonyms,
    pub(crate) limiter: Limiter,
    limits: Limits,
    /// What `GET /api/models` answers.
    pub(crate) models: Value,
    pub(crate) uploads: Option<Uploads>,
    pub(crate) edge: Edge,
}

impl App {
    /// Reads the configuration of `runtime` and `http-api`, and of this function; metrics go to
    /// `line`.
    ///
    /// # Errors
    /// When a variable is missing or wrong; the error names it.
    pub fn from_lookup(
        dsql: Dsql,
        lookup: Lookup<'_>,
        line: Arc<dyn Line>,
    ) -> Result<Self, ConfigError> {
        let uploads = Uploads::from_lookup(lookup)?;
        Ok(Self {
            authenticator: Authenticator::from_lookup(lookup)?,
            pseudonyms: Pseudonyms::from_lookup(lookup)?,
            limiter: Limiter::from_lookup(lookup)?,
            limits: Limits::from_lookup(lookup)?,
            models: config::models(lookup, uploads.as_ref())?,
            uploads,
            edge: Edge::new(
                Cors::from_lookup(lookup)?,
                Arc::clone(dsql.clock()),
                Metrics::new("chats", line),
            ),
            dsql,
        })
    }
}

/// One request of a known caller.
pub(crate) struct Call<'a> {
    pub(crate) app: &'a App,
    pub(crate) request: &'a Request,
    pub(crate) owner: OwnerId,
    pub(crate) is_guest: bool,
    /// What its route costs.
    pub(crate) cost: Cost,
    pub(crate) db: Db,
    pub(crate) now: SystemTime,
}

impl Call<'_> {
    /// The time as the database keeps it.
    pub(crate) fn time(&self) -> Timestamp {
        microseconds(self.now)
    }

    /// Counts a write, once its input is known to be well formed, and refuses it beyond the limit
    /// of its route.
    ///
    /// # Errors
    /// `rate_limited`.
    pub(crate) async fn admit(&self) -> Result<(), ApiError> {
        let limit = match self.cost {
            Cost::Read => return Ok(()),
            Cost::Write => &self.app.limits.writes,
            Cost::Heavy => &self.app.limits.heavy,
        };
        let address = http_api::address_pseudonym(&self.app.pseudonyms, self.request, self.now);
        let visitor = Visitor {
            owner: &self.owner,
            is_guest: self.is_guest,
            address: address.as_deref(),
        };
        match chat_store::limits::admit(&self.db, limit, visitor, self.time()).await? {
            Admission::Admitted => Ok(()),
            Admission::Refused { retry_after } => Err(ApiError::rate_limited(retry_after)),
        }
    }
}
