//! How a message names an upload: by the URL of a file part.

use crate::ids::UploadId;

/// How the URL of an upload ends, before its id.
pub(crate) const UPLOADS: &str = "/api/uploads/";

/// An upload that a file part names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SentUpload {
    /// Which one.
    pub id: UploadId,
    /// What the part says that it is.
    pub media_type: String,
    /// The host of the URL, with its port, if it has one.
    pub host: Option<String>,
}

/// The upload that a URL names, and the URL's host: `/api/uploads/{id}`, also at a host and below a
/// path.
pub fn upload_of(url: &str) -> Option<(UploadId, Option<&str>)> {
    let (host, path) = match url.split_once("://") {
        Some(("https" | "http", rest)) => {
            let (host, _) = rest.split_once('/')?;
            (Some(host), rest.get(host.len()..)?)
        }
        Some(_) => return None,
        None => (None, url),
    };
    let (before, id) = path.rsplit_once(UPLOADS)?;
    let is_path = |b: u8| b.is_ascii_alphanumeric() || b"-._~/".contains(&b);
    let is_host = |b: u8| b.is_ascii_alphanumeric() || b".-:[]".contains(&b);
    let is_below = before.is_empty() || before.starts_with('/') && !before.starts_with("//");
    let has_form = is_below
        && before.bytes().all(is_path)
        && host.is_none_or(|host| !host.is_empty() && host.bytes().all(is_host));
    has_form
        .then(|| UploadId::parse(id))
        .flatten()
        .map(|id| (id, host))
}
