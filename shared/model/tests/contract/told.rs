//! A reply told in one line for each event, so that a test reads like the wire.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use model::{Error, ErrorKind, Event, Message, Part, Provider, Reply, Role, Turn};

/// A turn with an hour left.
#[expect(
    clippy::disallowed_methods,
    reason = "a real provider call runs on the machine's own clock"
)]
pub(crate) fn turn(text: &str) -> Turn {
    Turn {
        model: "m-1".to_owned(),
        system: None,
        messages: vec![Message::text(Role::User, text)],
        tools: Arc::default(),
        may_call: true,
        max_tokens: 64,
        deadline: SystemTime::now() + Duration::from_hours(1),
    }
}

/// A third message with a picture, and instructions.
pub(crate) fn turn_with_picture() -> Turn {
    let mut turn = turn("what is this?");
    turn.system = Some("Be brief.".to_owned());
    turn.messages.insert(0, Message::text(Role::User, "one"));
    let reply = Message::text(Role::Assistant, "two");
    turn.messages.insert(1, reply);
    turn.messages[2].parts.push(Part::Image {
        media_type: "image/png".to_owned(),
        bytes: b"png".to_vec(),
    });
    turn
}

/// A provider with the variables given.
pub(crate) fn provider(variables: &[(&str, &str)]) -> Provider {
    let variables: Vec<_> = variables
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect();
    Provider::from_lookup(&|name| {
        variables
            .iter()
            .find(|(known, _)| known == name)
            .map(|(_, value)| value.clone())
    })
    .unwrap()
}

/// One event, in one line.
pub(crate) fn told(event: &Result<Event, Error>) -> String {
    match event {
        Ok(Event::TextStart { id }) => format!("text-start {id}"),
        Ok(Event::TextDelta { id, delta }) => format!("text-delta {id} {delta}"),
        Ok(Event::TextEnd { id }) => format!("text-end {id}"),
        Ok(Event::ReasoningStart { id }) => format!("reasoning-start {id}"),
        Ok(Event::ReasoningDelta { id, delta }) => format!("reasoning-delta {id} {delta}"),
        Ok(Event::ReasoningEnd { id, metadata }) => match metadata {
            None => format!("reasoning-end {id}"),
            Some(metadata) => format!("reasoning-end {id} {metadata}"),
        },
        Ok(Event::Source { url, title }) => {
            format!("source {url} {}", title.as_deref().unwrap_or("-"))
        }
        Ok(Event::Document { title, media_type }) => format!("document {title} {media_type}"),
        Ok(Event::File { media_type, data }) => format!("file {media_type} {data}"),
        Ok(Event::ToolInputStart { id, name }) => format!("tool-start {id} {name}"),
        Ok(Event::ToolInputDelta { id, delta }) => format!("tool-delta {id} {delta}"),
        Ok(Event::ToolCall { id, name, input }) => format!("tool-call {id} {name} {input}"),
        Ok(Event::ToolResult { id, output }) => match output {
            Ok(output) => format!("tool-result {id} {output}"),
            Err(reason) => format!("tool-error {id} {reason}"),
        },
        Ok(Event::Finish { reason, usage }) => format!(
            "finish {} {}+{}={} cached {}",
            reason.as_str(),
            usage.input_tokens,
            usage.output_tokens,
            usage.total_tokens,
            usage.cached_input_tokens
        ),
        Err(error) => format!("error {:?}", error.kind()),
    }
}

/// The rest of a reply.
pub(crate) async fn rest(reply: &mut Reply) -> Vec<String> {
    let mut lines = Vec::new();
    while let Some(event) = reply.next().await {
        lines.push(told(&event));
    }
    lines
}

/// A whole reply, or the kind of refusal.
pub(crate) async fn run(provider: &Provider, turn: Turn) -> Result<Vec<String>, ErrorKind> {
    match provider.start(turn).await {
        Ok(mut reply) => Ok(rest(&mut reply).await),
        Err(error) => Err(error.kind()),
    }
}
