//! Owns what a blog's own server does, for this machine alone: it serves the files of a folder, and
//! hands a visitor's token to the page. Files are read again for every request, so that an edit
//! shows at the next load.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use http_body_util::{Either, Full};
use hyper::header::{self, HeaderMap, HeaderValue};
use hyper::{Method, Response, StatusCode};
use serde_json::json;

use crate::gateway::Body;

/// What a page may load: its own files, and pictures that are in it; and from the bucket at
/// `bucket`, if there is one, what was uploaded, and may upload there.
fn policy(bucket: &str) -> String {
    let policy = format!(
        "default-src 'self'; img-src 'self' data: {bucket}; connect-src 'self' {bucket}; frame-ancestors 'none'"
    );
    policy.replace(" ;", ";")
}

/// The files of a folder. Clones are the same site.
#[derive(Debug, Clone)]
pub struct Site {
    root: PathBuf,
    bucket: Arc<OnceLock<String>>,
}

impl Site {
    /// The files below `root`; `/` is `index.html`.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self {
            root: root.into(),
            bucket: Arc::default(),
        }
    }

    /// From now on the page may upload to the bucket at this origin, and show what is there. It is
    /// told once; later ones are left.
    pub fn allow_bucket(&self, origin: &str) {
        self.bucket.get_or_init(|| origin.to_owned());
    }

    /// The file at a request's path; `None` where there is none, or for another method than GET and
    /// HEAD.
    pub fn answer(&self, method: &Method, path: &str) -> Option<Response<Body>> {
        if method != Method::GET && method != Method::HEAD {
            return None;
        }
        let file = self.file(path)?;
        let content = fs::read(&file).ok()?;
        let media_type = mime_guess::from_path(&file).first_or_octet_stream();
        let content_type = if media_type.type_() == "text" {
            format!("{media_type}; charset=utf-8")
        } else {
            media_type.to_string()
        };
        let mut response = Response::new(Either::Left(Full::from(content)));
        let headers = response.headers_mut();
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_str(&content_type).ok()?,
        );
        let bucket = self.bucket.get().map_or("", String::as_str);
        headers.insert(
            header::CONTENT_SECURITY_POLICY,
            HeaderValue::from_str(&policy(bucket)).ok()?,
        );
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        Some(response)
    }

    /// No segment leads out of the folder or to a hidden file.
    fn file(&self, path: &str) -> Option<PathBuf> {
        let path = path.trim_start_matches('/');
        let path = if path.is_empty() { "index.html" } else { path };
        let is_plain = path.split('/').all(|segment| {
            !segment.is_empty() && !segment.starts_with('.') && !segment.contains(['\\', '%'])
        });
        let file = is_plain.then(|| self.root.join(Path::new(path)))?;
        file.is_file().then_some(file)
    }
}

/// Whether a request comes with a login's connection string: then `/token` is the API's, not the
/// page's.
pub fn is_of_a_login(headers: &HeaderMap) -> bool {
    headers.contains_key("neon-connection-string")
}

/// The answer to a page that asks for its visitor's token.
pub fn token(token: &str) -> Response<Body> {
    let body = Bytes::from(json!({ "token": token }).to_string());
    let mut response = Response::new(Either::Left(Full::new(body)));
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/json"),
    );
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// An answer of plain text.
pub fn text(status: StatusCode, text: &str) -> Response<Body> {
    let mut response = Response::new(Either::Left(Full::from(text.to_owned())));
    *response.status_mut() = status;
    response.headers_mut().insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("text/plain; charset=utf-8"),
    );
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_outside_the_folder_is_served() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("site");
        fs::create_dir(&root).unwrap();
        fs::write(root.join("index.html"), "<p>hi").unwrap();
        fs::write(root.join(".env"), "secret").unwrap();
        fs::write(folder.path().join("outside"), "secret").unwrap();
        let site = Site::new(&root);
        let page = site.answer(&Method::GET, "/").unwrap();
        assert_eq!(
            page.headers()[header::CONTENT_TYPE],
            "text/html; charset=utf-8"
        );
        for path in ["/../outside", "/.env", "/%2e%2e/outside", "/x"] {
            assert!(site.answer(&Method::GET, path).is_none(), "{path}");
        }
        assert!(site.answer(&Method::POST, "/").is_none());
    }

    #[test]
    fn a_page_may_reach_its_own_host_and_the_bucket_once_there_is_one() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("index.html"), "<p>hi").unwrap();
        let site = Site::new(folder.path());
        let allowed = || {
            let page = site.answer(&Method::GET, "/").unwrap();
            let policy = &page.headers()[header::CONTENT_SECURITY_POLICY];
            policy.to_str().unwrap().to_owned()
        };
        assert_eq!(
            allowed(),
            "default-src 'self'; img-src 'self' data:; connect-src 'self'; frame-ancestors 'none'"
        );
        site.clone().allow_bucket("http://127.0.0.1:9");
        let with_bucket = allowed();
        assert!(with_bucket.contains("; img-src 'self' data: http://127.0.0.1:9;"));
        assert!(with_bucket.contains("; connect-src 'self' http://127.0.0.1:9;"));
    }
}
