//! What the HTTP functions share: who is calling, what is read from a request, how answers and
//! failures are sent. It knows Lambda and HTTP, but no chat and no SQL.

mod address;
mod admission;
mod caller;
mod cors;
mod edge;
mod env;
mod error;
#[cfg(test)]
mod fuzz;
mod jwk;
mod jwt;
mod problem;
mod request;
mod response;
mod serve;

pub use address::address_pseudonym;
pub use admission::{Limiter, OpenStream, REQUESTS_PER_MINUTE};
pub use caller::{Authenticator, Caller};
pub use cors::Cors;
pub use edge::Edge;
pub use env::{
    AUTH_AUDIENCE, AUTH_ISSUER, AUTH_JWKS, AUTH_MAX_TOKEN_SECONDS, AUTH_MODE, CORS_ALLOWED_ORIGINS,
};
pub use error::{ApiError, ClientCode, ServerCode};
pub use jwk::{Algorithm, JwkSet, VerifyingKey};
pub use jwt::{Claims, Policy, Rejection, verify};
pub use request::{BODY, MAX_DEPTH, body, bytes, deadline, query, segments};
pub use response::{empty, json, json_text, with_tag};
pub use serve::serve;
