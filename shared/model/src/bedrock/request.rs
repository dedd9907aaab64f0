//! A turn in Bedrock's types.

use aws_sdk_bedrockruntime::types::{
    ContentBlock, ConversationRole, ImageBlock, ImageFormat, ImageSource, Message as Sent,
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
    let content: Vec<_> = message
        .parts
        .into_iter()
        .map(block)
        .collect::<Result<_, _>>()?;
    Ok(Sent::builder()
        .role(role)
        .set_content(Some(content))
        .build()
        .expect("role and content are set"))
}

fn block(part: Part) -> Result<ContentBlock, Error> {
    match part {
        Part::Text(text) => Ok(ContentBlock::Text(text)),
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
