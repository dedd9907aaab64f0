//! Echo: a provider without a model. It repeats the last user message word by word, always the same way, so that
//! tests and an offline demonstration need nothing else.
//!
//! With [`ECHO_DIRECTIVES`] the message itself may steer the reply. A directive stands in double brackets and is not
//! repeated; each may be used at most once in a message:
//!
//! | Directive | Effect |
//! |---|---|
//! | `[[delay 200]]` | milliseconds before each word |
//! | `[[accept 500]]` | milliseconds until the turn is accepted |
//! | `[[reasoning]]` | reasons before it answers |
//! | `[[words 400]]` | answers with so many words, `word1 word2 …` |
//! | `[[source https://example.com/]]` | names that page as its source |
//! | `[[parts]]` | has one of everything that a reply may hold besides text, before its last word |
//! | `[[calls]]` | answers with the number of turns this process has started |
//! | `[[finish length]]` | ends with that reason |
//! | `[[refuse throttled 7]]`, `[[refuse throttled]]`, `[[refuse invalid]]`, `[[refuse unavailable]]` | does not accept the turn; the number is `retry_after` in seconds |
//! | `[[fail 3]]` | after three words the provider becomes unavailable |
//! | `[[throttle 3]]` | after three words the provider is asked too much |
//! | `[[eof 3]]` | after three words the stream ends without a finish |
//! | `[[hang 3]]` | after three words nothing comes any more |

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde_json::json;

use crate::blocks::{Blocks, Kind};
use crate::config::{self, ConfigError, Lookup};
use crate::error::{Error, ErrorKind};
use crate::event::{FinishReason, Usage};
use crate::provider::Progress;
use crate::turn::{Message, Part, Role, Turn};

/// `echo`: milliseconds before each word, 0 to 60,000. Default 30.
pub const ECHO_DELAY_MS: &str = "ECHO_DELAY_MS";
/// `echo`: `true` makes every reply reason first. Default `false`.
pub const ECHO_REASONING: &str = "ECHO_REASONING";
/// `echo`: `true` lets the message steer the reply, for tests. Default `false`.
pub const ECHO_DIRECTIVES: &str = "ECHO_DIRECTIVES";

/// A PNG of one pixel.
const PIXEL: &str =
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAQAAAC1HAwCAAAAC0lEQVR42mNk+A8AAQUBAScY42YAAAAASUVORK5CYII=";

const REASONING: &str = "The user wants to hear this again.";

/// The configured provider.
#[derive(Debug)]
pub(crate) struct Echo {
    delay: Duration,
    reasoning: bool,
    directives: bool,
    calls: AtomicU64,
}

/// How a reply breaks off.
#[derive(Debug, Clone, Copy)]
enum Break {
    Fail,
    Throttle,
    Eof,
    Hang,
}

/// A reply under way.
#[derive(Debug)]
pub(crate) struct EchoReply {
    pieces: VecDeque<(Kind, String)>,
    source: Option<String>,
    has_parts: bool,
    delay: Duration,
    wait: Option<Pin<Box<tokio::time::Sleep>>>,
    broken: Option<(usize, Break)>,
    said: usize,
    reason: FinishReason,
    usage: Usage,
    finished: bool,
}

/// What a message asks for, in its directives.
#[derive(Debug, Default)]
struct Script {
    text: String,
    directives: Vec<(String, Option<String>)>,
}

impl Script {
    /// Takes well-formed directives out of a text; anything else stays.
    fn parse(text: &str) -> Self {
        let mut script = Self::default();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once("[[") {
            script.text.push_str(before);
            if let Some((inside, after)) = after.split_once("]]") {
                let (name, value) = match inside.trim().split_once(' ') {
                    Some((name, value)) => (name, Some(value.trim().to_owned())),
                    None => (inside.trim(), None),
                };
                script.directives.push((name.to_owned(), value));
                rest = after;
            } else {
                script.text.push_str("[[");
                rest = after;
            }
        }
        script.text.push_str(rest);
        script
    }

    fn has(&self, name: &str) -> bool {
        self.directives.iter().any(|(known, _)| known == name)
    }

    fn value(&self, name: &str) -> Option<&str> {
        self.directives
            .iter()
            .find(|(known, _)| known == name)
            .and_then(|(_, value)| value.as_deref())
    }

    fn number(&self, name: &str) -> Option<u64> {
        self.value(name)?.parse().ok()
    }

    fn refusal(&self) -> Option<Error> {
        let (what, seconds) = match self.value("refuse")?.split_once(' ') {
            Some((what, seconds)) => (what, seconds.parse().ok()),
            None => (self.value("refuse")?, None),
        };
        let kind = match what {
            "throttled" => ErrorKind::Throttled {
                retry_after: seconds.map(Duration::from_secs),
            },
            "invalid" => ErrorKind::Refused,
            _ => ErrorKind::Unavailable,
        };
        Some(Error::new(kind, format!("echo refuses as told: {what}")))
    }

    fn breaks(&self) -> Option<(usize, Break)> {
        [
            ("fail", Break::Fail),
            ("throttle", Break::Throttle),
            ("eof", Break::Eof),
            ("hang", Break::Hang),
        ]
        .into_iter()
        .find_map(|(name, how)| {
            let after = usize::try_from(self.number(name)?).ok()?;
            Some((after, how))
        })
    }

    fn reason(&self) -> FinishReason {
        [
            FinishReason::Stop,
            FinishReason::Length,
            FinishReason::ContentFilter,
            FinishReason::ToolCalls,
            FinishReason::Error,
            FinishReason::Other,
        ]
        .into_iter()
        .find(|reason| self.value("finish") == Some(reason.as_str()))
        .unwrap_or(FinishReason::Stop)
    }
}

impl Echo {
    pub(crate) fn from_lookup(lookup: Lookup<'_>) -> Result<Self, ConfigError> {
        Ok(Self {
            delay: Duration::from_millis(config::number(lookup, ECHO_DELAY_MS, 0..=60_000, 30)?),
            reasoning: config::flag(lookup, ECHO_REASONING)?,
            directives: config::flag(lookup, ECHO_DIRECTIVES)?,
            calls: AtomicU64::new(0),
        })
    }

    pub(crate) async fn start(&self, turn: &Turn) -> Result<EchoReply, Error> {
        let call = self.calls.fetch_add(1, Ordering::Relaxed) + 1;
        let last = turn
            .messages
            .iter()
            .rfind(|message| message.role == Role::User);
        let said = last.map(spoken).unwrap_or_default();
        let script = if self.directives {
            Script::parse(&said)
        } else {
            Script {
                text: said,
                directives: Vec::new(),
            }
        };
        if let Some(wait) = script.number("accept") {
            tokio::time::sleep(Duration::from_millis(wait)).await;
        }
        if let Some(refusal) = script.refusal() {
            return Err(refusal);
        }
        let text = if let Some(count) = script.number("words") {
            (1..=count)
                .map(|n| format!("word{n}"))
                .collect::<Vec<_>>()
                .join(" ")
        } else if script.has("calls") {
            format!("This is turn {call}")
        } else {
            format!("You said: {}", script.text.trim())
        };
        let mut pieces = VecDeque::new();
        if self.reasoning || script.has("reasoning") {
            pieces.extend(words(REASONING).map(|word| (Kind::Reasoning, word.to_owned())));
        }
        pieces.extend(words(&text).map(|word| (Kind::Text, word.to_owned())));
        let limit = usize::try_from(turn.max_tokens).unwrap_or(usize::MAX);
        let reason = if pieces.len() > limit {
            pieces.truncate(limit);
            FinishReason::Length
        } else {
            script.reason()
        };
        let input_tokens = turn.messages.iter().map(|m| count(&spoken(m))).sum();
        let output_tokens = u64::try_from(pieces.len()).unwrap_or(u64::MAX);
        Ok(EchoReply {
            pieces,
            source: script.value("source").map(str::to_owned),
            has_parts: script.has("parts"),
            delay: script
                .number("delay")
                .map_or(self.delay, Duration::from_millis),
            wait: None,
            broken: script.breaks(),
            said: 0,
            reason,
            usage: Usage {
                input_tokens,
                output_tokens,
                total_tokens: input_tokens + output_tokens,
                cached_input_tokens: 0,
            },
            finished: false,
        })
    }
}

impl EchoReply {
    pub(crate) async fn advance(&mut self, blocks: &mut Blocks) -> Result<Progress, Error> {
        if let Some((after, how)) = self.broken
            && self.said >= after
        {
            match how {
                Break::Fail => {
                    return Err(Error::new(ErrorKind::Unavailable, "echo fails as told"));
                }
                Break::Throttle => {
                    let kind = ErrorKind::Throttled { retry_after: None };
                    return Err(Error::new(kind, "echo is throttled as told"));
                }
                Break::Eof => return Ok(Progress::Closed),
                Break::Hang => std::future::pending::<()>().await,
            }
        }
        if self.pieces.is_empty() {
            if self.finished {
                return Ok(Progress::Closed);
            }
            self.finished = true;
            if let Some(url) = &self.source {
                blocks.cite(url, Some("Example"));
            }
            blocks.finish(self.reason, self.usage);
            return Ok(Progress::More);
        }
        if !self.delay.is_zero() {
            // Kept, so that a caller who looks away and back does not start the wait anew.
            let delay = self.delay;
            self.wait
                .get_or_insert_with(|| Box::pin(tokio::time::sleep(delay)))
                .await;
            self.wait = None;
        }
        if self.has_parts && self.pieces.len() == 1 {
            parts(blocks);
        }
        if let Some((kind, word)) = self.pieces.pop_front() {
            self.said += 1;
            blocks.push(kind, word);
        }
        Ok(Progress::More)
    }
}

/// One of everything.
fn parts(blocks: &mut Blocks) {
    blocks.push(Kind::Reasoning, "Signed.");
    blocks.sign("echo", "signature", "c2lnbmVk");
    blocks.end();
    blocks.sign("echo", "redactedData", "aGlkZGVu");
    blocks.end();
    blocks.cite("https://example.com/a", None);
    blocks.cite_document("Handbook", "application/pdf");
    blocks.file("image/png", PIXEL);
    blocks.call("call-1", "weather", json!({"place": "Bern"}));
    blocks.answer("call-1", Ok(json!({"degrees": 7})));
    blocks.call("call-2", "unknown tool", json!({}));
}

/// The words of a text, each with the space that follows it, so that together they are the text.
fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split_inclusive(char::is_whitespace)
}

fn count(text: &str) -> u64 {
    u64::try_from(text.split_whitespace().count()).unwrap_or(u64::MAX)
}

/// A message's text; a file is named by its type or name, and its size.
fn spoken(message: &Message) -> String {
    let parts: Vec<_> = message
        .parts
        .iter()
        .map(|part| match part {
            Part::Text(text) => text.clone(),
            Part::Image { media_type, bytes } => {
                format!("({media_type}, {} bytes)", bytes.len())
            }
            Part::Pdf { name, bytes } => format!("({name}, {} bytes)", bytes.len()),
        })
        .collect();
    parts.join(" ")
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;
    use crate::event::Event;
    use crate::provider::Provider;

    fn provider(more: &[(&str, &str)]) -> Provider {
        let more: Vec<_> = more
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        Provider::from_lookup(&|name| match name {
            "MODEL_PROVIDER" => Some("echo".to_owned()),
            "ECHO_DELAY_MS" => Some("0".to_owned()),
            _ => more
                .iter()
                .find(|(known, _)| known == name)
                .map(|(_, value)| value.clone()),
        })
        .unwrap()
    }

    fn turn(text: &str) -> Turn {
        Turn {
            model: "echo".to_owned(),
            system: None,
            messages: vec![Message::text(Role::User, text)],
            max_tokens: 1000,
            deadline: SystemTime::UNIX_EPOCH + Duration::from_secs(1 << 40),
        }
    }

    /// The text said, and how it ended.
    async fn run(provider: &Provider, turn: Turn) -> (String, Result<FinishReason, ErrorKind>) {
        let mut reply = provider.start(turn).await.unwrap();
        let mut said = String::new();
        loop {
            match reply.next().await.unwrap() {
                Ok(Event::TextDelta { delta, .. }) => said.push_str(&delta),
                Ok(Event::Finish { reason, .. }) => {
                    assert!(reply.next().await.is_none());
                    return (said, Ok(reason));
                }
                Ok(_) => {}
                Err(error) => {
                    assert!(reply.next().await.is_none());
                    return (said, Err(error.kind()));
                }
            }
        }
    }

    #[tokio::test]
    async fn the_last_user_message_comes_back_with_its_spaces() {
        let said = run(&provider(&[]), turn("a  b\nc [[fail 0]]")).await;
        assert_eq!(
            said,
            (
                "You said: a  b\nc [[fail 0]]".to_owned(),
                Ok(FinishReason::Stop)
            )
        );
    }

    #[tokio::test]
    async fn directives_steer_a_reply_once_they_are_enabled() {
        let provider = provider(&[("ECHO_DIRECTIVES", "true")]);
        let mut throttled = None;
        for (text, said, outcome) in [
            (
                "hi [[finish length]]",
                "You said: hi",
                Ok(FinishReason::Length),
            ),
            ("[[words 3]]", "word1 word2 word3", Ok(FinishReason::Stop)),
            ("one [[fail 2]]", "You said: ", Err(ErrorKind::Unavailable)),
            ("one [[eof 1]]", "You ", Err(ErrorKind::Interrupted)),
            (
                "one [[throttle 0]]",
                "",
                Err(ErrorKind::Throttled { retry_after: None }),
            ),
            ("[[calls]]", "This is turn 6", Ok(FinishReason::Stop)),
            (
                "open [[ only",
                "You said: open [[ only",
                Ok(FinishReason::Stop),
            ),
        ] {
            let expected = (said.to_owned(), outcome);
            assert_eq!(run(&provider, turn(text)).await, expected, "{text}");
        }
        if let Err(error) = provider.start(turn("[[refuse throttled 7]]")).await {
            throttled = Some(error.kind());
        }
        let retry_after = Some(Duration::from_secs(7));
        assert_eq!(throttled, Some(ErrorKind::Throttled { retry_after }));
    }

    #[tokio::test(start_paused = true)]
    async fn a_caller_who_looks_away_does_not_delay_the_words() {
        let provider = provider(&[("ECHO_DIRECTIVES", "true")]);
        let mut reply = provider.start(turn("[[delay 100]]")).await.unwrap();
        let mut looks = 0;
        while tokio::time::timeout(Duration::from_millis(30), reply.next())
            .await
            .is_err()
        {
            looks += 1;
        }
        assert_eq!(looks, 3);
    }

    #[tokio::test]
    async fn a_reply_ends_at_the_smaller_limit_of_tokens() {
        let provider = provider(&[("MODEL_MAX_TOKENS", "3")]);
        let said = run(&provider, turn("one two three")).await;
        assert_eq!(
            said,
            ("You said: one ".to_owned(), Ok(FinishReason::Length))
        );
    }

    #[tokio::test]
    async fn a_model_that_is_not_allowed_is_refused() {
        let mut turn = turn("hi");
        turn.model = "other".to_owned();
        let error = provider(&[("MODEL_ALLOWED", "echo, second")])
            .start(turn)
            .await
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Refused);
    }
}
