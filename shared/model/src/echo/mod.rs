//! Echo: a provider without a model. It repeats the last user message word by word, always the same
//! way, so that tests and an offline demonstration need nothing else.
//!
//! With [`ECHO_DIRECTIVES`] the message itself may steer the reply. A directive stands in double
//! brackets and is not repeated; each but `tool` may be used at most once in a message:
//!
//! | Directive | Effect |
//! |---|---|
//! | `[[delay 200]]` | milliseconds before each word |
//! | `[[accept 500]]` | milliseconds until the turn is accepted |
//! | `[[reasoning]]` | reasons before it answers |
//! | `[[words 400]]` | answers with this many words, `word1 word2 …` |
//! | `[[source https://example.com/]]` | names that page as its source |
//! | `[[parts]]` | has one of everything that a reply may hold besides text, before its last word |
//! | `[[tool look {"at":"it"}]]` | calls that tool, if any is offered; a second one in the next step; in the end it says what they gave |
//! | `[[together]]` | calls all those tools in one step |
//! | `[[offered]]` | answers with the names of the tools that are offered |
//! | `[[calls]]` | answers with the number of turns this process has started |
//! | `[[finish length]]` | ends with that reason |
//! | `[[refuse throttled 7]]`, `[[refuse throttled]]`, `[[refuse invalid]]`, `[[refuse unavailable]]` | does not accept the turn; the number is `retry_after` in seconds |
//! | `[[fail 3]]` | after three words the provider becomes unavailable |
//! | `[[throttle 3]]` | after three words the provider is asked too much |
//! | `[[eof 3]]` | after three words the stream ends without a finish |
//! | `[[hang 3]]` | after three words nothing comes any more |

mod calls;
mod script;

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde_json::json;

use crate::blocks::{Blocks, Kind};
use crate::config::{self, ConfigError, Lookup};
use crate::error::{Error, ErrorKind};
use crate::event::{FinishReason, Usage};
use crate::progress::Progress;
use crate::turn::{Message, Part, Role, Turn};
use calls::{Piece, calls, results, words};
use script::{Break, Script};

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

/// A reply under way.
#[derive(Debug)]
pub(crate) struct EchoReply {
    pieces: VecDeque<Piece>,
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
        let is_question = |message: &Message| {
            let is_result = |part: &Part| matches!(part, Part::Result { .. });
            message.role == Role::User && !message.parts.iter().all(is_result)
        };
        let last = turn.messages.iter().rposition(is_question);
        let question = last.and_then(|last| turn.messages.get(last));
        let said = question.map(asked).unwrap_or_default();
        let since = turn
            .messages
            .get(last.map_or(0, |last| last + 1)..)
            .unwrap_or_default();
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
        let calls = calls(&script, turn, since);
        let text = if !calls.is_empty() {
            String::new()
        } else if !since.is_empty() {
            format!("Tools said: {}", results(since))
        } else if script.has("offered") {
            let names: Vec<_> = turn.tools.iter().map(|tool| tool.name.as_str()).collect();
            format!("Offered: {}", names.join(", "))
        } else if let Some(count) = script.number("words") {
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
            pieces.extend(words(REASONING).map(|word| Piece::Word(Kind::Reasoning, word.into())));
        }
        pieces.extend(words(&text).map(|word| Piece::Word(Kind::Text, word.into())));
        let has_calls = !calls.is_empty();
        pieces.extend(calls);
        let limit = usize::try_from(turn.max_tokens).unwrap_or(usize::MAX);
        let reason = if pieces.len() > limit {
            pieces.truncate(limit);
            FinishReason::Length
        } else if has_calls {
            FinishReason::ToolCalls
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
            // Kept, so that a caller who looks away and back does not start the wait again.
            let delay = self.delay;
            self.wait
                .get_or_insert_with(|| Box::pin(tokio::time::sleep(delay)))
                .await;
            self.wait = None;
        }
        if self.has_parts && self.pieces.len() == 1 {
            parts(blocks);
        }
        if let Some(piece) = self.pieces.pop_front() {
            self.said += 1;
            match piece {
                Piece::Word(kind, word) => blocks.push(kind, word),
                Piece::BeginCall(id, name) => blocks.begin_call(&id, &name),
                Piece::Input(id, piece) => blocks.call_delta(&id, &piece),
                Piece::Call(id, name, input) => blocks.call(&id, &name, input),
            }
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
    blocks.begin_call("call-1", "weather");
    blocks.call_delta("call-1", r#"{"place":"Bern"}"#);
    blocks.call("call-1", "weather", json!({"place": "Bern"}));
    blocks.answer("call-1", Ok(json!({"degrees": 7})));
    blocks.call("call-2", "unknown tool", json!({}));
}

fn count(text: &str) -> u64 {
    u64::try_from(text.split_whitespace().count()).unwrap_or(u64::MAX)
}

/// A question's text, without the results of tools before it.
fn asked(message: &Message) -> String {
    let is_result = |part: &Part| matches!(part, Part::Result { .. });
    let parts = message.parts.iter().filter(|part| !is_result(part));
    spoken(&Message {
        role: message.role,
        parts: parts.cloned().collect(),
    })
}

/// A message's text; a file is named by its type or name, and its size.
fn spoken(message: &Message) -> String {
    let parts: Vec<_> = message
        .parts
        .iter()
        .map(|part| match part {
            Part::Text(text) | Part::Reasoning { text, .. } => text.clone(),
            Part::Image { media_type, bytes } => {
                format!("({media_type}, {} bytes)", bytes.len())
            }
            Part::Pdf { name, bytes } => format!("({name}, {} bytes)", bytes.len()),
            Part::Call { name, input, .. } => format!("{name} {input}"),
            Part::Result { output, .. } => output.clone(),
        })
        .collect();
    parts.join(" ")
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::SystemTime;

    use super::*;
    use crate::event::Event;
    use crate::provider::Provider;
    use crate::turn::Tool;

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
            tools: Arc::default(),
            may_call: true,
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

    #[tokio::test]
    async fn a_message_says_which_tools_are_called_step_by_step_or_together() {
        let provider = provider(&[("ECHO_DIRECTIVES", "true")]);
        let asked = |text: &str| {
            let mut turn = turn(text);
            let tool = |name: &str| Tool {
                name: name.to_owned(),
                description: String::new(),
                schema: json!({}),
            };
            turn.tools = ["a", "b"].map(tool).into();
            turn
        };
        let calls = async |turn: Turn| {
            let mut reply = provider.start(turn).await.unwrap();
            let mut calls = Vec::new();
            while let Some(event) = reply.next().await {
                if let Event::ToolCall { id, name, input } = event.unwrap() {
                    calls.push(format!("{id} {name} {input}"));
                }
            }
            calls
        };
        let both = r#"[[tool a {"n":1}]] [[tool b]]"#;
        assert_eq!(calls(asked(both)).await, [r#"call-1 a {"n":1}"#]);
        let together = asked(&format!("{both} [[together]]"));
        assert_eq!(
            calls(together).await,
            [r#"call-1 a {"n":1}"#, "call-2 b null"]
        );
        let mut no_more = asked(both);
        no_more.may_call = false;
        assert_eq!(calls(no_more).await, Vec::<String>::new());
        let names = run(&provider, asked("[[offered]]")).await;
        assert_eq!(names.0, "Offered: a, b");

        let mut second = asked(both);
        let (id, output) = ("call-1".to_owned(), "one".to_owned());
        let call = Part::Call {
            id: id.clone(),
            name: "a".to_owned(),
            input: json!({"n": 1}),
        };
        let result = Part::Result {
            id,
            output,
            is_error: false,
        };
        for (role, part) in [(Role::Assistant, call), (Role::User, result)] {
            let parts = vec![part];
            second.messages.push(Message { role, parts });
        }
        assert_eq!(calls(second.clone()).await, ["call-1 b null"]);
        second.may_call = false;
        assert_eq!(run(&provider, second).await.0, "Tools said: one");
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
