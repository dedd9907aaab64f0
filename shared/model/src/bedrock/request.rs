//! A turn in Bedrock's types.

use aws_sdk_bedrockruntime::types::{
    ContentBlock, ConversationRole, DocumentBlock, DocumentFormat, DocumentSource, ImageBlock,
    ImageFormat, ImageSource, Message as Sent, ReasoningContentBlock, ReasoningTextBlock,
    Tool as Offered, ToolConfiguration, ToolInputSchema, ToolResultBlock, ToolResultContentBlock,
    ToolResultStatus, ToolSpecification, ToolUseBlock,
};
use aws_smithy_types::{Blob, Document, Number, base64};
use serde_json::Value;

use crate::error::{Error, ErrorKind};
use crate::turn::{Message, Part, Role, Tool, Turn};

/// Whose metadata it is: the name that the AI SDK's own provider has.
pub(super) const PROVIDER: &str = "bedrock";

/// The conversation.
pub(super) fn messages(turn: &Turn) -> Result<Vec<Sent>, Error> {
    turn.conversation().into_iter().map(message).collect()
}

/// The tools. The service has no way to forbid calls once the conversation holds some.
pub(super) fn tools(turn: &Turn) -> Option<ToolConfiguration> {
    let tools: Vec<_> = turn.tools.iter().map(tool).collect();
    (!tools.is_empty()).then(|| {
        ToolConfiguration::builder()
            .set_tools(Some(tools))
            .build()
            .expect("tools are set")
    })
}

fn tool(tool: &Tool) -> Offered {
    // The service refuses a description of no characters.
    let description = (!tool.description.is_empty()).then(|| tool.description.clone());
    Offered::ToolSpec(
        ToolSpecification::builder()
            .name(&tool.name)
            .set_description(description)
            .input_schema(ToolInputSchema::Json(document(&tool.schema)))
            .build()
            .expect("name and schema are set"),
    )
}

/// JSON as the SDK has it.
fn document(value: &Value) -> Document {
    match value {
        Value::Null => Document::Null,
        Value::Bool(is) => Document::Bool(*is),
        Value::Number(number) => Document::Number(match (number.as_u64(), number.as_i64()) {
            (Some(n), _) => Number::PosInt(n),
            (None, Some(n)) => Number::NegInt(n),
            (None, None) => Number::Float(number.as_f64().unwrap_or_default()),
        }),
        Value::String(text) => Document::String(text.clone()),
        Value::Array(items) => Document::Array(items.iter().map(document).collect()),
        Value::Object(fields) => {
            let field = |(name, value): (&String, &Value)| (name.clone(), document(value));
            Document::Object(fields.iter().map(field).collect())
        }
    }
}

/// The id of a call in the service's characters: another provider may have made it.
fn call_id(id: &str) -> String {
    let is_plain = |c: &char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    id.chars()
        .map(|c| if is_plain(&c) { c } else { '_' })
        .take(64)
        .collect()
}

fn message(message: Message) -> Result<Sent, Error> {
    let role = match message.role {
        Role::User => ConversationRole::User,
        Role::Assistant => ConversationRole::Assistant,
    };
    let is_said = message.parts.iter().any(|p| matches!(p, Part::Text(_)));
    let has_pdf = message.parts.iter().any(|p| matches!(p, Part::Pdf { .. }));
    let mut content: Vec<_> = (0..)
        .zip(message.parts)
        .filter_map(|(n, part)| block(n, part).transpose())
        .collect::<Result<_, _>>()?;
    if has_pdf && !is_said {
        // The service refuses a document without a text (Bedrock API Reference: *DocumentBlock*).
        content.push(ContentBlock::Text("See the document.".to_owned()));
    }
    Ok(Sent::builder()
        .role(role)
        .set_content(Some(content))
        .build()
        .expect("role and content are set"))
}

/// A block, unless it is another provider's reasoning.
fn block(n: usize, part: Part) -> Result<Option<ContentBlock>, Error> {
    Ok(Some(match part {
        Part::Text(text) => ContentBlock::Text(text),
        Part::Reasoning { text, metadata } => return Ok(reasoning(text, &metadata)),
        Part::Call { id, name, input } => ContentBlock::ToolUse(
            ToolUseBlock::builder()
                .tool_use_id(call_id(&id))
                .name(name)
                .input(document(&input))
                .build()
                .expect("id, name and input are set"),
        ),
        Part::Result {
            id,
            output,
            is_error,
        } => ContentBlock::ToolResult(
            ToolResultBlock::builder()
                .tool_use_id(call_id(&id))
                .content(ToolResultContentBlock::Text(output))
                .status(if is_error {
                    ToolResultStatus::Error
                } else {
                    ToolResultStatus::Success
                })
                .build()
                .expect("id and content are set"),
        ),
        // Names are unique in a message and of few characters; what the visitor calls it could
        // steer the model.
        Part::Pdf { bytes, .. } => ContentBlock::Document(
            DocumentBlock::builder()
                .format(DocumentFormat::Pdf)
                .name(format!("document {n}"))
                .source(DocumentSource::Bytes(Blob::new(bytes)))
                .build()
                .expect("name is set"),
        ),
        Part::Image { media_type, bytes } => {
            let format = match media_type.as_str() {
                "image/png" => ImageFormat::Png,
                "image/jpeg" => ImageFormat::Jpeg,
                "image/gif" => ImageFormat::Gif,
                "image/webp" => ImageFormat::Webp,
                _ => {
                    return Err(Error::new(
                        ErrorKind::Refused,
                        "the provider takes images as PNG, JPEG, GIF or WebP only",
                    ));
                }
            };
            ContentBlock::Image(
                ImageBlock::builder()
                    .format(format)
                    .source(ImageSource::Bytes(Blob::new(bytes)))
                    .build()
                    .expect("format is set"),
            )
        }
    }))
}

/// Reasoning that the service has signed or hidden. It refuses what it has not.
fn reasoning(text: String, metadata: &Value) -> Option<ContentBlock> {
    let noted = |name: &str| metadata.get(PROVIDER)?.get(name)?.as_str();
    let block = if let Some(hidden) = noted("redactedData") {
        ReasoningContentBlock::RedactedContent(Blob::new(base64::decode(hidden).ok()?))
    } else {
        let signed = ReasoningTextBlock::builder().text(text);
        let signed = signed.signature(noted("signature")?).build();
        ReasoningContentBlock::ReasoningText(signed.expect("text is set"))
    };
    Some(ContentBlock::ReasoningContent(block))
}
