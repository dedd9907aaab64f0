//! A turn in Bedrock's types.

use aws_sdk_bedrockruntime::types::{
    ContentBlock, ConversationRole, DocumentBlock, DocumentFormat, DocumentSource, ImageBlock,
    ImageFormat, ImageSource, Message as Sent,
};
use aws_smithy_types::Blob;

use crate::error::{Error, ErrorKind};
use crate::turn::{Message, Part, Role, Turn};

/// The conversation.
pub(super) fn messages(turn: &Turn) -> Result<Vec<Sent>, Error> {
    turn.conversation().into_iter().map(message).collect()
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
        .map(|(n, part)| block(n, part))
        .collect::<Result<_, _>>()?;
    if has_pdf && !is_said {
        // The service refuses a document without a text (reference: DocumentBlock).
        content.push(ContentBlock::Text("See the document.".to_owned()));
    }
    Ok(Sent::builder()
        .role(role)
        .set_content(Some(content))
        .build()
        .expect("role and content are set"))
}

fn block(n: usize, part: Part) -> Result<ContentBlock, Error> {
    match part {
        Part::Text(text) => Ok(ContentBlock::Text(text)),
        // Names are unique in a message and of few characters; what the visitor calls it could steer the model.
        Part::Pdf { bytes, .. } => Ok(ContentBlock::Document(
            DocumentBlock::builder()
                .format(DocumentFormat::Pdf)
                .name(format!("document {n}"))
                .source(DocumentSource::Bytes(Blob::new(bytes)))
                .build()
                .expect("name is set"),
        )),
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
            Ok(ContentBlock::Image(
                ImageBlock::builder()
                    .format(format)
                    .source(ImageSource::Bytes(Blob::new(bytes)))
                    .build()
                    .expect("format is set"),
            ))
        }
    }
}
