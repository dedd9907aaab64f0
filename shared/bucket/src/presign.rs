//! Signature Version 4 in the query of a URL, as S3 takes it: the path as it stands, no digest of
//! the body, and every header that is given signed.

use std::time::{Duration, SystemTime};

use aws_credential_types::Credentials;
use aws_sigv4::http_request::{
    PercentEncodingMode, SignableBody, SignableRequest, SignatureLocation, SigningSettings,
    UriPathNormalizationMode, sign,
};
use aws_sigv4::sign::v4;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use crate::error::BucketError;

/// What RFC 3986 leaves unreserved; everything else is encoded.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'_')
    .remove(b'.')
    .remove(b'~');

/// A request that somebody else will send.
pub(crate) struct Presigned<'a> {
    pub(crate) method: &'a str,
    /// Without a query.
    pub(crate) address: &'a str,
    pub(crate) headers: &'a [(&'a str, &'a str)],
    pub(crate) query: &'a [(&'a str, &'a str)],
    pub(crate) life: Duration,
}

impl Presigned<'_> {
    /// Its URL, signed at `now`.
    pub(crate) fn url(
        &self,
        credentials: Credentials,
        region: &str,
        now: SystemTime,
    ) -> Result<String, BucketError> {
        let failed = |error: &dyn std::error::Error| BucketError::Signing(error.to_string());
        let mut settings = SigningSettings::default();
        settings.percent_encoding_mode = PercentEncodingMode::Single;
        settings.uri_path_normalization_mode = UriPathNormalizationMode::Disabled;
        settings.signature_location = SignatureLocation::QueryParams;
        settings.expires_in = Some(self.life);
        let identity = credentials.into();
        let params = v4::SigningParams::builder()
            .identity(&identity)
            .region(region)
            .name("s3")
            .time(now)
            .settings(settings)
            .build()
            .map_err(|error| failed(&error))?;
        let mut url = self.address.to_owned();
        for (name, value) in self.query {
            append(&mut url, name, value);
        }
        let signable = SignableRequest::new(
            self.method,
            url.clone(),
            self.headers.iter().copied(),
            SignableBody::UnsignedPayload,
        )
        .map_err(|error| failed(&error))?;
        let (instructions, _) = sign(signable, &params.into())
            .map_err(|error| failed(&error))?
            .into_parts();
        for (name, value) in instructions.params() {
            append(&mut url, name, value);
        }
        Ok(url)
    }
}

/// The header `Content-Disposition` of a file that a browser may show, in the form of RFC 6266 for
/// names of any script.
pub(crate) fn content_disposition(filename: &str) -> String {
    let name = utf8_percent_encode(filename, ENCODED);
    format!("inline; filename*=UTF-8''{name}")
}

fn append(url: &mut String, name: &str, value: &str) {
    let separator = if url.contains('?') { '&' } else { '?' };
    url.push(separator);
    url.push_str(name);
    url.push('=');
    url.extend(utf8_percent_encode(value, ENCODED));
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of AWS's documentation, which has no others.
    fn published() -> Credentials {
        let secret = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";
        Credentials::new("AKIAIOSFODNN7EXAMPLE", secret, None, None, "test")
    }

    /// 2013-05-24T00:00:00Z
    fn then() -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(1_369_353_600)
    }

    #[test]
    fn the_url_of_the_published_example_is_the_published_one() {
        // https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-query-string-auth.html
        let url = Presigned {
            method: "GET",
            address: "https://examplebucket.s3.amazonaws.com/test.txt",
            headers: &[],
            query: &[],
            life: Duration::from_secs(86_400),
        }
        .url(published(), "us-east-1", then());
        assert_eq!(
            url.unwrap(),
            "https://examplebucket.s3.amazonaws.com/test.txt?X-Amz-Algorithm=AWS4-HMAC-SHA256\
             &X-Amz-Credential=AKIAIOSFODNN7EXAMPLE%2F20130524%2Fus-east-1%2Fs3%2Faws4_request\
             &X-Amz-Date=20130524T000000Z&X-Amz-Expires=86400&X-Amz-SignedHeaders=host\
             &X-Amz-Signature=aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404"
        );
    }

    #[test]
    fn every_header_is_signed_and_every_parameter_of_the_answer_is_part_of_the_url() {
        let url = |headers, query| {
            let address = "https://b.s3.eu-west-1.amazonaws.com/k";
            let life = Duration::from_secs(60);
            Presigned {
                method: "PUT",
                address,
                headers,
                query,
                life,
            }
            .url(published(), "eu-west-1", then())
            .unwrap()
        };
        let one = url(
            &[("content-type", "image/png"), ("content-length", "5")],
            &[("response-content-disposition", "inline; filename=\"a b\"")],
        );
        let signed = "X-Amz-SignedHeaders=content-length%3Bcontent-type%3Bhost";
        assert!(one.contains(signed), "{one}");
        let given = "/k?response-content-disposition=inline%3B%20filename%3D%22a%20b%22&";
        assert!(one.contains(given), "{one}");
        let other = url(
            &[("content-type", "image/png"), ("content-length", "6")],
            &[],
        );
        let signature = |url: &str| url.rsplit_once("Signature=").unwrap().1.to_owned();
        assert_ne!(signature(&one), signature(&other));
    }
}
