//! Owns what stands before the API in `make dev`: the chat page, and its visitor's token, as a
//! blog's server would hand them out.

use std::time::Duration;

use bytes::Bytes;
use hyper::http::request::Parts;
use hyper::{Method, Response, StatusCode};
use lambda_local::clock::Clock;
use lambda_local::gateway::{Body, Front};
use lambda_local::loopback;
use lambda_local::site::{self, Site};

use crate::key::VisitorKey;

/// How long the page's token is valid; the page asks for another.
const TOKEN_LIFETIME: Duration = Duration::from_secs(300);

pub(crate) struct SiteFront {
    pub(crate) site: Site,
    pub(crate) key: VisitorKey,
    pub(crate) issuer: String,
    pub(crate) audience: String,
    pub(crate) visitor: String,
    pub(crate) clock: Clock,
}

impl Front for SiteFront {
    async fn answer(&self, head: &Parts, _body: &Bytes) -> Option<Response<Body>> {
        let path = head.uri.path();
        if path == "/token" && head.method == Method::POST && !site::is_of_a_login(&head.headers) {
            // Anyone could have a token otherwise whose page calls itself this machine.
            if !loopback::names_loopback(&head.headers) {
                let refused = "a token is for pages of this machine";
                return Some(site::text(StatusCode::FORBIDDEN, refused));
            }
            return Some(site::token(&self.key.token(
                &self.issuer,
                &self.audience,
                &self.visitor,
                self.clock.now(),
                TOKEN_LIFETIME,
            )));
        }
        self.site.answer(&head.method, path)
    }
}
