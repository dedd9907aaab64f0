//! Asking the blog's host: one document at a time, within limits of size, time and redirects, and
//! no other host.

use std::time::Duration;

use bytes::Bytes;
use chat_store::posts::Validators;
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use https::{Answer, Client, HttpError};
use hyper::header::{
    ACCEPT, CONTENT_ENCODING, CONTENT_TYPE, ETAG, HeaderMap, HeaderName, IF_MODIFIED_SINCE,
    IF_NONE_MATCH, LAST_MODIFIED, LOCATION, USER_AGENT,
};
use hyper::{Request, Response, StatusCode};
use url::{Origin, Url};

/// How long a document may take, redirects included.
pub(super) const LIMIT: Duration = Duration::from_secs(10);
const MAX_REDIRECTS: usize = 3;
/// Longer validators are not kept.
const MAX_VALIDATOR_BYTES: usize = 512;
/// Longer addresses are no posts.
const MAX_URL_BYTES: usize = 2_048;
const AGENT: &str = "dsql-chat (index of posts)";
const TYPES: &str = "text/html, application/xhtml+xml, application/xml, application/rss+xml, application/atom+xml, \
    application/feed+json, application/json;q=0.9, text/xml";

/// Why a document was not read.
#[derive(Debug, thiserror::Error)]
pub(super) enum SiteError {
    #[error("the blog cannot be reached")]
    Unreachable(#[from] HttpError),
    #[error("the request cannot be made")]
    Request(#[from] hyper::http::Error),
    #[error("the answer broke off")]
    Broken(#[source] Box<dyn std::error::Error + Send + Sync>),
    #[error("the answer is longer than {0} bytes")]
    TooLong(usize),
    #[error("there is no answer within {LIMIT:?}")]
    Late,
    #[error("the answer is {0}")]
    Status(StatusCode),
    #[error("the address leads to another host, or to http")]
    Elsewhere,
    #[error("there are more than {MAX_REDIRECTS} redirects")]
    Redirects,
    #[error("the answer is compressed, which was not asked for")]
    Compressed,
    #[error("the document is {0}")]
    Unreadable(&'static str),
    #[error("there is no such document")]
    Gone,
    #[error("no post of this host is listed")]
    Empty,
}

/// What a host says of a document.
pub(super) enum Fetched {
    /// It has not changed.
    Same,
    /// It is not there any more.
    Gone,
    Sent(Document),
}

pub(super) struct Document {
    pub(super) body: Bytes,
    /// In lower case, without parameters.
    pub(super) media_type: String,
    pub(super) validators: Validators,
}

/// The blog's host.
#[derive(Debug)]
pub(super) struct Site {
    client: Client,
    base: Url,
    origin: Origin,
}

impl Site {
    pub(super) fn new(listing: &Url) -> Self {
        Self {
            client: Client::new(),
            base: listing.clone(),
            origin: listing.origin(),
        }
    }

    /// Whether an address is one of this host's.
    pub(super) fn is_own(&self, address: &str) -> bool {
        self.own(address).is_some()
    }

    /// An address, which may be relative to the listing's, if it is one of this host's.
    pub(super) fn own(&self, address: &str) -> Option<Url> {
        self.owned(self.base.join(address).ok()?)
    }

    fn owned(&self, mut url: Url) -> Option<Url> {
        url.set_fragment(None);
        let is_plain = url.username().is_empty() && url.password().is_none();
        let is_short = url.as_str().len() <= MAX_URL_BYTES;
        (url.origin() == self.origin && is_plain && is_short).then_some(url)
    }

    /// Asks for a document of at most this many bytes, which was known by `before`.
    pub(super) async fn get(
        &self,
        url: &Url,
        before: &Validators,
        most: usize,
    ) -> Result<Fetched, SiteError> {
        let followed = tokio::time::timeout(LIMIT, self.follow(url, before, most));
        followed.await.unwrap_or(Err(SiteError::Late))
    }

    async fn follow(
        &self,
        url: &Url,
        before: &Validators,
        most: usize,
    ) -> Result<Fetched, SiteError> {
        let mut url = url.clone();
        for _ in 0..=MAX_REDIRECTS {
            let answer = self.ask(&url, before).await?;
            let status = answer.status();
            match status {
                StatusCode::OK => return Ok(Fetched::Sent(read(answer, most).await?)),
                StatusCode::NOT_MODIFIED => return Ok(Fetched::Same),
                StatusCode::NOT_FOUND | StatusCode::GONE => return Ok(Fetched::Gone),
                _ if status.is_redirection() => {
                    let target = text(answer.headers(), &LOCATION);
                    let target = target.and_then(|target| url.join(&target).ok());
                    url = target
                        .and_then(|target| self.owned(target))
                        .ok_or(SiteError::Elsewhere)?;
                }
                _ => return Err(SiteError::Status(status)),
            }
        }
        Err(SiteError::Redirects)
    }

    async fn ask(&self, url: &Url, before: &Validators) -> Result<Response<Answer>, SiteError> {
        let mut request = Request::get(url.as_str())
            .header(USER_AGENT, AGENT)
            .header(ACCEPT, TYPES);
        for (name, value) in [
            (IF_NONE_MATCH, &before.etag),
            (IF_MODIFIED_SINCE, &before.last_modified),
        ] {
            if let Some(value) = value {
                request = request.header(name, value);
            }
        }
        let request = request.body(Full::default())?;
        Ok(self.client.send(request).await?)
    }
}

async fn read(answer: Response<Answer>, most: usize) -> Result<Document, SiteError> {
    let headers = answer.headers();
    if text(headers, &CONTENT_ENCODING).is_some_and(|coding| coding != "identity") {
        return Err(SiteError::Compressed);
    }
    let media_type = text(headers, &CONTENT_TYPE).unwrap_or_default();
    let media_type = media_type.split(';').next().unwrap_or_default().trim();
    let kept = |name| text(headers, name).filter(|value| value.len() <= MAX_VALIDATOR_BYTES);
    let (media_type, validators) = (
        media_type.to_ascii_lowercase(),
        Validators {
            etag: kept(&ETAG),
            last_modified: kept(&LAST_MODIFIED),
        },
    );
    let body = Limited::new(answer.into_body(), most).collect().await;
    let body = body.map_err(|error| {
        if error.is::<LengthLimitError>() {
            SiteError::TooLong(most)
        } else {
            SiteError::Broken(error)
        }
    })?;
    Ok(Document {
        body: body.to_bytes(),
        media_type,
        validators,
    })
}

fn text(headers: &HeaderMap, name: &HeaderName) -> Option<String> {
    Some(headers.get(name)?.to_str().ok()?.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_the_sites_own_by_its_scheme_its_host_and_its_port() {
        let site = Site::new(&Url::parse("https://blog.example.com/feed/all.xml").unwrap());
        let own = |address| site.own(address).map(String::from);
        assert_eq!(own("/a").unwrap(), "https://blog.example.com/a");
        assert_eq!(own("b#c").unwrap(), "https://blog.example.com/feed/b");
        assert!(own("HTTPS://Blog.Example.com:443/a").is_some());
        for address in [
            "http://blog.example.com/a",
            "https://blog.example.com:8443/a",
            "https://blog.example.com.evil.example/a",
            "https://blog.example.com@evil.example/a",
            "https://user@blog.example.com/a",
            "//169.254.169.254/latest/meta-data",
            "javascript:alert(1)",
            "data:text/html,x",
            &format!("/{}", "x".repeat(MAX_URL_BYTES)),
        ] {
            assert!(own(address).is_none(), "{address}");
        }
    }
}
