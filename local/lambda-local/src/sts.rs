//! Owns the HTTP endpoint of STS, as far as a function needs it: `AssumeRole` of the template's
//! roles, for those whom a role's trust policy names. Callers are known by their access key;
//! signatures are not checked.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use hyper::{Request, Response, StatusCode};
use percent_encoding::percent_decode_str;

use crate::clock::Clock;
use crate::loopback::{Server, read_body};

const MAX_REQUEST_BYTES: usize = 64 * 1024;
/// How long credentials last that were asked for without a duration.
const DEFAULT_SECONDS: u64 = 3_600;
const NAMESPACE: &str = "https://sts.amazonaws.com/doc/2011-06-15/";

/// Keys with which requests are signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Keys {
    /// Names the principal.
    pub access_key_id: String,
    /// Signs.
    pub secret_access_key: String,
    /// Goes with both.
    pub session_token: String,
}

impl Keys {
    /// New ones, as those of a role look.
    pub fn random() -> Self {
        let random = || uuid::Uuid::new_v4().simple().to_string();
        Self {
            access_key_id: format!("ASIA{:.16}", random().to_uppercase()),
            secret_access_key: format!("{}{:.8}", random(), random()),
            session_token: random(),
        }
    }
}

/// A role that can be assumed.
#[derive(Debug, Clone)]
pub struct AssumableRole {
    /// Its ARN.
    pub arn: String,
    /// What whoever assumes it gets.
    pub keys: Keys,
    /// The access keys of those who may.
    pub trusted: BTreeSet<String>,
}

/// The running endpoint; dropping it ends it.
#[derive(Debug)]
pub struct Endpoint {
    server: Server,
}

impl Endpoint {
    /// Serves on a free port of 127.0.0.1.
    ///
    /// # Errors
    /// No port can be had.
    pub async fn start(roles: Vec<AssumableRole>, clock: Clock) -> io::Result<Self> {
        let roles = Arc::new(roles);
        let server = Server::start(0, move |request| {
            let (roles, clock) = (Arc::clone(&roles), clock.clone());
            async move { answer(&roles, &clock, request).await }
        });
        Ok(Self {
            server: server.await?,
        })
    }

    /// For `AWS_ENDPOINT_URL_STS`.
    pub fn url(&self) -> String {
        format!("http://{}", self.server.address())
    }
}

async fn answer(
    roles: &[AssumableRole],
    clock: &Clock,
    request: Request<Incoming>,
) -> Response<Full<Bytes>> {
    let caller = access_key(&request);
    let body = read_body(request.into_body(), MAX_REQUEST_BYTES).await;
    let fields = fields(&body.unwrap_or_default());
    let (status, xml) = match assume(roles, clock, caller.as_deref(), &fields) {
        Ok(xml) => (StatusCode::OK, xml),
        Err((status, code, message)) => (
            status,
            format!(
                "<ErrorResponse xmlns=\"{NAMESPACE}\"><Error><Type>Sender</Type><Code>{code}</Code>\
                 <Message>{message}</Message></Error><RequestId>local</RequestId></ErrorResponse>"
            ),
        ),
    };
    let mut response = Response::new(Full::from(xml));
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static("text/xml"));
    response
}

type Refused = (StatusCode, &'static str, &'static str);

fn assume(
    roles: &[AssumableRole],
    clock: &Clock,
    caller: Option<&str>,
    fields: &BTreeMap<String, String>,
) -> Result<String, Refused> {
    let field = |name: &str| fields.get(name).map(String::as_str);
    let invalid = |message| (StatusCode::BAD_REQUEST, "ValidationError", message);
    if field("Action") != Some("AssumeRole") {
        let message = "only AssumeRole is answered here";
        return Err((StatusCode::BAD_REQUEST, "InvalidAction", message));
    }
    let seconds = match field("DurationSeconds").map(str::parse) {
        None => DEFAULT_SECONDS,
        Some(Ok(seconds)) if (900..=43_200).contains(&seconds) => seconds,
        Some(_) => return Err(invalid("DurationSeconds is out of range")),
    };
    let session = field("RoleSessionName").filter(|name| is_session_name(name));
    let session = session.ok_or_else(|| invalid("RoleSessionName is missing or invalid"))?;
    // One that does not exist and one that may not be assumed look alike, as in AWS.
    let role = roles.iter().find(|role| {
        field("RoleArn") == Some(&role.arn) && caller.is_some_and(|key| role.trusted.contains(key))
    });
    let denied = "the caller is not authorized to perform sts:AssumeRole on this role";
    let role = role.ok_or((StatusCode::FORBIDDEN, "AccessDenied", denied))?;
    let until = clock.now().saturating_add(Duration::from_secs(seconds));
    let until = until.map_err(|_| invalid("DurationSeconds is out of range"))?;
    let until = until.strftime("%Y-%m-%dT%H:%M:%SZ");
    let arn = role.arn.replacen(":iam:", ":sts:", 1);
    let arn = arn.replacen(":role/", ":assumed-role/", 1);
    let Keys {
        access_key_id,
        secret_access_key,
        session_token,
    } = &role.keys;
    Ok(format!(
        "<AssumeRoleResponse xmlns=\"{NAMESPACE}\"><AssumeRoleResult><AssumedRoleUser>\
         <AssumedRoleId>AROALOCAL:{session}</AssumedRoleId><Arn>{arn}/{session}</Arn></AssumedRoleUser><Credentials>\
         <AccessKeyId>{access_key_id}</AccessKeyId><SecretAccessKey>{secret_access_key}</SecretAccessKey>\
         <SessionToken>{session_token}</SessionToken><Expiration>{until}</Expiration></Credentials></AssumeRoleResult>\
         <ResponseMetadata><RequestId>local</RequestId></ResponseMetadata></AssumeRoleResponse>"
    ))
}

fn is_session_name(text: &str) -> bool {
    let is_allowed = |b: u8| b.is_ascii_alphanumeric() || b"_=,.@-".contains(&b);
    (2..=64).contains(&text.len()) && text.bytes().all(is_allowed)
}

/// The access key that a request names in its signature.
fn access_key(request: &Request<Incoming>) -> Option<String> {
    let header = request.headers().get(AUTHORIZATION)?.to_str().ok()?;
    let (_, scope) = header.split_once("Credential=")?;
    Some(scope.split_once('/')?.0.to_owned())
}

/// The fields of a form.
fn fields(body: &[u8]) -> BTreeMap<String, String> {
    let decode = |text: &str| {
        let text = text.replace('+', " ");
        percent_decode_str(&text).decode_utf8_lossy().into_owned()
    };
    let text = String::from_utf8_lossy(body);
    text.split('&')
        .filter_map(|field| field.split_once('='))
        .map(|(name, value)| (decode(name), decode(value)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROLE: &str = "arn:aws:iam::111122223333:role/session-1";

    fn asked(change: (&str, &str)) -> Result<String, Refused> {
        let role = AssumableRole {
            arn: ROLE.to_owned(),
            keys: Keys::random(),
            trusted: ["ASIACALLER".to_owned()].into(),
        };
        let mut fields: BTreeMap<String, String> = [
            ("Action", "AssumeRole"),
            ("RoleArn", ROLE),
            ("RoleSessionName", "sql-blog"),
            ("DurationSeconds", "900"),
            ("caller", "ASIACALLER"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into();
        fields.insert(change.0.to_owned(), change.1.to_owned());
        let caller = fields.remove("caller");
        assume(&[role], &Clock::wall(), caller.as_deref(), &fields)
    }

    #[test]
    fn a_role_is_assumed_by_whom_it_trusts_and_by_nobody_else() {
        let xml = asked(("DurationSeconds", "3600")).unwrap();
        let arn = "arn:aws:sts::111122223333:assumed-role/session-1/sql-blog";
        assert!(xml.contains(arn), "{xml}");
        for (change, code) in [
            (("caller", "ASIAOTHER"), "AccessDenied"),
            (
                ("RoleArn", "arn:aws:iam::111122223333:role/x"),
                "AccessDenied",
            ),
            (("DurationSeconds", "899"), "ValidationError"),
            (("DurationSeconds", "43201"), "ValidationError"),
            (("DurationSeconds", "x"), "ValidationError"),
            (("RoleSessionName", "a b"), "ValidationError"),
            (("RoleSessionName", "a"), "ValidationError"),
            (("Action", "GetSessionToken"), "InvalidAction"),
        ] {
            assert_eq!(asked(change).unwrap_err().1, code, "{change:?}");
        }
    }

    #[test]
    fn a_form_is_read_as_browsers_write_it() {
        let read = fields(b"RoleArn=arn%3Aaws%3Aiam&RoleSessionName=a+b%2B&x");
        assert_eq!(read.len(), 2);
        assert_eq!(read["RoleArn"], "arn:aws:iam");
        assert_eq!(read["RoleSessionName"], "a b+");
    }
}
