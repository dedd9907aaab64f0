//! Owns the buckets of an application as S3 offers them, as far as objects are put, read and
//! deleted one by one: kept in files ([`Objects`]), and reached by `AWS_ENDPOINT_URL_S3`
//! ([`Endpoint`]), at `/<bucket>/<key>`.
//!
//! 1. Every request is signed, in its query or in its headers, by a caller whose role allows the
//!    action; the signature is checked, and so is the end of a presigned request.
//! 2. A page may call from the origins, with the methods and headers, that the bucket allows.
//! 3. What is refused is refused with S3's status and code.

mod api;
mod cors;
mod error;
mod objects;
mod signature;

pub use api::Endpoint;
pub use objects::Objects;
pub use signature::Caller;
