//! The `chats` function: a visitor's chats and messages over HTTP, buffered. [`handle`] routes; each route checks its
//! input, makes one call into `chat-store`, and answers. Every failure leaves through `http_api::Edge`.

mod body;
mod branches;
mod config;
#[cfg(test)]
mod fuzz;
mod input;
mod me;
mod once;
mod routes;
mod shares;
mod transfer;
mod votes;

use std::sync::Arc;
use std::time::SystemTime;

use chat_store::{Admission, Limit, OwnerId, Visitor, microseconds};
use config::Limits;
pub use config::WRITES_PER_MINUTE;
use dsql::{Db, Dsql};
use http_api::{ApiError, Authenticator, Cors, Edge, Limiter};
use jiff::Timestamp;
use lambda_http::http::Method;
use lambda_http::{Body, Request, Response};
use runtime::{ConfigError, Line, Lookup, Metrics, Pseudonyms};
use serde_json::Value;

/// What every request needs.
#[derive(Debug)]
pub struct App {
    dsql: Dsql,
    authenticator: Authenticator,
    pseudonyms: Pseudonyms,
    limiter: Limiter,
    limits: Limits,
    /// What `GET /api/models` answers.
    models: Value,
    edge: Edge,
}

impl App {
    /// Reads the configuration of `runtime` and `http-api`, and of this function; metrics go to `line`.
    ///
    /// # Errors
    /// When a variable is missing or wrong; the error names it.
    pub fn from_lookup(
        dsql: Dsql,
        lookup: Lookup<'_>,
        line: Arc<dyn Line>,
    ) -> Result<Self, ConfigError> {
        Ok(Self {
            authenticator: Authenticator::from_lookup(lookup)?,
            pseudonyms: Pseudonyms::from_lookup(lookup)?,
            limiter: Limiter::from_lookup(lookup)?,
            limits: Limits::from_lookup(lookup)?,
            models: config::models(lookup)?,
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
struct Call<'a> {
    app: &'a App,
    request: &'a Request,
    owner: OwnerId,
    is_guest: bool,
    db: Db,
    now: SystemTime,
}

impl Call<'_> {
    /// The time as the database keeps it.
    fn time(&self) -> Timestamp {
        microseconds(self.now)
    }

    /// Counts the request, once its input is known to be well formed, and refuses it beyond the limit.
    async fn admit(&self, limit: &Limit) -> Result<(), ApiError> {
        let address = http_api::address_pseudonym(&self.app.pseudonyms, self.request, self.now);
        let visitor = Visitor {
            owner: &self.owner,
            is_guest: self.is_guest,
            address: address.as_deref(),
        };
        match chat_store::admit(&self.db, limit, visitor, self.time()).await? {
            Admission::Admitted => Ok(()),
            Admission::Refused { retry_after } => Err(ApiError::rate_limited(retry_after)),
        }
    }

    async fn admit_write(&self) -> Result<(), ApiError> {
        self.admit(&self.app.limits.writes).await
    }

    async fn admit_heavy(&self) -> Result<(), ApiError> {
        self.admit(&self.app.limits.heavy).await
    }
}

/// A path the function knows, without its ids.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Route<'a> {
    Health,
    Ready,
    Models,
    Shared(&'a str),
    Chats,
    Chat(&'a str),
    Title(&'a str),
    Visibility(&'a str),
    Messages(&'a str),
    Votes(&'a str),
    Vote(&'a str, &'a str),
    Branches(&'a str),
    Branch(&'a str, &'a str),
    Fork(&'a str),
    Shares(&'a str),
    Share(&'a str, &'a str),
    History,
    Import,
    Me,
    Usage,
    Claim,
    Erasure(&'a str),
}

impl<'a> Route<'a> {
    fn of(segments: &[&'a str]) -> Option<Self> {
        Some(match segments {
            ["api", "health"] => Self::Health,
            ["api", "ready"] => Self::Ready,
            ["api", "models"] => Self::Models,
            ["api", "shared", token] => Self::Shared(token),
            ["api", "chats"] => Self::Chats,
            ["api", "chats", id] => Self::Chat(id),
            ["api", "chats", id, "title"] => Self::Title(id),
            ["api", "chats", id, "visibility"] => Self::Visibility(id),
            ["api", "chats", id, "messages"] => Self::Messages(id),
            ["api", "chats", id, "votes"] => Self::Votes(id),
            ["api", "chats", id, "messages", message, "vote"] => Self::Vote(id, message),
            ["api", "chats", id, "branches"] => Self::Branches(id),
            ["api", "chats", id, "branches", message] => Self::Branch(id, message),
            ["api", "chats", id, "fork"] => Self::Fork(id),
            ["api", "chats", id, "share"] => Self::Shares(id),
            ["api", "chats", id, "share", share] => Self::Share(id, share),
            ["api", "history"] => Self::History,
            ["api", "import"] => Self::Import,
            ["api", "me"] => Self::Me,
            ["api", "me", "usage"] => Self::Usage,
            ["api", "me", "claim"] => Self::Claim,
            ["api", "me", "erasure", job] => Self::Erasure(job),
            _ => return None,
        })
    }

    /// The route in logs, without ids.
    fn name(self) -> &'static str {
        match self {
            Self::Health => "/api/health",
            Self::Ready => "/api/ready",
            Self::Models => "/api/models",
            Self::Shared(_) => "/api/shared/{token}",
            Self::Chats => "/api/chats",
            Self::Chat(_) => "/api/chats/{id}",
            Self::Title(_) => "/api/chats/{id}/title",
            Self::Visibility(_) => "/api/chats/{id}/visibility",
            Self::Messages(_) => "/api/chats/{id}/messages",
            Self::Votes(_) => "/api/chats/{id}/votes",
            Self::Vote(..) => "/api/chats/{id}/messages/{messageId}/vote",
            Self::Branches(_) => "/api/chats/{id}/branches",
            Self::Branch(..) => "/api/chats/{id}/branches/{messageId}",
            Self::Fork(_) => "/api/chats/{id}/fork",
            Self::Shares(_) => "/api/chats/{id}/share",
            Self::Share(..) => "/api/chats/{id}/share/{shareId}",
            Self::History => "/api/history",
            Self::Import => "/api/import",
            Self::Me => "/api/me",
            Self::Usage => "/api/me/usage",
            Self::Claim => "/api/me/claim",
            Self::Erasure(_) => "/api/me/erasure/{jobId}",
        }
    }

    fn allow(self) -> &'static str {
        match self {
            Self::Health
            | Self::Ready
            | Self::Models
            | Self::Shared(_)
            | Self::Usage
            | Self::History
            | Self::Erasure(_) => "GET, OPTIONS",
            Self::Chats | Self::Messages(_) | Self::Shares(_) => "GET, POST, DELETE, OPTIONS",
            Self::Chat(_) => "GET, PATCH, DELETE, OPTIONS",
            Self::Title(_) | Self::Visibility(_) => "PATCH, OPTIONS",
            Self::Votes(_) | Self::Branches(_) => "GET, POST, OPTIONS",
            Self::Vote(..) => "PUT, OPTIONS",
            Self::Fork(_) | Self::Import | Self::Claim => "POST, OPTIONS",
            Self::Me | Self::Branch(..) | Self::Share(..) => "DELETE, OPTIONS",
        }
    }
}

/// Every route with its methods: `GET, POST, OPTIONS /api/...`, as the API's description has them.
pub fn routes() -> Vec<(&'static str, &'static str)> {
    [
        Route::Health,
        Route::Ready,
        Route::Models,
        Route::Shared(""),
        Route::Chats,
        Route::Chat(""),
        Route::Title(""),
        Route::Visibility(""),
        Route::Messages(""),
        Route::Votes(""),
        Route::Vote("", ""),
        Route::Branches(""),
        Route::Branch("", ""),
        Route::Fork(""),
        Route::Shares(""),
        Route::Share("", ""),
        Route::History,
        Route::Import,
        Route::Me,
        Route::Usage,
        Route::Claim,
        Route::Erasure(""),
    ]
    .map(|route| (route.name(), route.allow()))
    .to_vec()
}

/// Answers one request. Never fails: every error is a response.
pub async fn handle(app: &App, request: Request) -> Response<Body> {
    let segments = http_api::segments(&request);
    let route = Route::of(&segments);
    let name = route.map_or("unknown route", Route::name);
    app.edge
        .answer(
            &request,
            name,
            || app.dsql.stats(),
            |request| answer(app, request, route),
        )
        .await
}

async fn answer(
    app: &App,
    request: &Request,
    route: Option<Route<'_>>,
) -> Result<Response<Body>, ApiError> {
    let route = route.ok_or_else(ApiError::not_found)?;
    let now = app.edge.clock().now();
    app.limiter.admit_address(request, now)?;
    let db = app.dsql.until(http_api::deadline(request, now));
    let method = request.method();
    match route {
        Route::Health if method == Method::GET => return routes::health(),
        Route::Ready if method == Method::GET => return routes::ready(&db).await,
        Route::Shared(token) if method == Method::GET => {
            return shares::open(request, &db, token, microseconds(now)).await;
        }
        _ => {}
    }
    let caller = app.authenticator.caller(request, now)?;
    app.limiter.admit_caller(&caller, now)?;
    let owner = OwnerId::parse(&caller.subject).map_err(input::refusal)?;
    let call = Call {
        app,
        request,
        owner,
        is_guest: caller.anonymous,
        db,
        now,
    };
    match (method.as_str(), route) {
        ("GET", Route::Chats) => routes::list(&call).await,
        ("POST", Route::Chats) => routes::create(&call).await,
        ("GET", Route::Chat(id)) => routes::get(&call, id).await,
        ("PATCH", Route::Chat(id)) => routes::change(&call, id, body::CHANGEABLE).await,
        ("PATCH", Route::Title(id)) => routes::change(&call, id, &["title"]).await,
        ("PATCH", Route::Visibility(id)) => routes::change(&call, id, &["visibility"]).await,
        ("DELETE", Route::Chat(id)) => routes::delete(&call, id).await,
        ("GET", Route::Messages(id)) => routes::messages(&call, id).await,
        ("POST", Route::Messages(id)) => routes::append(&call, id).await,
        ("DELETE", Route::Messages(id)) => routes::cut(&call, id).await,
        ("DELETE", Route::Chats) => me::delete_all(&call).await,
        ("GET", Route::Votes(id)) => votes::list(&call, id).await,
        ("POST", Route::Votes(id)) => votes::vote(&call, id, None).await,
        ("PUT", Route::Vote(id, message)) => votes::vote(&call, id, Some(message)).await,
        ("GET", Route::Branches(id)) => branches::list(&call, id).await,
        ("POST", Route::Branches(id)) => branches::switch(&call, id).await,
        ("DELETE", Route::Branch(id, message)) => branches::delete(&call, id, message).await,
        ("POST", Route::Fork(id)) => shares::fork(&call, id).await,
        ("GET", Route::Shares(id)) => shares::list(&call, id).await,
        ("POST", Route::Shares(id)) => shares::share(&call, id).await,
        ("DELETE", Route::Shares(id)) => shares::unshare(&call, id).await,
        ("DELETE", Route::Share(id, share)) => shares::unshare_one(&call, id, share).await,
        ("GET", Route::History) => routes::history(&call).await,
        ("POST", Route::Import) => transfer::import(&call).await,
        ("GET", Route::Models) => me::models(&call),
        ("GET", Route::Usage) => me::usage(&call).await,
        ("POST", Route::Claim) => me::claim(&call).await,
        ("DELETE", Route::Me) => me::erase(&call).await,
        ("GET", Route::Erasure(job)) => me::receipt(&call, job).await,
        _ => Err(ApiError::method_not_allowed(route.allow())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_lead_to_their_routes_and_others_nowhere() {
        assert_eq!(Route::of(&["api", "chats"]), Some(Route::Chats));
        assert_eq!(
            Route::of(&["api", "chats", "x", "title"]),
            Some(Route::Title("x"))
        );
        for path in [
            &["api"][..],
            &["api", "chats", "x", "y"],
            &[""],
            &["chats"],
            &["api", "chats", "x", "messages", "y"],
        ] {
            assert_eq!(Route::of(path), None, "{path:?}");
        }
    }
}
