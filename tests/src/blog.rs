//! Owns a blog: a server on loopback whose documents a test puts, changes and takes away, with
//! `ETag`s as a static host makes them, which notes what it is asked.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{CONTENT_TYPE, ETAG, HeaderName, HeaderValue, IF_NONE_MATCH, LOCATION};
use hyper::{Request, Response, StatusCode};
use ring::digest::{SHA256, digest};

use crate::background::Task;
use crate::server::serve;

/// A document, or what is answered in its place.
#[derive(Debug, Clone)]
struct Document {
    status: StatusCode,
    headers: Vec<(HeaderName, HeaderValue)>,
    body: Bytes,
}

#[derive(Debug, Default)]
struct State {
    documents: Mutex<BTreeMap<String, Document>>,
    requests: Mutex<Vec<String>>,
}

impl State {
    fn documents(&self) -> MutexGuard<'_, BTreeMap<String, Document>> {
        self.documents.lock().expect("no holder panics")
    }

    fn answer<B>(&self, request: &Request<B>) -> Response<Full<Bytes>> {
        let path = request.uri().path().to_owned();
        let found = self.documents().get(&path).cloned();
        let mut document =
            found.unwrap_or_else(|| document(StatusCode::NOT_FOUND, "text/html", ""));
        let etag = hex(&document.body);
        if document.status == StatusCode::OK {
            let is_same = request.headers().get(IF_NONE_MATCH);
            if is_same.is_some_and(|known| known == etag.as_str()) {
                document = self::document(StatusCode::NOT_MODIFIED, "text/html", "");
            }
            let etag = etag.parse().expect("it is hexadecimal");
            document.headers.push((ETAG, etag));
        }
        let mut requests = self.requests.lock().expect("no holder panics");
        requests.push(format!("{path} {}", document.status.as_u16()));
        let mut response = Response::new(Full::new(document.body));
        *response.status_mut() = document.status;
        response.headers_mut().extend(document.headers);
        response
    }
}

fn document(status: StatusCode, media_type: &str, body: impl Into<Bytes>) -> Document {
    let media_type = media_type
        .parse()
        .expect("a media type is a header's value");
    Document {
        status,
        headers: vec![(CONTENT_TYPE, media_type)],
        body: body.into(),
    }
}

fn hex(body: &[u8]) -> String {
    let digest = digest(&SHA256, body);
    let digits = digest.as_ref().iter().take(8);
    let digits = digits.fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}"); // a String takes everything
        text
    });
    format!("\"{digits}\"")
}

/// The server.
#[derive(Debug)]
pub struct Blog {
    address: SocketAddr,
    state: Arc<State>,
    _server: Task,
}

impl Blog {
    /// One without documents.
    pub async fn start() -> Self {
        let state = Arc::new(State::default());
        let shared = Arc::clone(&state);
        let (address, server) = serve(move |request| {
            let answer = shared.answer(&request);
            async move { answer }
        })
        .await;
        Self {
            address,
            state,
            _server: server,
        }
    }

    /// One with this many posts, and a sitemap of them.
    pub async fn with_posts(count: usize) -> Self {
        let blog = Self::start().await;
        for n in 0..count {
            let text =
                format!("This is about subject{n} and nothing else. Every post has these words.");
            blog.put_post(n, &format!("Post number {n}"), &text);
        }
        blog.put_sitemap(0..count, "2026-01-01");
        blog
    }

    /// The address of a document.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// Puts a document.
    pub fn put(&self, path: &str, media_type: &str, body: impl Into<Bytes>) {
        self.insert(path, document(StatusCode::OK, media_type, body));
    }

    /// Puts a post, within a page as blogs have them.
    pub fn put_post(&self, n: usize, title: &str, text: &str) {
        let page = format!(
            "<!doctype html><html><head><title>{title} | Blog</title><script>var words = 'of a script'</script></head>
            <body><header><h1>Blog</h1><nav>Navigation</nav></header><main><article><h1>{title}</h1><p>{text}</p></article></main>
            <footer>Imprint</footer></body></html>"
        );
        self.put(&format!("/posts/{n}"), "text/html; charset=utf-8", page);
    }

    /// Puts `/sitemap.xml`, which lists these posts as changed at `changed`.
    pub fn put_sitemap(&self, posts: impl IntoIterator<Item = usize>, changed: &str) {
        let entry = |n: usize| {
            let url = self.url(&format!("/posts/{n}"));
            format!("<url><loc>{url}</loc><lastmod>{changed}</lastmod></url>")
        };
        let entries: String = posts.into_iter().map(entry).collect();
        let sitemap = format!(
            r#"<?xml version="1.0"?><urlset xmlns="http://www.sitemaps.org/schemas/sitemap/0.9">{entries}</urlset>"#
        );
        self.put("/sitemap.xml", "application/xml", sitemap);
    }

    /// Leads whoever asks for a document to another address.
    pub fn redirect(&self, path: &str, to: &str) {
        let mut document = document(StatusCode::FOUND, "text/html", "");
        let to = to.parse().expect("an address is a header's value");
        document.headers.push((LOCATION, to));
        self.insert(path, document);
    }

    /// Answers with a status alone.
    pub fn fail(&self, path: &str, status: u16) {
        let status = StatusCode::from_u16(status).expect("a status");
        self.insert(path, document(status, "text/html", ""));
    }

    /// Takes a document away.
    pub fn remove(&self, path: &str) {
        self.state.documents().remove(path);
    }

    /// What was asked for since this was called last, each as its path and the answer's status.
    pub fn requests(&self) -> Vec<String> {
        let mut requests = self.state.requests.lock().expect("no holder panics");
        std::mem::take(&mut requests)
    }

    fn insert(&self, path: &str, document: Document) {
        self.state.documents().insert(path.to_owned(), document);
    }
}
