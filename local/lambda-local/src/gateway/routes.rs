//! Owns the choice of a route as API Gateway makes it: a literal segment before a parameter, a
//! parameter before a greedy one, a named method before `ANY`.

use std::collections::BTreeMap;

use crate::application::Route;

/// What a request's path and method lead to.
#[derive(Debug, PartialEq)]
pub(super) enum Found<'a> {
    /// A method of a resource, and what its parameters are.
    Route(&'a Route, BTreeMap<String, String>),
    /// The resource is there, the method is not.
    NoMethod,
    /// There is no such resource.
    NoResource,
}

/// Finds the route of a request; `path` is percent-encoded, and so are the parameters.
pub(super) fn find<'a>(routes: &'a [Route], method: &str, path: &str) -> Found<'a> {
    let mut best: Option<(Vec<u8>, BTreeMap<String, String>, &'a str)> = None;
    for route in routes {
        let Some((rank, parameters)) = matches(&route.path, path) else {
            continue;
        };
        if best.as_ref().is_none_or(|(other, ..)| rank > *other) {
            best = Some((rank, parameters, &route.path));
        }
    }
    let Some((_, parameters, resource)) = best else {
        return Found::NoResource;
    };
    let with_method = |wanted: &str| {
        routes
            .iter()
            .find(|route| route.path == resource && route.method == wanted)
    };
    with_method(method)
        .or_else(|| with_method("ANY"))
        .map_or(Found::NoMethod, |route| Found::Route(route, parameters))
}

/// How well a resource fits, segment by segment (literal 2, parameter 1, greedy 0), and its
/// parameters.
fn matches(resource: &str, path: &str) -> Option<(Vec<u8>, BTreeMap<String, String>)> {
    let mut rank = Vec::new();
    let mut parameters = BTreeMap::new();
    let mut segments = path.trim_start_matches('/').split('/').peekable();
    for part in resource.trim_start_matches('/').split('/') {
        let name = part
            .strip_prefix('{')
            .and_then(|part| part.strip_suffix('}'));
        match name {
            Some(name) if name.ends_with('+') => {
                let rest: Vec<&str> = segments.by_ref().collect();
                let rest = rest.join("/");
                if rest.is_empty() {
                    return None;
                }
                parameters.insert(name.trim_end_matches('+').to_owned(), rest);
                rank.push(0);
                return Some((rank, parameters));
            }
            Some(name) => {
                let segment = segments.next().filter(|segment| !segment.is_empty())?;
                parameters.insert(name.to_owned(), segment.to_owned());
                rank.push(1);
            }
            None => {
                if segments.next()? != part {
                    return None;
                }
                rank.push(2);
            }
        }
    }
    // One slash at the end is passed over.
    match segments.next() {
        None => Some((rank, parameters)),
        Some("") if segments.peek().is_none() => Some((rank, parameters)),
        Some(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn routes(list: &[(&str, &str)]) -> Vec<Route> {
        list.iter()
            .map(|(method, path)| Route {
                method: (*method).to_owned(),
                path: (*path).to_owned(),
                function: format!("{method} {path}"),
                is_streamed: false,
                timeout: Duration::from_secs(29),
            })
            .collect()
    }

    #[test]
    fn the_most_specific_resource_wins_then_its_method() {
        let routes = routes(&[
            ("ANY", "/api/{proxy+}"),
            ("ANY", "/api/chats"),
            ("POST", "/api/chats/{id}"),
            ("ANY", "/api/chats/{id}/{part}"),
            ("GET", "/api/chats/{id}/{part}/stream"),
            ("ANY", "/api/chats/{id}/{part}/{proxy+}"),
        ]);
        let found = |method: &str, path: &str| match find(&routes, method, path) {
            Found::Route(route, _) => route.function.clone(),
            Found::NoMethod => "no method".to_owned(),
            Found::NoResource => "no resource".to_owned(),
        };
        assert_eq!(found("GET", "/api/chats"), "ANY /api/chats");
        assert_eq!(found("GET", "/api/chats/"), "ANY /api/chats");
        assert_eq!(found("POST", "/api/chats/c1"), "POST /api/chats/{id}");
        assert_eq!(found("GET", "/api/chats/c1"), "no method");
        assert_eq!(
            found("GET", "/api/chats/c1/votes"),
            "ANY /api/chats/{id}/{part}"
        );
        assert_eq!(
            found("GET", "/api/chats/c1/c1/stream"),
            "GET /api/chats/{id}/{part}/stream"
        );
        assert_eq!(
            found("PUT", "/api/chats/c1/messages/m1/vote"),
            "ANY /api/chats/{id}/{part}/{proxy+}"
        );
        assert_eq!(found("GET", "/api/models"), "ANY /api/{proxy+}");
        assert_eq!(found("GET", "/api/"), "no resource");
        assert_eq!(found("GET", "/other"), "no resource");
    }

    #[test]
    fn parameters_are_as_they_were_sent() {
        let routes = routes(&[("GET", "/a/{id}/{rest+}")]);
        let Found::Route(_, parameters) = find(&routes, "GET", "/a/x%20y/b/c") else {
            panic!("there is a route");
        };
        assert_eq!(parameters["id"], "x%20y");
        assert_eq!(parameters["rest"], "b/c");
    }
}
