//! Where the blog lists its posts.

use std::net::IpAddr;

use runtime::{BLOG_FEED, ConfigError, Lookup};
use url::{Host, Url};

/// Reads the address.
pub(super) fn read(lookup: Lookup<'_>) -> Result<Option<Url>, ConfigError> {
    let Some(text) = runtime::blog_feed(lookup) else {
        return Ok(None);
    };
    let url = Url::parse(text.trim()).ok().filter(is_allowed);
    let url = url.ok_or_else(|| {
        let expected =
            "must be an https address (http is for this machine alone) without credentials";
        ConfigError::new(BLOG_FEED, expected)
    })?;
    Ok(Some(url))
}

/// Whether an address may be asked: `https`, to this machine also `http`, and without credentials.
fn is_allowed(url: &Url) -> bool {
    let is_local = match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => IpAddr::V4(address).is_loopback(),
        Some(Host::Ipv6(address)) => IpAddr::V6(address).is_loopback(),
        None => return false,
    };
    let is_plain = url.username().is_empty() && url.password().is_none();
    is_plain && (url.scheme() == "https" || url.scheme() == "http" && is_local)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_from(text: &str) -> Result<Option<Url>, ConfigError> {
        read(&|name| (name == BLOG_FEED).then(|| text.to_owned()))
    }

    #[test]
    fn a_listing_is_an_https_address_or_one_of_this_machine() {
        assert!(read_from(" ").unwrap().is_none());
        for text in [
            " https://blog.example.com/feed.xml ",
            "http://127.0.0.1:9/sitemap.xml",
            "http://[::1]/feed",
            "http://localhost:3000/feed.json",
        ] {
            assert!(read_from(text).unwrap().is_some(), "{text}");
        }
        for text in [
            "http://blog.example.com/feed.xml",
            "https://user:s3cret@blog.example.com/feed.xml",
            "file:///etc/passwd",
            "feed.xml",
            "https://",
        ] {
            let error = read_from(text).unwrap_err().to_string();
            assert!(error.starts_with(BLOG_FEED), "{error}");
            assert!(!error.contains("s3cret"), "{error}");
        }
    }
}
