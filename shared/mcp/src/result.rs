//! The result of a tool, as a model and a page get it.

use rmcp::model::{CallToolResult, ContentBlock, ResourceContents};
use serde_json::Value;

/// The result: what is structured as it is, else the text, in which files are named and left out.
pub(crate) fn read(result: CallToolResult) -> Result<Value, String> {
    let is_error = result.is_error == Some(true);
    if let (Some(structured), false) = (result.structured_content, is_error) {
        return Ok(structured);
    }
    let lines: Vec<_> = result.content.iter().filter_map(line).collect();
    let text = lines.join("\n");
    match (is_error, text.is_empty()) {
        (false, _) => Ok(text.into()),
        (true, false) => Err(text),
        (true, true) => Err("the tool failed and does not say why".to_owned()),
    }
}

fn line(block: &ContentBlock) -> Option<String> {
    Some(match block {
        ContentBlock::Text(text) => text.text.clone(),
        ContentBlock::Image(image) => format!("[{} left out]", image.mime_type),
        ContentBlock::Audio(audio) => format!("[{} left out]", audio.mime_type),
        ContentBlock::Resource(embedded) => match &embedded.resource {
            ResourceContents::TextResourceContents { text, .. } => text.clone(),
            _ => "[a file left out]".to_owned(),
        },
        ContentBlock::ResourceLink(link) => format!("{}: {}", link.name, link.uri),
        _ => return None,
    })
}
