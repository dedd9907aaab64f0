//! What a bucket lets pages do: the first rule that has the origin, the method and every header
//! that is asked for.

use hyper::Method;
use hyper::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_HEADERS,
    ACCESS_CONTROL_REQUEST_METHOD, HeaderMap, HeaderName, HeaderValue, ORIGIN, VARY,
};

use crate::application::CorsRule;

/// The headers of the answer to a preflight; `None`: it is refused.
pub(crate) fn preflight(rules: &[CorsRule], asked: &HeaderMap) -> Option<HeaderMap> {
    let text = |name: HeaderName| asked.get(name)?.to_str().ok();
    let method = text(ACCESS_CONTROL_REQUEST_METHOD)?;
    let headers = text(ACCESS_CONTROL_REQUEST_HEADERS).unwrap_or_default();
    let wanted = headers
        .split(',')
        .map(str::trim)
        .filter(|name| !name.is_empty());
    let wanted: Vec<String> = wanted.map(str::to_ascii_lowercase).collect();
    let rule = rules.iter().find(|rule| {
        let is_allowed = |name: &String| {
            let allowed = &rule.allowed_headers;
            allowed
                .iter()
                .any(|one| one == "*" || one.eq_ignore_ascii_case(name))
        };
        rule.has(text(ORIGIN), method) && wanted.iter().all(is_allowed)
    })?;
    let mut answer = granted(rule, asked)?;
    let list = |names: &[String]| HeaderValue::from_str(&names.join(", ")).ok();
    answer.insert(ACCESS_CONTROL_ALLOW_METHODS, list(&rule.allowed_methods)?);
    if !wanted.is_empty() {
        answer.insert(ACCESS_CONTROL_ALLOW_HEADERS, list(&wanted)?);
    }
    if let Some(seconds) = rule.max_age_seconds {
        answer.insert(ACCESS_CONTROL_MAX_AGE, HeaderValue::from(seconds));
    }
    Some(answer)
}

/// The headers of an answer to a page; none where no rule has its origin and method.
pub(crate) fn answer(rules: &[CorsRule], method: &Method, asked: &HeaderMap) -> HeaderMap {
    let origin = asked.get(ORIGIN).and_then(|origin| origin.to_str().ok());
    let rule = rules.iter().find(|rule| rule.has(origin, method.as_str()));
    let granted = rule.and_then(|rule| {
        let mut answer = granted(rule, asked)?;
        if !rule.exposed_headers.is_empty() {
            let exposed = HeaderValue::from_str(&rule.exposed_headers.join(", ")).ok()?;
            answer.insert(ACCESS_CONTROL_EXPOSE_HEADERS, exposed);
        }
        Some(answer)
    });
    granted.unwrap_or_default()
}

fn granted(rule: &CorsRule, asked: &HeaderMap) -> Option<HeaderMap> {
    let mut answer = HeaderMap::new();
    let is_open = rule.allowed_origins.iter().any(|origin| origin == "*");
    let origin = if is_open {
        HeaderValue::from_static("*")
    } else {
        asked.get(ORIGIN)?.clone()
    };
    answer.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    let vary = "Origin, Access-Control-Request-Headers, Access-Control-Request-Method";
    answer.insert(VARY, HeaderValue::from_static(vary));
    Some(answer)
}

impl CorsRule {
    fn has(&self, origin: Option<&str>, method: &str) -> bool {
        let is_origin = |one: &String| origin.is_some_and(|origin| is_like(one, origin));
        self.allowed_origins.iter().any(is_origin)
            && self.allowed_methods.iter().any(|one| one == method)
    }
}

/// Whether an origin is the one that is allowed, where one `*` stands for anything:
/// <https://docs.aws.amazon.com/AmazonS3/latest/userguide/ManageCorsUsing.html>.
fn is_like(allowed: &str, origin: &str) -> bool {
    match allowed.split_once('*') {
        None => allowed == origin,
        Some((begin, end)) => origin
            .strip_prefix(begin)
            .is_some_and(|rest| rest.ends_with(end)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let pair = |(name, value): &(&'static str, &'static str)| {
            (
                HeaderName::from_static(name),
                HeaderValue::from_static(value),
            )
        };
        pairs.iter().map(pair).collect()
    }

    #[test]
    fn a_page_may_do_what_a_rule_has_of_origin_method_and_headers() {
        let list = |items: &[&str]| items.iter().map(|item| (*item).to_owned()).collect();
        let rules = [CorsRule {
            allowed_origins: list(&["https://a.example"]),
            allowed_methods: list(&["PUT", "GET"]),
            allowed_headers: list(&["content-type", "If-None-Match"]),
            exposed_headers: list(&["etag"]),
            max_age_seconds: Some(600),
        }];
        let preflight = |origin, method, headers| {
            let asked = asked(&[
                ("origin", origin),
                ("access-control-request-method", method),
                ("access-control-request-headers", headers),
            ]);
            preflight(&rules, &asked)
        };
        let own = "https://a.example";
        let granted = preflight(own, "PUT", "content-type,if-none-match").unwrap();
        assert_eq!(granted[ACCESS_CONTROL_ALLOW_ORIGIN], own);
        assert_eq!(granted[ACCESS_CONTROL_MAX_AGE], "600");
        assert!(preflight("https://b.example", "PUT", "").is_none());
        assert!(preflight("https://a.example.com", "PUT", "").is_none());
        assert!(preflight(own, "DELETE", "").is_none());
        assert!(preflight(own, "PUT", "x-other").is_none());
        let answer = |origin| answer(&rules, &Method::GET, &asked(&[("origin", origin)]));
        assert_eq!(answer(own)[ACCESS_CONTROL_EXPOSE_HEADERS], "etag");
        assert!(answer("null").is_empty());
    }

    #[test]
    fn one_star_in_an_allowed_origin_stands_for_anything() {
        for (allowed, origin, expected) in [
            ("*", "https://a.example", true),
            ("https://*.example", "https://a.example", true),
            ("https://*.example", "https://.example", true),
            ("https://*.example", "https://a.example.com", false),
            ("http://127.0.0.1:*", "http://127.0.0.1:9000", true),
            ("http://127.0.0.1:*", "http://127.0.0.2:9000", false),
            ("ab*ba", "aba", false),
        ] {
            assert_eq!(is_like(allowed, origin), expected, "{allowed} {origin}");
        }
    }
}
