//! Cross-origin answers: exact origins only, and nothing at all when none is configured (behind a
//! same-origin worker none is needed).

use lambda_http::{
    Response,
    http::{HeaderMap, HeaderValue, Method, header},
};

use runtime::{ConfigError, Lookup};

use crate::env::CORS_ALLOWED_ORIGINS;

const METHODS: &str = "GET, POST, PUT, PATCH, DELETE, OPTIONS";
const HEADERS: &str = "authorization, content-type, idempotency-key, last-event-id";
const EXPOSED: &str = "x-vercel-ai-ui-message-stream, retry-after, x-request-id, link";
const MAX_AGE_S: &str = "600";

/// The origins that browsers may call from.
#[derive(Debug, Clone, Default)]
pub struct Cors {
    origins: Vec<HeaderValue>,
}

impl Cors {
    /// Reads `CORS_ALLOWED_ORIGINS`.
    ///
    /// # Errors
    /// When an entry is not an origin (`https://blog.example`), or is a wildcard.
    pub fn from_lookup(lookup: Lookup<'_>) -> Result<Self, ConfigError> {
        let fault = || {
            ConfigError::new(
                CORS_ALLOWED_ORIGINS,
                "must be exact origins such as https://blog.example, separated by commas",
            )
        };
        let origins = lookup(CORS_ALLOWED_ORIGINS)
            .unwrap_or_default()
            .split(',')
            .map(str::trim)
            .filter(|origin| !origin.is_empty())
            .map(|origin| {
                let host = origin
                    .strip_prefix("https://")
                    .or_else(|| origin.strip_prefix("http://"))
                    .ok_or_else(fault)?;
                let is_host = |byte: u8| byte.is_ascii_alphanumeric() || b".-:[]".contains(&byte);
                if host.is_empty() || !host.bytes().all(is_host) {
                    return Err(fault());
                }
                HeaderValue::from_str(origin).map_err(|_| fault())
            })
            .collect::<Result<_, _>>()?;
        Ok(Self { origins })
    }

    /// Whether a page at this host, with its port, may call.
    pub fn allows_host(&self, host: &str) -> bool {
        let of = |origin: &HeaderValue| {
            let origin = origin.to_str().unwrap_or_default();
            origin.split_once("://").is_some_and(|(_, of)| of == host)
        };
        self.origins.iter().any(of)
    }

    /// Adds what a browser at the request's origin needs to `response`.
    pub fn apply<B>(&self, method: &Method, asked: &HeaderMap, response: &mut Response<B>) {
        if self.origins.is_empty() {
            return;
        }
        let headers = response.headers_mut();
        // Also without a match: a cache must not give one origin's answer to another.
        headers.append(header::VARY, HeaderValue::from_static("Origin"));
        let Some(origin) = asked
            .get(header::ORIGIN)
            .filter(|origin| self.origins.contains(origin))
        else {
            return;
        };
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
        let fixed = if method == Method::OPTIONS {
            [
                (header::ACCESS_CONTROL_ALLOW_METHODS, METHODS),
                (header::ACCESS_CONTROL_ALLOW_HEADERS, HEADERS),
                (header::ACCESS_CONTROL_MAX_AGE, MAX_AGE_S),
            ]
            .to_vec()
        } else {
            vec![(header::ACCESS_CONTROL_EXPOSE_HEADERS, EXPOSED)]
        };
        for (name, value) in fixed {
            headers.insert(name, HeaderValue::from_static(value));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cors(origins: &str) -> Result<Cors, ConfigError> {
        Cors::from_lookup(&|_| Some(origins.to_owned()))
    }

    fn answer(cors: &Cors, method: &Method, origin: Option<&'static str>) -> HeaderMap {
        let mut asked = HeaderMap::new();
        if let Some(origin) = origin {
            asked.insert(header::ORIGIN, HeaderValue::from_static(origin));
        }
        let mut response = Response::new(lambda_http::Body::Empty);
        cors.apply(method, &asked, &mut response);
        response.headers().clone()
    }

    #[test]
    fn only_the_exact_origin_is_echoed() {
        let cors = cors("https://blog.example, http://localhost:3000").unwrap();
        let headers = answer(&cors, &Method::GET, Some("https://blog.example"));
        assert_eq!(
            headers["access-control-allow-origin"],
            "https://blog.example"
        );
        assert_eq!(headers["vary"], "Origin");
        for origin in ["https://blog.example.evil", "http://blog.example", "null"] {
            let headers = answer(&cors, &Method::GET, Some(origin));
            assert!(
                !headers.contains_key("access-control-allow-origin"),
                "{origin}"
            );
            assert_eq!(headers["vary"], "Origin");
        }
        assert!(!answer(&cors, &Method::GET, None).contains_key("access-control-allow-origin"));
    }

    #[test]
    fn a_preflight_hears_methods_and_headers() {
        let cors = cors("https://blog.example").unwrap();
        let headers = answer(&cors, &Method::OPTIONS, Some("https://blog.example"));
        assert_eq!(headers["access-control-allow-methods"], METHODS);
        assert_eq!(headers["access-control-allow-headers"], HEADERS);
    }

    #[test]
    fn without_origins_there_are_no_cors_headers() {
        assert!(answer(&Cors::default(), &Method::GET, Some("https://a.example")).is_empty());
    }

    #[test]
    fn wildcards_and_paths_stop_the_start() {
        for origins in [
            "*",
            "https://*",
            "https://a.example/",
            "blog.example",
            "https://",
        ] {
            assert!(cors(origins).is_err(), "{origins}");
        }
    }
}
