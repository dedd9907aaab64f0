//! What can go wrong with a bucket.

use aws_credential_types::provider::error::CredentialsError;

/// Why a request was not signed, or had no answer that can be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BucketError {
    /// The environment has none.
    #[error("no AWS credentials")]
    NoCredentials(#[source] CredentialsError),
    /// The signer takes neither the address nor the credentials.
    #[error("the request cannot be signed: {0}")]
    Signing(String),
    /// No connection, or one that was lost before the answer.
    #[cfg(feature = "client")]
    #[error("the bucket cannot be reached")]
    Unreachable(#[source] https::HttpError),
    /// The answer broke off.
    #[cfg(feature = "client")]
    #[error("the object cannot be read: {0}")]
    Unreadable(String),
    /// All of it took longer than was allowed.
    #[cfg(feature = "client")]
    #[error("the bucket does not answer in time")]
    Late,
    /// Another status than an object, or its absence, has.
    #[cfg(feature = "client")]
    #[error("the bucket answers {0}")]
    Refused(hyper::StatusCode),
}
