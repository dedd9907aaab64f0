//! Every route once: its path, its methods, what each costs, and who answers. The matcher, the
//! log's name of a route, `Allow` and the comparison with docs/openapi.yaml are made of this table.

use std::pin::Pin;

use dsql::Db;
use jiff::Timestamp;
use lambda_http::Request;

use crate::app::{Answer, Call, Cost};
use crate::{account, body, branches, chats, import, shares, uploads, votes};

/// Most ids that a path has.
const MAX_IDS: usize = 2;

/// A path, with its ids in braces, and what it answers to.
#[derive(Debug)]
pub(crate) struct Route {
    pub(crate) path: &'static str,
    endpoints: &'static [Endpoint],
}

/// One method of a route.
#[derive(Debug)]
pub(crate) struct Endpoint {
    method: &'static str,
    pub(crate) cost: Cost,
    pub(crate) handler: Handler,
}

/// Who answers.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Handler {
    /// Whoever asks is answered.
    Anyone(for<'a> fn(&'a Open<'a>, Ids<'a>) -> Pending<'a>),
    /// A caller who is known.
    Caller(for<'a> fn(&'a Call<'a>, Ids<'a>) -> Pending<'a>),
}

/// The ids of a path, in its order; the rest is empty.
type Ids<'a> = [&'a str; MAX_IDS];
type Pending<'a> = Pin<Box<dyn Future<Output = Answer> + Send + 'a>>;

/// A request of somebody who need not be known.
pub(crate) struct Open<'a> {
    pub(crate) request: &'a Request,
    pub(crate) db: Db,
    pub(crate) now: Timestamp,
}

const ROUTES: &[Route] = &[
    route(
        "/api/health",
        &[open(|_, _| Box::pin(async { chats::health() }))],
    ),
    route(
        "/api/ready",
        &[open(|open, _| Box::pin(chats::ready(&open.db)))],
    ),
    route(
        "/api/shared/{token}",
        &[open(|open, [token, _]| {
            Box::pin(shares::open(open.request, &open.db, token, open.now))
        })],
    ),
    route(
        "/api/models",
        &[read(|call, _| Box::pin(async { account::models(call) }))],
    ),
    route(
        "/api/chats",
        &[
            read(|call, _| Box::pin(chats::list(call))),
            write("POST", |call, _| Box::pin(chats::create(call))),
            heavy("DELETE", |call, _| Box::pin(account::delete_all(call))),
        ],
    ),
    route(
        "/api/chats/{id}",
        &[
            read(|call, [id, _]| Box::pin(chats::get(call, id))),
            write("PATCH", |call, [id, _]| {
                Box::pin(chats::change(call, id, body::CHANGEABLE))
            }),
            write("DELETE", |call, [id, _]| Box::pin(chats::delete(call, id))),
        ],
    ),
    route(
        "/api/chats/{id}/title",
        &[write("PATCH", |call, [id, _]| {
            Box::pin(chats::change(call, id, &["title"]))
        })],
    ),
    route(
        "/api/chats/{id}/visibility",
        &[write("PATCH", |call, [id, _]| {
            Box::pin(chats::change(call, id, &["visibility"]))
        })],
    ),
    route(
        "/api/chats/{id}/messages",
        &[
            read(|call, [id, _]| Box::pin(chats::messages(call, id))),
            write("POST", |call, [id, _]| Box::pin(chats::append(call, id))),
            write("DELETE", |call, [id, _]| Box::pin(chats::cut(call, id))),
        ],
    ),
    route(
        "/api/chats/{id}/votes",
        &[
            read(|call, [id, _]| Box::pin(votes::list(call, id))),
            write("POST", |call, [id, _]| {
                Box::pin(votes::vote(call, id, None))
            }),
        ],
    ),
    route(
        "/api/chats/{id}/messages/{messageId}/vote",
        &[write("PUT", |call, [id, message]| {
            Box::pin(votes::vote(call, id, Some(message)))
        })],
    ),
    route(
        "/api/chats/{id}/branches",
        &[
            read(|call, [id, _]| Box::pin(branches::list(call, id))),
            write("POST", |call, [id, _]| Box::pin(branches::switch(call, id))),
        ],
    ),
    route(
        "/api/chats/{id}/branches/{messageId}",
        &[write("DELETE", |call, [id, message]| {
            Box::pin(branches::delete(call, id, message))
        })],
    ),
    route(
        "/api/chats/{id}/fork",
        &[heavy("POST", |call, [id, _]| {
            Box::pin(shares::fork(call, id))
        })],
    ),
    route(
        "/api/chats/{id}/share",
        &[
            read(|call, [id, _]| Box::pin(shares::list(call, id))),
            heavy("POST", |call, [id, _]| Box::pin(shares::share(call, id))),
            write("DELETE", |call, [id, _]| {
                Box::pin(shares::unshare(call, id))
            }),
        ],
    ),
    route(
        "/api/chats/{id}/share/{shareId}",
        &[write("DELETE", |call, [id, share]| {
            Box::pin(shares::unshare_one(call, id, share))
        })],
    ),
    route(
        "/api/history",
        &[read(|call, _| Box::pin(chats::history(call)))],
    ),
    route(
        "/api/import",
        &[heavy("POST", |call, _| Box::pin(import::import(call)))],
    ),
    route(
        "/api/uploads",
        &[write("POST", |call, _| Box::pin(uploads::create(call)))],
    ),
    route(
        "/api/uploads/{id}",
        &[read(|call, [id, _]| Box::pin(uploads::get(call, id)))],
    ),
    route(
        "/api/me",
        &[heavy("DELETE", |call, _| Box::pin(account::erase(call)))],
    ),
    route(
        "/api/me/usage",
        &[read(|call, _| Box::pin(account::usage(call)))],
    ),
    route(
        "/api/me/claim",
        &[heavy("POST", |call, _| Box::pin(account::claim(call)))],
    ),
    route(
        "/api/me/erasure/{jobId}",
        &[read(|call, [job, _]| Box::pin(account::receipt(call, job)))],
    ),
];

const fn route(path: &'static str, endpoints: &'static [Endpoint]) -> Route {
    Route { path, endpoints }
}

const fn open(handler: for<'a> fn(&'a Open<'a>, Ids<'a>) -> Pending<'a>) -> Endpoint {
    Endpoint {
        method: "GET",
        cost: Cost::Read,
        handler: Handler::Anyone(handler),
    }
}

const fn read(handler: for<'a> fn(&'a Call<'a>, Ids<'a>) -> Pending<'a>) -> Endpoint {
    endpoint("GET", Cost::Read, handler)
}

const fn write(
    method: &'static str,
    handler: for<'a> fn(&'a Call<'a>, Ids<'a>) -> Pending<'a>,
) -> Endpoint {
    endpoint(method, Cost::Write, handler)
}

const fn heavy(
    method: &'static str,
    handler: for<'a> fn(&'a Call<'a>, Ids<'a>) -> Pending<'a>,
) -> Endpoint {
    endpoint(method, Cost::Heavy, handler)
}

const fn endpoint(
    method: &'static str,
    cost: Cost,
    handler: for<'a> fn(&'a Call<'a>, Ids<'a>) -> Pending<'a>,
) -> Endpoint {
    Endpoint {
        method,
        cost,
        handler: Handler::Caller(handler),
    }
}

impl Route {
    /// The route of a path that was cut at its slashes, with the path's ids.
    pub(crate) fn find<'a>(segments: &[&'a str]) -> Option<(&'static Self, Ids<'a>)> {
        ROUTES
            .iter()
            .find_map(|route| Some((route, route.ids(segments)?)))
    }

    /// The ids of a path, if it is this route's.
    fn ids<'a>(&self, segments: &[&'a str]) -> Option<Ids<'a>> {
        let mut ids = [""; MAX_IDS];
        let mut free = ids.iter_mut();
        let mut given = segments.iter();
        for wanted in self.path.split('/').skip(1) {
            let given = *given.next()?;
            if wanted.starts_with('{') {
                *free.next()? = given;
            } else if wanted != given {
                return None;
            }
        }
        given.next().is_none().then_some(ids)
    }

    pub(crate) fn endpoint(&self, method: &str) -> Option<&Endpoint> {
        self.endpoints.iter().find(|one| one.method == method)
    }

    /// The header `Allow`.
    pub(crate) fn allow(&self) -> String {
        let methods = self.endpoints.iter().map(|endpoint| endpoint.method);
        let methods: Vec<&str> = methods.chain(["OPTIONS"]).collect();
        methods.join(", ")
    }
}

/// Every route with its methods: `GET, POST, OPTIONS` of `/api/...`, as the API's description has
/// them.
pub fn routes() -> Vec<(&'static str, String)> {
    ROUTES
        .iter()
        .map(|route| (route.path, route.allow()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(path: &str) -> Option<(&'static str, Ids<'_>)> {
        let segments: Vec<&str> = path.split('/').skip(1).collect();
        Route::find(&segments).map(|(route, ids)| (route.path, ids))
    }

    #[test]
    fn every_path_leads_to_its_own_route_with_its_ids() {
        for route in ROUTES {
            let path = route
                .path
                .replace("{messageId}", "b")
                .replace("{shareId}", "b");
            let path = path
                .replace("{id}", "a")
                .replace("{token}", "a")
                .replace("{jobId}", "a");
            let ids = match route.path.matches('{').count() {
                0 => ["", ""],
                1 => ["a", ""],
                _ => ["a", "b"],
            };
            assert_eq!(found(&path), Some((route.path, ids)), "{path}");
        }
    }

    #[test]
    fn other_paths_lead_nowhere() {
        for path in [
            "/",
            "/api",
            "/chats",
            "/api/chats/",
            "/api/chats/x/y",
            "/api/chats/x/messages/y",
            "/api/chats/x/messages/y/vote/z",
        ] {
            let found = found(path).filter(|(_, ids)| !ids.concat().is_empty());
            assert_eq!(found, None, "{path}");
        }
    }

    #[test]
    fn a_method_stands_once_in_a_route_and_reads_cost_nothing() {
        for route in ROUTES {
            for endpoint in route.endpoints {
                let same = |other: &&Endpoint| other.method == endpoint.method;
                assert_eq!(
                    route.endpoints.iter().filter(same).count(),
                    1,
                    "{}",
                    route.path
                );
                let is_free = endpoint.cost == Cost::Read;
                assert_eq!(is_free, endpoint.method == "GET", "{}", route.path);
            }
        }
    }
}
