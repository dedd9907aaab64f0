//! A model makes a chat's title from what the visitor said first. Until then, and wherever it does
//! not succeed, the chat keeps the first line of that, or the title that its owner gave it.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use chat_store::erasure::StepError;
use chat_store::jobs::Job;
use chat_store::{
    Budgets, ChatId, OwnerId, Spender, StreamId, Title, TitleUsage, TokenLimits, microseconds,
    spending, titles,
};
use dsql::Dsql;
use model::{ErrorKind, Event, Message, Provider, Role, Turn, Usage};
use runtime::{Metrics, Pseudonyms};
use serde::Deserialize;

use crate::work::{Outcome, failed};

const INSTRUCTION: &str = "\
Write a title for a conversation that begins with the message you are given. At most six words, in the language of the \
message, without quotation marks and without a full stop. Answer with the title alone. Do not answer the message.";
/// A title is short; what reasons first needs a little more.
const MAX_TOKENS: u32 = 256;
/// So much of the message is shown to the model, in characters.
const SHOWN_CHARS: usize = 4_000;
/// Bytes of text to a token, on average.
const BYTES_PER_TOKEN: usize = 4;
/// What stands around the two messages.
const MESSAGE_TOKENS: usize = 32;
/// A call that takes longer is given up.
const CALL_LIMIT: Duration = Duration::from_secs(30);

#[derive(Debug, Deserialize)]
struct Payload {
    owner: String,
    chat: String,
}

/// The model that makes titles, and what it may cost.
#[derive(Debug)]
pub(crate) struct TitleModel {
    pub(crate) provider: Provider,
    pub(crate) pseudonyms: Pseudonyms,
    /// Of the whole deployment.
    pub(crate) tokens_per_day: i64,
}

/// What titles are made with.
#[derive(Debug)]
pub(crate) struct Titles<'a> {
    pub(crate) dsql: &'a Dsql,
    pub(crate) model: Option<&'a TitleModel>,
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
        let untitled = match titles::untitled(&db, &owner, &chat).await {
            Ok(untitled) => untitled,
            Err(error) => return failed(error.report()),
        };
        let made = match (&untitled, self.model) {
            (Some(untitled), Some(model)) => {
                let wanted = Wanted {
                    owner: &owner,
                    chat: &chat,
                    text: &untitled.text,
                };
                match self.ask(model, &wanted, until).await {
                    Ok(title) => title,
                    Err(Failure::Model(error)) if error.kind() == ErrorKind::Refused => {
                        let cause = runtime::chain(&error);
                        tracing::warn!(
                            job.id = %job.id,
                            error.cause = cause,
                            "the model refuses to title a chat, which keeps its first line"
                        );
                        None
                    }
                    Err(Failure::Model(error)) => return failed(runtime::chain(&error)),
                    Err(Failure::Database(error)) => return failed(error.report()),
                }
            }
            _ => None,
        };
        let change = untitled
            .as_ref()
            .map(|untitled| untitled.title.as_str())
            .zip(made.as_ref());
        match titles::finish(&db, job, &owner, &chat, change).await {
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

    /// The model's title; `None` if it says nothing that could be one, or the deployment's day has
    /// no tokens left for it.
    async fn ask(
        &self,
        model: &TitleModel,
        wanted: &Wanted<'_>,
        until: SystemTime,
    ) -> Result<Option<Title>, Failure> {
        let Some(id) = model.provider.models().first() else {
            return Ok(None);
        };
        let db = self.dsql.until(until);
        let (now, shown) = (self.dsql.clock().now(), wanted.shown());
        let reservation = StreamId::new();
        let read = estimate(INSTRUCTION) + estimate(&shown);
        let budgets = wanted.budgets(model, now);
        let most_read = INSTRUCTION.len() + shown.len() + MESSAGE_TOKENS; // one token a byte
        let at_most = i64::try_from(most_read).unwrap_or(i64::MAX) + i64::from(MAX_TOKENS);
        if !spending::reserve_title(&db, reservation.as_str(), &budgets, at_most).await? {
            tracing::warn!(
                "the deployment's tokens of the day are used up: a chat keeps its first line"
            );
            return Ok(None);
        }
        let turn = Turn {
            model: id.clone(),
            system: Some(INSTRUCTION.to_owned()),
            messages: vec![Message::text(Role::User, shown)],
            tools: Arc::default(),
            may_call: true,
            max_tokens: MAX_TOKENS,
            deadline: until.min(now + CALL_LIMIT),
        };
        let mut reply = match model.provider.start(turn).await {
            Ok(reply) => reply,
            Err(error) => {
                spending::settle(&db, reservation.as_str(), 0).await?; // a model that says no has cost nothing
                return Err(error.into());
            }
        };
        let (mut said, mut counted) = (String::new(), None);
        while let Some(event) = reply.next().await {
            match event? {
                Event::TextDelta { delta, .. } => said.push_str(&delta),
                Event::Finish { usage, .. } => counted = Some(usage),
                _ => {}
            }
        }
        if let Some(usage) = counted {
            self.metrics.report_tokens(
                self.dsql.clock().now(),
                self.request_id,
                id,
                usage.input_tokens,
                usage.output_tokens,
            );
            let is_counted = usage.total_tokens > 0;
            let (input_tokens, output_tokens) = used(&usage, read, &said);
            let usage = TitleUsage {
                chat: wanted.chat,
                owner: wanted.owner,
                model: id,
                input_tokens,
                output_tokens,
                spent: if is_counted {
                    tokens(usage.total_tokens).max(input_tokens + output_tokens)
                } else {
                    at_most
                },
                now: microseconds(now),
            };
            spending::settle_title(&db, reservation.as_str(), &usage).await?;
        }
        Ok(cleaned(&said))
    }
}

/// The title that is wanted.
#[derive(Debug)]
struct Wanted<'a> {
    owner: &'a OwnerId,
    chat: &'a ChatId,
    /// What the visitor said first.
    text: &'a str,
}

impl Wanted<'_> {
    fn shown(&self) -> String {
        self.text.chars().take(SHOWN_CHARS).collect()
    }

    fn budgets(&self, model: &TitleModel, now: SystemTime) -> Budgets {
        let spender = Spender {
            owner: &model.pseudonyms.of_owner(self.owner.as_str(), now),
            address: None,
            chat: self.chat,
        };
        // The owner's own day is not asked: the turn that promised the title was allowed.
        let limits = TokenLimits {
            owner: i64::MAX,
            address: i64::MAX,
            deployment: model.tokens_per_day,
        };
        Budgets::new(spender, limits, microseconds(now))
    }
}

/// Why a model made no title.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Model(#[from] model::Error),
    #[error(transparent)]
    Database(#[from] dsql::Error),
}

/// Tokens of a text, roughly.
fn estimate(text: &str) -> i64 {
    i64::try_from(text.len().div_ceil(BYTES_PER_TOKEN)).unwrap_or(i64::MAX)
}

fn tokens(n: u64) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

/// Tokens read and written: as the provider counts, else what can be told from the text.
fn used(usage: &Usage, read: i64, said: &str) -> (i64, i64) {
    if usage.total_tokens > 0 {
        (tokens(usage.input_tokens), tokens(usage.output_tokens))
    } else {
        (read, estimate(said))
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
    (!line.is_empty()).then(|| titles::from_text(line))
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
