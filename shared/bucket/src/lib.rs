//! The bucket that attachments are uploaded to. [`Bucket`] signs requests for one object each, with
//! the signature in the URL, so that whoever has the URL may send that request until it ends: a
//! page its upload, a browser its download. With the feature `client` it sends them itself.
//!
//! | Variable | Meaning | Default |
//! |---|---|---|
//! | `UPLOADS_BUCKET` | name of the bucket; without it there are no uploads | none |
//! | `AWS_REGION` | its Region | required |
//! | `AWS_ENDPOINT_URL_S3` | where else S3 answers; for tests and `make dev` | the Region's S3 |
//!
//! Presigned requests as S3 has them:
//! <https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-query-string-auth.html>.

#[cfg(feature = "client")]
mod client;
mod error;
mod presign;

use std::time::{Duration, SystemTime};

use aws_config::environment::EnvironmentVariableCredentialsProvider;
use aws_credential_types::provider::{ProvideCredentials as _, SharedCredentialsProvider};
use runtime::{ConfigError, Lookup};

pub use crate::error::BucketError;
use crate::presign::Presigned;

/// Name of the bucket.
pub const UPLOADS_BUCKET: &str = "UPLOADS_BUCKET";
/// Where else S3 answers, as the AWS tools name it.
pub const AWS_ENDPOINT_URL_S3: &str = "AWS_ENDPOINT_URL_S3";
const AWS_REGION: &str = "AWS_REGION";

/// A bucket of S3.
#[derive(Debug, Clone)]
pub struct Bucket {
    /// Without a slash at the end.
    base: String,
    region: String,
    credentials: SharedCredentialsProvider,
    #[cfg(feature = "client")]
    client: https::Client,
}

impl Bucket {
    /// The bucket that the variables name; `None` where there is none.
    ///
    /// # Errors
    /// The name is not one of a bucket, or there is no Region.
    pub fn from_lookup(lookup: Lookup<'_>) -> Result<Option<Self>, ConfigError> {
        let Some(name) = lookup(UPLOADS_BUCKET).filter(|name| !name.trim().is_empty()) else {
            return Ok(None);
        };
        // A dot would need a certificate that S3 does not have.
        let is_of_a_name = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        if !(3..=63).contains(&name.len()) || !name.bytes().all(is_of_a_name) {
            let reason = "must be a bucket's name: 3 to 63 lower-case letters, digits and hyphens";
            return Err(ConfigError::new(UPLOADS_BUCKET, reason));
        }
        let region =
            lookup(AWS_REGION).ok_or_else(|| ConfigError::new(AWS_REGION, "is not set"))?;
        let base = match lookup(AWS_ENDPOINT_URL_S3) {
            Some(endpoint) => format!("{}/{name}", endpoint.trim_end_matches('/')),
            None => format!("https://{name}.s3.{region}.amazonaws.com"),
        };
        Ok(Some(Self {
            base,
            region,
            credentials: SharedCredentialsProvider::new(
                EnvironmentVariableCredentialsProvider::new(),
            ),
            #[cfg(feature = "client")]
            client: https::Client::new(),
        }))
    }

    /// A URL that takes one object, within `life` from `now`. All of `headers` have to be sent as
    /// they are here.
    ///
    /// # Errors
    /// There are no credentials, or they cannot sign.
    pub async fn put_url(
        &self,
        key: &str,
        headers: &[(&str, &str)],
        life: Duration,
        now: SystemTime,
    ) -> Result<String, BucketError> {
        self.url(("PUT", key), headers, &[], life, now).await
    }

    /// A URL that gives the object, within `life` from `now`, under the name that it is shown and
    /// saved by.
    ///
    /// # Errors
    /// As [`put_url`](Self::put_url).
    pub async fn get_url(
        &self,
        key: &str,
        filename: Option<&str>,
        life: Duration,
        now: SystemTime,
    ) -> Result<String, BucketError> {
        let shown = filename.map(presign::content_disposition);
        let query = shown.as_deref();
        let query = query.map(|shown| ("response-content-disposition", shown));
        self.url(("GET", key), &[], query.as_slice(), life, now)
            .await
    }

    async fn url(
        &self,
        (method, key): (&str, &str),
        headers: &[(&str, &str)],
        query: &[(&str, &str)],
        life: Duration,
        now: SystemTime,
    ) -> Result<String, BucketError> {
        let credentials = self.credentials.provide_credentials().await;
        let presigned = Presigned {
            method,
            address: &format!("{}/{key}", self.base),
            headers,
            query,
            life,
        };
        presigned.url(
            credentials.map_err(BucketError::NoCredentials)?,
            &self.region,
            now,
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(variables: &[(&str, &str)]) -> Result<Option<Bucket>, ConfigError> {
        Bucket::from_lookup(&|name| {
            let found = variables.iter().find(|(key, _)| *key == name)?;
            Some(found.1.to_owned())
        })
    }

    #[test]
    fn a_bucket_answers_under_its_own_name_or_at_the_endpoint_that_is_given() {
        let base = |more: &[(&str, &str)]| {
            let own = [(UPLOADS_BUCKET, "a-1"), (AWS_REGION, "eu-west-1")];
            of(&[&own[..], more].concat()).unwrap().unwrap().base
        };
        assert_eq!(base(&[]), "https://a-1.s3.eu-west-1.amazonaws.com");
        let here = (AWS_ENDPOINT_URL_S3, "http://127.0.0.1:9/");
        assert_eq!(base(&[here]), "http://127.0.0.1:9/a-1");
    }

    #[test]
    fn without_a_name_there_is_no_bucket_and_a_wrong_one_stops_the_start() {
        assert!(of(&[]).unwrap().is_none());
        assert!(of(&[(UPLOADS_BUCKET, "")]).unwrap().is_none());
        for name in ["a.b.c", "AB-c", "ab", "a/b"] {
            let error = of(&[(UPLOADS_BUCKET, name), (AWS_REGION, "eu-west-1")]).unwrap_err();
            assert_eq!(error.variable(), UPLOADS_BUCKET, "{name}");
        }
        let error = of(&[(UPLOADS_BUCKET, "a-1")]).unwrap_err();
        assert_eq!(error.variable(), AWS_REGION);
    }
}
