//! What is refused, in S3's words:
//! <https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html>.

use std::io;

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::{Response, StatusCode};

/// Why a request is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum S3Error {
    #[error("Access Denied")]
    AccessDenied,
    #[error("Request has expired")]
    Expired,
    #[error("The AWS Access Key Id you provided does not exist in our records.")]
    UnknownKey,
    #[error("The provided token is malformed or otherwise invalid.")]
    InvalidToken,
    #[error(
        "The request signature we calculated does not match the signature you provided. Check your key and signing \
         method."
    )]
    Mismatch,
    #[error("There were headers present in the request which were not signed")]
    Unsigned,
    #[error("{0}")]
    Malformed(&'static str),
    #[error("The difference between the request time and the current time is too large.")]
    Skewed,
    #[error("The specified bucket does not exist")]
    NoBucket,
    #[error("The specified key does not exist.")]
    NoKey,
    #[error("At least one of the pre-conditions you specified did not hold")]
    Precondition,
    #[error("The specified method is not allowed against this resource.")]
    Method,
    #[error("You must provide the Content-Length HTTP header.")]
    NoLength,
    #[error("Your proposed upload exceeds the maximum allowed size")]
    TooLarge,
    #[error("You did not provide the number of bytes specified by the Content-Length HTTP header.")]
    Incomplete,
    #[error("CORSResponse: This CORS request is not allowed.")]
    Cors,
    #[error("We encountered an internal error. Please try again: {0}")]
    Internal(String),
}

impl From<io::Error> for S3Error {
    fn from(error: io::Error) -> Self {
        Self::Internal(error.to_string())
    }
}

impl S3Error {
    fn names(&self) -> (StatusCode, &'static str) {
        match self {
            Self::AccessDenied | Self::Expired | Self::Unsigned => {
                (StatusCode::FORBIDDEN, "AccessDenied")
            }
            Self::UnknownKey => (StatusCode::FORBIDDEN, "InvalidAccessKeyId"),
            Self::InvalidToken => (StatusCode::BAD_REQUEST, "InvalidToken"),
            Self::Mismatch => (StatusCode::FORBIDDEN, "SignatureDoesNotMatch"),
            Self::Malformed(_) => (StatusCode::BAD_REQUEST, "AuthorizationQueryParametersError"),
            Self::Skewed => (StatusCode::FORBIDDEN, "RequestTimeTooSkewed"),
            Self::NoBucket => (StatusCode::NOT_FOUND, "NoSuchBucket"),
            Self::NoKey => (StatusCode::NOT_FOUND, "NoSuchKey"),
            Self::Precondition => (StatusCode::PRECONDITION_FAILED, "PreconditionFailed"),
            Self::Method => (StatusCode::METHOD_NOT_ALLOWED, "MethodNotAllowed"),
            Self::NoLength => (StatusCode::LENGTH_REQUIRED, "MissingContentLength"),
            Self::TooLarge => (StatusCode::BAD_REQUEST, "EntityTooLarge"),
            Self::Incomplete => (StatusCode::BAD_REQUEST, "IncompleteBody"),
            Self::Cors => (StatusCode::FORBIDDEN, "AccessForbidden"),
            Self::Internal(_) => (StatusCode::INTERNAL_SERVER_ERROR, "InternalError"),
        }
    }

    pub(crate) fn response(&self) -> Response<Full<Bytes>> {
        let (status, code) = self.names();
        let xml = format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>{code}</Code><Message>{self}</Message></Error>"
        );
        let mut response = Response::new(Full::from(xml));
        *response.status_mut() = status;
        let xml = HeaderValue::from_static("application/xml");
        response.headers_mut().insert(CONTENT_TYPE, xml);
        response
    }
}
