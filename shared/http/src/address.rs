//! Where a request came from: the address that the gateway saw, never one that a header claims.

use std::net::IpAddr;
use std::time::SystemTime;

use lambda_http::{Request, RequestExt, request::RequestContext};
use runtime::Pseudonyms;

/// The pseudonym of the address for this UTC day; `None` where there is no address, or no key.
pub fn address_pseudonym(
    pseudonyms: &Pseudonyms,
    request: &Request,
    now: SystemTime,
) -> Option<String> {
    pseudonyms.of_network(&of(request)?, now)
}

/// The network of the address, in clear: to be kept nowhere. An IPv6 visitor is its /64 network.
pub(crate) fn of(request: &Request) -> Option<String> {
    let address = match request.request_context_ref()? {
        RequestContext::ApiGatewayV1(context) => context.identity.source_ip.as_deref(),
        RequestContext::ApiGatewayV2(context) => context.http.source_ip.as_deref(),
        #[allow(
            unreachable_patterns,
            reason = "the crate's features decide which others there are"
        )]
        _ => None,
    }?;
    Some(network(address))
}

fn network(address: &str) -> String {
    match address.parse::<IpAddr>() {
        Ok(IpAddr::V6(v6)) => {
            let [a, b, c, d, ..] = v6.segments();
            format!("{a:x}:{b:x}:{c:x}:{d:x}")
        }
        _ => address.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ipv6_visitor_is_its_network() {
        assert_eq!(network("2001:db8:1:2::1"), network("2001:db8:1:2:ffff::9"));
        assert_ne!(network("2001:db8:1:2::1"), network("2001:db8:1:3::1"));
        assert_eq!(network("203.0.113.7"), "203.0.113.7");
    }
}
