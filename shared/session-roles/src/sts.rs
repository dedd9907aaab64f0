//! `AssumeRole` of AWS STS, about once an hour for a login: one signed request, with the signer,
//! the XML reader and the HTTP client that are there anyhow. The SDK's client for it would be half
//! of a function's binary.
//!
//! The request is the Query API's:
//! <https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRole.html>.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use aws_credential_types::Credentials;
use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningSettings, sign};
use aws_sigv4::sign::v4;
use aws_smithy_xml::decode::{Document, ScopedDecoder, XmlDecodeError, try_data};
use http_body_util::{BodyExt as _, Full, Limited};
use https::{Client, HttpError};
use hyper::header::CONTENT_TYPE;
use hyper::{Request, StatusCode};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

const VERSION: &str = "2011-06-15";
const FORM: &str = "application/x-www-form-urlencoded";
/// All attempts together.
const LIMIT: Duration = Duration::from_secs(10);
const ATTEMPTS: u32 = 3;
/// After the first attempt; twice as much after the next.
const PAUSE: Duration = Duration::from_millis(100);
/// An answer is about 1.5 KB.
const MAX_ANSWER_BYTES: usize = 64 * 1024;

/// Why there are no credentials.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StsError {
    /// Its endpoint is that of a Region.
    #[error("AWS_REGION is not set")]
    NoRegion,
    /// The signer takes neither the address nor the credentials.
    #[error("the request to STS cannot be signed: {0}")]
    Signing(String),
    /// No connection, or one that was lost before the answer.
    #[error("STS cannot be reached")]
    Unreachable(#[source] HttpError),
    /// The answer broke off, or is longer than any of STS.
    #[error("the answer of STS cannot be read: {0}")]
    Unreadable(String),
    /// All attempts together took too long.
    #[error("STS did not answer within {LIMIT:?}")]
    Late,
    /// An answer without credentials.
    #[error("STS refuses with {code} ({status}): {message}")]
    Refused {
        /// Of HTTP.
        status: StatusCode,
        /// The error's name, such as `AccessDenied`.
        code: String,
        /// In words.
        message: String,
    },
    /// No answer that STS is known to give.
    #[error("the answer of STS ({0}) is not understood")]
    Malformed(StatusCode),
}

impl StsError {
    /// Whether the same request may succeed in a moment.
    fn is_transient(&self) -> bool {
        match self {
            Self::Unreachable(_) | Self::Unreadable(_) => true,
            Self::Refused { status, code, .. } => {
                status.is_server_error() || code.starts_with("Throttling")
            }
            Self::Malformed(status) => status.is_server_error(),
            Self::NoRegion | Self::Signing(_) | Self::Late => false,
        }
    }
}

/// Where STS is.
#[derive(Debug)]
pub(crate) struct Sts {
    pub(crate) endpoint: Option<String>,
    pub(crate) region: Option<String>,
}

/// What is asked for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct AssumeRole<'a> {
    pub(crate) arn: &'a str,
    /// 2 to 64 characters: letters, digits and `_=,.@-`.
    pub(crate) session_name: &'a str,
    pub(crate) session_length: Duration,
}

impl Sts {
    /// Credentials of a role, for `caller`, whom its trust policy names.
    ///
    /// # Errors
    /// STS cannot be reached, or refuses.
    pub(crate) async fn assume_role(
        &self,
        asked: AssumeRole<'_>,
        caller: &Credentials,
        now: SystemTime,
    ) -> Result<Credentials, StsError> {
        let region = self.region.as_deref().ok_or(StsError::NoRegion)?;
        let address = match &self.endpoint {
            Some(endpoint) => format!("{}/", endpoint.trim_end_matches('/')),
            None => format!("https://sts.{region}.amazonaws.com/"),
        };
        let body = asked.body();
        let client = Client::new();
        let attempts = async {
            let mut pause = PAUSE;
            let mut attempt = 1;
            loop {
                let request = signed(&address, &body, region, caller, now)?;
                match send(&client, request).await {
                    Err(error) if error.is_transient() && attempt < ATTEMPTS => {
                        tracing::warn!("attempt {attempt} at AssumeRole failed: {error}");
                        tokio::time::sleep(pause).await;
                        pause *= 2;
                        attempt += 1;
                    }
                    answer => return answer,
                }
            }
        };
        tokio::time::timeout(LIMIT, attempts)
            .await
            .unwrap_or(Err(StsError::Late))
    }
}

impl AssumeRole<'_> {
    fn body(&self) -> String {
        let encoded = |text| utf8_percent_encode(text, NON_ALPHANUMERIC);
        format!(
            "Action=AssumeRole&Version={VERSION}&RoleArn={}&RoleSessionName={}&DurationSeconds={}",
            encoded(self.arn),
            encoded(self.session_name),
            self.session_length.as_secs()
        )
    }
}

type Call = Request<Full<bytes::Bytes>>;

fn signed(
    address: &str,
    body: &str,
    region: &str,
    caller: &Credentials,
    now: SystemTime,
) -> Result<Call, StsError> {
    let failed = |error: &dyn std::error::Error| StsError::Signing(error.to_string());
    let identity = caller.clone().into();
    let params = v4::SigningParams::builder()
        .identity(&identity)
        .region(region)
        .name("sts")
        .time(now)
        .settings(SigningSettings::default())
        .build()
        .map_err(|error| failed(&error))?;
    let headers = std::iter::once((CONTENT_TYPE.as_str(), FORM));
    let signable = SignableRequest::new(
        "POST",
        address,
        headers,
        SignableBody::Bytes(body.as_bytes()),
    )
    .map_err(|error| failed(&error))?;
    let (instructions, _) = sign(signable, &params.into())
        .map_err(|error| failed(&error))?
        .into_parts();
    let mut request = Request::post(address)
        .header(CONTENT_TYPE, FORM)
        .body(Full::from(body.to_owned()))
        .map_err(|error| failed(&error))?;
    instructions.apply_to_request_http1x(&mut request);
    Ok(request)
}

async fn send(client: &Client, request: Call) -> Result<Credentials, StsError> {
    let answer = client.send(request).await;
    let answer = answer.map_err(StsError::Unreachable)?;
    let status = answer.status();
    let body = Limited::new(answer.into_body(), MAX_ANSWER_BYTES)
        .collect()
        .await
        .map_err(|error| StsError::Unreadable(error.to_string()))?
        .to_bytes();
    let text = std::str::from_utf8(&body).map_err(|_| StsError::Malformed(status))?;
    let mut fields = fields(text).map_err(|_| StsError::Malformed(status))?;
    if status.is_success() {
        credentials(&mut fields).ok_or(StsError::Malformed(status))
    } else {
        Err(StsError::Refused {
            status,
            code: fields.remove("Code").ok_or(StsError::Malformed(status))?,
            message: fields.remove("Message").unwrap_or_default(),
        })
    }
}

/// Elements that hold others, and those that are read.
const OUTER: &[&str] = &["AssumeRoleResult", "Credentials", "Error"];
const READ: &[&str] = &[
    "AccessKeyId",
    "SecretAccessKey",
    "SessionToken",
    "Expiration",
    "Code",
    "Message",
];

type Fields = BTreeMap<&'static str, String>;

fn fields(xml: &str) -> Result<Fields, XmlDecodeError> {
    let mut fields = Fields::new();
    let mut document = Document::new(xml);
    read(&mut document.root_element()?, &mut fields)?;
    Ok(fields)
}

fn read(element: &mut ScopedDecoder<'_, '_>, fields: &mut Fields) -> Result<(), XmlDecodeError> {
    while let Some(mut tag) = element.next_tag() {
        let name = tag.start_el().local().to_owned();
        if OUTER.contains(&name.as_str()) {
            read(&mut tag, fields)?;
        } else if let Some(known) = READ.iter().find(|known| **known == name) {
            fields.insert(known, try_data(&mut tag)?.into_owned());
        }
    }
    Ok(())
}

fn credentials(fields: &mut Fields) -> Option<Credentials> {
    let expiry: jiff::Timestamp = fields.remove("Expiration")?.parse().ok()?;
    Some(Credentials::new(
        fields.remove("AccessKeyId")?,
        fields.remove("SecretAccessKey")?,
        Some(fields.remove("SessionToken")?),
        Some(expiry.into()),
        "AssumeRole",
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANSWER: &str = r#"<AssumeRoleResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/">
  <AssumeRoleResult>
    <AssumedRoleUser><Arn>arn:aws:sts::123456789012:assumed-role/demo/TestAR</Arn><AssumedRoleId>ARO123EXAMPLE123:TestAR</AssumedRoleId></AssumedRoleUser>
    <Credentials>
      <AccessKeyId>ASIAIOSFODNN7EXAMPLE</AccessKeyId>
      <SecretAccessKey>wJalrXUtnFEMI/K7MDENG/bPxRfiCYzEXAMPLEKEY</SecretAccessKey>
      <SessionToken>AQoDYXdzEPT//////////wEXAMPLE&amp;==</SessionToken>
      <Expiration>2019-11-09T13:34:41Z</Expiration>
    </Credentials>
    <PackedPolicySize>6</PackedPolicySize>
  </AssumeRoleResult>
  <ResponseMetadata><RequestId>c6104cbe-af31-11e0-8154-cbc7ccf896c7</RequestId></ResponseMetadata>
</AssumeRoleResponse>"#;

    #[test]
    fn the_documented_answer_is_read() {
        let read = credentials(&mut fields(ANSWER).unwrap()).unwrap();
        assert_eq!(read.access_key_id(), "ASIAIOSFODNN7EXAMPLE");
        assert_eq!(
            read.session_token(),
            Some("AQoDYXdzEPT//////////wEXAMPLE&==")
        );
        let expiry = SystemTime::UNIX_EPOCH + Duration::from_secs(1_573_306_481);
        assert_eq!(read.expiry(), Some(expiry));
    }

    #[test]
    fn an_answer_that_lacks_a_field_or_breaks_off_gives_nothing() {
        for name in [
            "AccessKeyId",
            "SecretAccessKey",
            "SessionToken",
            "Expiration",
        ] {
            let other = ANSWER.replace(name, "Other");
            assert!(
                credentials(&mut fields(&other).unwrap()).is_none(),
                "{name}"
            );
        }
        let broken = ANSWER.split_once("<Expiration>").unwrap().0;
        assert!(fields(broken).is_err() || credentials(&mut fields(broken).unwrap()).is_none());
        assert!(fields("<html").is_err());
    }

    #[test]
    fn a_refusal_says_why() {
        let text = "<ErrorResponse><Error><Type>Sender</Type><Code>AccessDenied</Code><Message>no</Message></Error></ErrorResponse>";
        let read = fields(text).unwrap();
        assert_eq!(read["Code"], "AccessDenied");
        assert_eq!(read["Message"], "no");
    }

    #[test]
    fn a_request_is_signed_for_the_region_and_carries_the_token_of_its_caller() {
        let caller = Credentials::new("AKIDEXAMPLE", "secret", Some("tok".into()), None, "test");
        let asked = AssumeRole {
            arn: "arn:aws:iam::123456789012:role/demo",
            session_name: "sql-blog",
            session_length: Duration::from_secs(3_600),
        };
        let body = asked.body();
        assert!(body.contains("RoleArn=arn%3Aaws%3Aiam%3A%3A123456789012%3Arole%2Fdemo&"));
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_573_306_481);
        let address = "https://sts.eu-west-1.amazonaws.com/";
        let request = signed(address, &body, "eu-west-1", &caller, now).unwrap();
        let header = |name: &str| request.headers()[name].to_str().unwrap();
        assert_eq!(header("x-amz-security-token"), "tok");
        let signature = header("authorization");
        let scope = "Credential=AKIDEXAMPLE/20191109/eu-west-1/sts/aws4_request";
        assert!(signature.contains(scope), "{signature}");
        assert!(signature.contains("content-type;host;"), "{signature}");
    }
}
