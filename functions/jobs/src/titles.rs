//! A model makes a chat's title from what the visitor said first. Until then, and wherever it does not succeed, the chat
//! keeps the first line of that, or the title that its owner gave it.

use std::time::{Duration, SystemTime};

use api::Metrics;
use chat_store::erasure::StepError;
use chat_store::jobs::Job;
use chat_store::{ChatId, OwnerId, Title, finish_title, title_from, untitled};
use dsql::Dsql;
use model::{ErrorKind, Event, Message, Provider, Role, Turn};
use serde::Deserialize;

use crate::work::{Outcome, failed};

const INSTRUCTION: &str = "\
Write a title for a conversation that begins with the message you are given. At most six words, in the language of the \
message, without quotation marks and without a full stop. Answer with the title alone. Do not answer the message.";
/// A title is short; what reasons first needs a little more.
const MAX_TOKENS: u32 = 256;
/// So much of the message is shown to the model, in characters.
const SHOWN_CHARS: usize = 4_000;
/// A call that takes longer is given up.
const CALL_LIMIT: Duration = Duration::from_secs(30);

#[derive(Debug, Deserialize)]
struct Payload {
    owner: String,
    chat: String,
}

/// What titles are made with.
#[derive(Debug)]
pub(crate) struct Titles<'a> {
    pub(crate) dsql: &'a Dsql,
    pub(crate) provider: Option<&'a Provider>,
    pub(crate) metrics: &'a Metrics,
    pub(crate) request_id: &'a str,
}

impl Titles<'_> {
    /// Works on `job` until it is done or `until` is near.
    pub(crate) async fn work(&self, job: &Job, until: SystemTime) -> Outcome {
        // The payload names a person: what is wrong with it is told without it.
        let ids = serde_json::from_str(&job.payload)
            .ok()
            .and_then(|Payload { owner, chat }| {
                Some((OwnerId::parse(&owner).ok()?, ChatId::parse(&chat).ok()?))
            });
        let Some((owner, chat)) = ids else {
            return Outcome::Poisoned("the payload has no \"owner\" and \"chat\"".to_owned());
        };
        let db = self.dsql.until(until);
        let untitled = match untitled(&db, &owner, &chat).await {
            Ok(untitled) => untitled,
            Err(error) => return failed(error.report()),
        };
        let made = match (&untitled, self.provider) {
            (Some(untitled), Some(provider)) => {
                match self.ask(provider, &untitled.text, until).await {
                    Ok(title) => title,
                    Err(error) if error.kind() == ErrorKind::Refused => {
                        let cause = api::chain(&error);
                        tracing::warn!(
                            job.id = %job.id,
                            error.cause = cause,
                            "the model refuses to title a chat, which keeps its first line"
                        );
                        None
                    }
                    Err(error) => return failed(api::chain(&error)),
                }
            }
            _ => None,
        };
        let change = untitled
            .as_ref()
            .map(|untitled| untitled.title.as_str())
            .zip(made.as_ref());
        match finish_title(&db, job, &owner, &chat, change).await {
            Ok(is_titled) => {
                tracing::info!(
                    chat.id = chat.as_str(),
                    chat.is_titled = is_titled,
                    "the title of the chat {} was looked at",
                    chat.as_str()
                );
                Outcome::Done
            }
            Err(StepError::LeaseLost) => Outcome::LeaseLost,
            Err(error) => failed(error.to_string()),
        }
    }

    /// The model's title; `None` if it says nothing that could be one.
    async fn ask(
        &self,
        provider: &Provider,
        text: &str,
        until: SystemTime,
    ) -> Result<Option<Title>, model::Error> {
        let Some(model) = provider.models().first() else {
            return Ok(None);
        };
        let shown: String = text.chars().take(SHOWN_CHARS).collect();
        let mut reply = provider
            .start(Turn {
                model: model.clone(),
                system: Some(INSTRUCTION.to_owned()),
                messages: vec![Message::text(Role::User, shown)],
                max_tokens: MAX_TOKENS,
                deadline: until.min(self.dsql.clock().now() + CALL_LIMIT),
            })
            .await?;
        let mut said = String::new();
        while let Some(event) = reply.next().await {
            match event? {
                Event::TextDelta { delta, .. } => said.push_str(&delta),
                Event::Finish { usage, .. } => self.metrics.report_tokens(
                    self.dsql.clock().now(),
                    self.request_id,
                    model,
                    usage.input_tokens,
                    usage.output_tokens,
                ),
                _ => {}
            }
        }
        Ok(cleaned(&said))
    }
}

/// A title as models write it, without the marks they like to put around it.
fn cleaned(said: &str) -> Option<Title> {
    let line = said.lines().find(|line| !line.trim().is_empty())?;
    let line = line.trim_matches(|c: char| {
        c.is_whitespace()
            || matches!(
                c,
                '"' | '\'' | '“' | '”' | '„' | '«' | '»' | '*' | '#' | '.'
            )
    });
    (!line.is_empty()).then(|| title_from(line))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_title_loses_the_marks_around_it() {
        let title = |said: &str| cleaned(said).map(|title| title.as_str().to_owned());
        for said in [
            "Connecting to DSQL",
            "\n\n\"Connecting to DSQL.\"\n",
            "**Connecting to DSQL**",
            "# Connecting to DSQL\nand more",
            "„Connecting to DSQL“",
        ] {
            assert_eq!(title(said).as_deref(), Some("Connecting to DSQL"), "{said}");
        }
        for nothing in ["", " \n", "\"\""] {
            assert_eq!(title(nothing), None, "{nothing:?}");
        }
        assert!(title(&"word ".repeat(100)).unwrap().chars().count() <= 61);
    }
}
