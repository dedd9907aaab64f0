//! Who is calling: the subject of a token verified here, or of an authorizer that API Gateway ran
//! before. Nothing else of a request, neither body nor other header, ever names the caller.

use std::time::{Duration, SystemTime};

use lambda_http::{Request, RequestExt, request::RequestContext};
use runtime::{ConfigError, Lookup, number, required};
use serde_json::Value;

use crate::{
    env::{AUTH_AUDIENCE, AUTH_ISSUER, AUTH_JWKS, AUTH_MAX_TOKEN_SECONDS, AUTH_MODE},
    error::ApiError,
    jwk::JwkSet,
    jwt::{Claims, Policy, Rejection, checked_subject, verify},
};

/// How far ahead a token's end may lie where nothing is configured.
const DEFAULT_LIFETIME_SECONDS: u64 = 24 * 3_600;
/// A year.
const MOST_LIFETIME_SECONDS: u64 = 366 * 24 * 3_600;

/// An authenticated caller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// Who it is: 1 to 128 visible ASCII characters, unique at the issuer.
    pub subject: String,
    /// A guest without an account.
    pub anonymous: bool,
}

impl From<Claims> for Caller {
    fn from(claims: Claims) -> Self {
        Self {
            subject: claims.subject,
            anonymous: claims.anonymous,
        }
    }
}

/// Decides who is calling, in one of two modes.
#[derive(Debug, Clone)]
pub enum Authenticator {
    /// The bearer token is verified here against a configured key set.
    Jwks {
        /// Public keys of the issuer.
        keys: JwkSet,
        /// What a token must say.
        policy: Policy,
    },
    /// API Gateway's authorizer has verified the caller; its claims are in the event. Only safe
    /// when every route of the gateway has the authorizer and nothing else may invoke the function.
    ApiGateway,
}

impl Authenticator {
    /// Reads `AUTH_MODE` and, for `jwks`, `AUTH_JWKS`, `AUTH_ISSUER` and `AUTH_AUDIENCE`.
    ///
    /// # Errors
    /// When a variable is missing or wrong; the error names it.
    pub fn from_lookup(lookup: Lookup<'_>) -> Result<Self, ConfigError> {
        match lookup(AUTH_MODE).as_deref().unwrap_or("jwks") {
            "jwks" => Self::jwks(lookup, AUTH_AUDIENCE),
            "apigw" => Ok(Self::ApiGateway),
            _ => Err(ConfigError::new(AUTH_MODE, "must be \"jwks\" or \"apigw\"")),
        }
    }

    /// For tokens of the same issuer that open something else than the API: their `aud` is the
    /// value of `variable`. `None` where it is not set.
    ///
    /// # Errors
    /// When `AUTH_JWKS` or `AUTH_ISSUER` is missing or wrong, or the audience is that of every
    /// visitor, `AUTH_AUDIENCE`.
    pub fn for_audience(
        lookup: Lookup<'_>,
        variable: &'static str,
    ) -> Result<Option<Self>, ConfigError> {
        match lookup(variable) {
            None => Ok(None),
            audience if audience == lookup(AUTH_AUDIENCE) => Err(ConfigError::new(
                variable,
                "must differ from AUTH_AUDIENCE, whose tokens visitors hold",
            )),
            Some(_) => Self::jwks(lookup, variable).map(Some),
        }
    }

    fn jwks(lookup: Lookup<'_>, audience: &'static str) -> Result<Self, ConfigError> {
        Ok(Self::Jwks {
            keys: JwkSet::parse(&required(lookup, AUTH_JWKS)?)?,
            policy: Policy {
                issuer: required(lookup, AUTH_ISSUER)?,
                audience: required(lookup, audience)?,
                max_lifetime: max_lifetime(lookup)?,
            },
        })
    }

    /// The caller of `request`.
    ///
    /// # Errors
    /// `unauthenticated` when there is no credential, or it is not accepted.
    pub fn caller(&self, request: &Request, now: SystemTime) -> Result<Caller, ApiError> {
        match self {
            Self::Jwks { keys, policy } => {
                let token = bearer(request)
                    .ok_or_else(|| ApiError::unauthenticated("a bearer token is required"))?;
                verify(token, keys, policy, now)
                    .map(Caller::from)
                    .map_err(|rejection| {
                        let message = match rejection {
                            Rejection::Expired => "the bearer token has expired",
                            _ => "the bearer token is not accepted",
                        };
                        ApiError::unauthenticated(message).because(rejection)
                    })
            }
            Self::ApiGateway => authorized(request)
                .ok_or_else(|| ApiError::unauthenticated("the gateway names no caller")),
        }
    }
}

impl Authenticator {
    /// The caller that a token in a body names, such as a guest's at login. `None` when it is not
    /// accepted, and always where the gateway checks tokens: there are no keys here then.
    pub fn subject_of(&self, token: &str, now: SystemTime) -> Option<Caller> {
        match self {
            Self::Jwks { keys, policy } => verify(token, keys, policy, now).ok().map(Caller::from),
            Self::ApiGateway => None,
        }
    }
}

fn max_lifetime(lookup: Lookup<'_>) -> Result<Duration, ConfigError> {
    let limits = 60..=MOST_LIFETIME_SECONDS;
    number(
        lookup,
        AUTH_MAX_TOKEN_SECONDS,
        DEFAULT_LIFETIME_SECONDS,
        limits,
    )
    .map(Duration::from_secs)
}

/// The token of the only `Authorization` header; the scheme is case-insensitive (RFC 9110 11.1).
fn bearer(request: &Request) -> Option<&str> {
    let mut values = request.headers().get_all("authorization").iter();
    let value = values.next()?.to_str().ok()?;
    // REST events carry every header twice, in both header maps: equal values are one header.
    if values.any(|other| other.as_bytes() != value.as_bytes()) {
        return None;
    }
    let (scheme, token) = value.split_once(' ')?;
    scheme
        .eq_ignore_ascii_case("bearer")
        .then(|| token.trim_matches(' '))
}

/// The claims of an authorizer: Cognito and Lambda on a REST API, JWT and Lambda on an HTTP API.
fn authorized(request: &Request) -> Option<Caller> {
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let (subject, anonymous) = match request.request_context_ref()? {
        RequestContext::ApiGatewayV1(context) => {
            let fields = &context.authorizer.fields;
            let claims = fields.get("claims");
            let subject = claims
                .and_then(|claims| claims.get("sub"))
                .or_else(|| fields.get("sub"))
                .or_else(|| fields.get("principalId"))
                .and_then(text)?;
            let anonymous = claims
                .and_then(|claims| claims.get("anon"))
                .or_else(|| fields.get("anon"));
            (subject, anonymous.is_some_and(is_true))
        }
        RequestContext::ApiGatewayV2(context) => {
            let authorizer = context.authorizer.as_ref()?;
            if let Some(jwt) = &authorizer.jwt {
                let anonymous = jwt.claims.get("anon").is_some_and(|anon| anon == "true");
                (jwt.claims.get("sub")?.clone(), anonymous)
            } else {
                let fields = &authorizer.fields;
                let subject = fields
                    .get("sub")
                    .or_else(|| fields.get("principalId"))
                    .and_then(text)?;
                (subject, fields.get("anon").is_some_and(is_true))
            }
        }
        _ => return None,
    };
    Some(Caller {
        subject: checked_subject(subject).ok()?,
        anonymous,
    })
}

/// An authorizer's context turns booleans into text.
fn is_true(value: &Value) -> bool {
    value == &Value::Bool(true) || value == "true"
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use super::*;

    fn v1(authorizer: &str) -> Request {
        let event = format!(
            r#"{{"resource":"/api/chats","path":"/api/chats","httpMethod":"GET","headers":{{}},"multiValueHeaders":{{}},
            "requestContext":{{"resourceId":"r","stage":"v1","requestId":"q","identity":{{}},"httpMethod":"GET","apiId":"a","authorizer":{authorizer}}},"body":null,"isBase64Encoded":false}}"#
        );
        lambda_http::request::from_str(&event).unwrap()
    }

    fn v2(authorizer: &str) -> Request {
        let event = format!(
            r#"{{"version":"2.0","routeKey":"$default","rawPath":"/api/chats","rawQueryString":"","headers":{{}},
            "requestContext":{{"accountId":"1","apiId":"a","stage":"$default","requestId":"q","http":{{"method":"GET","path":"/api/chats"}},"authorizer":{authorizer}}},"isBase64Encoded":false}}"#
        );
        lambda_http::request::from_str(&event).unwrap()
    }

    fn subject(request: &Request) -> Option<String> {
        Authenticator::ApiGateway
            .caller(request, UNIX_EPOCH)
            .ok()
            .map(|caller| caller.subject)
    }

    #[test]
    fn claims_are_found_where_each_kind_of_authorizer_puts_them() {
        for request in [
            v1(r#"{"claims":{"sub":"u1"}}"#),
            v1(r#"{"principalId":"u1"}"#),
            v2(r#"{"jwt":{"claims":{"sub":"u1"},"scopes":null}}"#),
            v2(r#"{"lambda":{"principalId":"u1"}}"#),
        ] {
            assert_eq!(subject(&request).as_deref(), Some("u1"));
        }
    }

    #[test]
    fn without_an_authorizer_nobody_is_believed() {
        for request in [
            v1("null"),
            v1("{}"),
            v1(r#"{"claims":{"sub":""}}"#),
            v2("null"),
        ] {
            assert_eq!(subject(&request), None);
        }
    }

    #[test]
    fn a_bearer_token_is_read_whatever_the_case_of_its_scheme() {
        let with = |values: &[&'static str]| {
            let mut request = v1("null");
            for value in values {
                request
                    .headers_mut()
                    .append("authorization", value.parse().unwrap());
            }
            bearer(&request).map(str::to_owned)
        };
        assert_eq!(with(&["Bearer abc"]).as_deref(), Some("abc"));
        assert_eq!(with(&["bEARER  abc "]).as_deref(), Some("abc"));
        assert_eq!(with(&["Bearer abc", "Bearer abc"]).as_deref(), Some("abc"));
        assert_eq!(with(&["Bearer abc", "Bearer def"]), None);
        assert_eq!(with(&["Basic abc"]), None);
        assert_eq!(with(&["Bearer"]), None);
        assert_eq!(with(&[]), None);
    }

    #[test]
    fn a_wrong_mode_or_a_missing_variable_stops_the_start() {
        let start = |variables: &[(&str, &str)]| {
            Authenticator::from_lookup(&|name| {
                let found = variables.iter().find(|(key, _)| *key == name)?;
                Some(found.1.to_owned())
            })
            .map_err(|error| error.variable())
        };
        assert_eq!(start(&[(AUTH_MODE, "none")]).unwrap_err(), AUTH_MODE);
        assert_eq!(start(&[]).unwrap_err(), AUTH_JWKS);
        let jwks = r#"{"keys":[{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}"#;
        assert_eq!(start(&[(AUTH_JWKS, jwks)]).unwrap_err(), AUTH_ISSUER);
        let mut all = vec![(AUTH_JWKS, jwks), (AUTH_ISSUER, "i")];
        assert_eq!(start(&all).unwrap_err(), AUTH_AUDIENCE);
        all.push((AUTH_AUDIENCE, "a"));
        assert!(start(&all).is_ok());
        assert!(start(&[(AUTH_MODE, "apigw")]).is_ok());

        let other = |audience: &'static str| {
            let mut all = all.clone();
            all.push(("SQL_AUTH_AUDIENCE", audience));
            Authenticator::for_audience(
                &|name| {
                    let found = all.iter().find(|(key, _)| *key == name)?;
                    Some(found.1.to_owned())
                },
                "SQL_AUTH_AUDIENCE",
            )
            .map_err(|error| error.variable())
        };
        assert!(other("sql").unwrap().is_some());
        assert_eq!(other("a").unwrap_err(), "SQL_AUTH_AUDIENCE");
        let none = Authenticator::for_audience(&|_| None, "SQL_AUTH_AUDIENCE");
        assert!(none.unwrap().is_none());
    }
}
