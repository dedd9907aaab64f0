//! What a model sees of a visitor's message: its texts and its files.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use chat_store::upload_of;
use model::Part;
use serde_json::Value;

use crate::attachments::Files;

/// Text and files; reasoning, step marks and parts that are the client's own are not said again. Of
/// uploads there are the bytes in `files`; another one is only mentioned.
pub(crate) fn parts(parts: &Value, files: &Files) -> Vec<Part> {
    let text = |part: &Value, key: &str| part.get(key).and_then(Value::as_str).map(str::to_owned);
    parts
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|part| match part.get("type").and_then(Value::as_str)? {
            "text" => text(part, "text")
                .filter(|text| !text.is_empty())
                .map(Part::Text),
            "file" => {
                let url = text(part, "url")?;
                let name = text(part, "filename").unwrap_or_else(|| "file".to_owned());
                let bytes = if let Some((id, _)) = upload_of(&url) {
                    let Some(bytes) = files.get(&id) else {
                        return Some(Part::Text(format!("(The file {name} is left out.)")));
                    };
                    bytes.to_vec()
                } else {
                    let (_, data) = url.split_once(";base64,")?;
                    BASE64_STANDARD.decode(data).ok()?
                };
                Some(file(text(part, "mediaType")?, name, bytes))
            }
            _ => None,
        })
        .collect()
}

/// A file as a model is shown it: a text as text, under its name.
fn file(media_type: String, name: String, bytes: Vec<u8>) -> Part {
    match media_type.as_str() {
        "application/pdf" => Part::Pdf { name, bytes },
        image if image.starts_with("image/") => Part::Image { media_type, bytes },
        _ => Part::Text(format!(
            "File {name}:\n\n{}",
            String::from_utf8_lossy(&bytes)
        )),
    }
}
