//! Writing a reply: the model's events become chunks for the client and checkpoints in the
//! database, until the model ends, the visitor stops it, the lock is lost, or the time is up. It
//! goes on when the client leaves.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use chat_store::{Closing, Ended, Held, Reply, microseconds};
use dsql::{Db, Dsql};
use model::{Event, FinishReason, Usage};
use runtime::Metrics;
use serde_json::{Value, json};
use tracing::Instrument as _;

use crate::body::{AnswerBody, Writer};
use crate::budget::Budget;
use crate::chunk::{Chunk, Fault, done};
use crate::draft::{Draft, Outcome, Source};
use crate::lock::Lock;
use crate::parts::{Kind, merge, send};
use crate::settings::Settings;
use crate::ticker::Ticker;
use crate::tools::Toolbox;
use crate::writing::{Asking, Step, Tally, Writing};

/// A reply with more bytes than this ends with the reason `length`: stored as JSON it must stay far
/// below 1 MiB.
pub(crate) const MAX_REPLY_BYTES: usize = 384 * 1024;

/// A reply that the model has accepted to give.
#[derive(Debug)]
pub(crate) struct Production {
    pub(crate) dsql: Dsql,
    pub(crate) settings: Settings,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) reply: Reply,
    pub(crate) model: String,
    /// What is noted from the start.
    pub(crate) metadata: Value,
    /// The chat's title, if it got one with this turn.
    pub(crate) title: Option<String>,
    pub(crate) begun: SystemTime,
    pub(crate) budget: Budget,
    pub(crate) request_id: String,
    /// What it is asked again with, when it has called tools.
    pub(crate) asking: Asking,
    /// What the reply had used before it was gone on with.
    pub(crate) used_before: Usage,
}

/// What a reply begins with.
#[derive(Debug)]
pub(crate) enum Begin {
    /// The model has accepted the first step.
    Accepted(Box<model::Reply>, Step),
    /// What a reply so far has asked is answered.
    Answered(Draft),
}

/// How a reply came to its end.
#[derive(Debug)]
pub(crate) enum End {
    Finished(FinishReason, Option<Usage>),
    /// A step has ended with calls of tools that are to be executed.
    Calling(FinishReason, Option<Usage>),
    /// In the same way, but it has said nothing.
    Empty(FinishReason, Option<Usage>),
    Stopped,
    Failed(model::Error),
    /// What is left of a day's tokens does not suffice for another step.
    Spent,
    Interrupted,
    /// The lease had passed, and the reply was ended in this writer's place.
    Superseded,
    /// The reply is gone, and perhaps its chat.
    Gone,
}

impl End {
    /// As it is stored.
    fn status(&self) -> &'static str {
        match self {
            Self::Finished(..) | Self::Calling(..) => "complete",
            Self::Stopped => "stopped",
            Self::Failed(_) | Self::Empty(..) | Self::Spent => "error",
            Self::Interrupted | Self::Superseded | Self::Gone => "interrupted",
        }
    }

    /// As the model, or a limit, would have it.
    pub(crate) fn said(reason: FinishReason, usage: Option<Usage>, draft: &Draft) -> Self {
        if draft.is_blank() {
            Self::Empty(reason, usage)
        } else {
            Self::Finished(reason, usage)
        }
    }

    /// That of a writer without its lock.
    pub(crate) fn of(lost: Held) -> Self {
        match lost {
            Held::Stopped => Self::Stopped,
            Held::Yes | Held::Interrupted => Self::Superseded,
            Held::Gone => Self::Gone,
        }
    }
}

impl Production {
    /// Starts writing; the body ends when everything is stored.
    pub(crate) fn start(self, lock: Lock, begin: Begin) -> AnswerBody {
        let (out, body) = AnswerBody::streamed();
        let is_answered = matches!(begin, Begin::Answered(_));
        let mut noted = self.metadata.clone();
        if is_answered {
            // A client adds what it is told to what it has: until the end there is none.
            merge(&mut noted, &json!({"status": null, "finishReason": null}));
        }
        send(
            &out,
            &Chunk::Start {
                message_id: self.reply.message.as_str(),
                message_metadata: &noted,
            },
        );
        if !is_answered {
            send(&out, &Chunk::StartStep);
        }
        if let Some(title) = &self.title {
            let (data, transient) = (title.as_str(), true);
            send(&out, &Chunk::ChatTitle { data, transient });
        }
        let span = tracing::info_span!("reply", requestId = %self.request_id);
        #[expect(
            clippy::disallowed_methods,
            reason = "the body's reader polls what this task writes; the watchdog ends it"
        )]
        tokio::spawn(self.run(lock, begin, out).instrument(span));
        body
    }

    async fn run(self, lock: Lock, begin: Begin, out: Writer) {
        let mut writing = Writing {
            lock,
            draft: Draft::default(),
            ticker: Ticker::new(&out, self.settings.keep_alive),
            out,
        };
        let mut tally = Tally::new();
        let end = self.write(begin, &mut writing, &mut tally).await;
        writing.draft.end_all(&writing.out);
        writing.draft.end_calls(&writing.out);
        let mut ticker = Ticker::new(&writing.out, self.settings.keep_alive);
        let closed = async {
            let settling = self.budget.settling(self.dsql.clock().now());
            writing.lock.settle(settling).await;
            self.end_step(counted(&end), &writing.draft, &mut tally)
                .await;
            self.close(end, &writing.draft, &tally, &writing.out).await;
        };
        ticker.during(closed).await;
        let _ = writing.out.send(done(self.reply.message.as_str()));
    }

    /// Passes the reply on until it ends.
    async fn write(&self, begin: Begin, writing: &mut Writing, tally: &mut Tally) -> End {
        let mut source = match begin {
            Begin::Accepted(source, step) => {
                tally.begin(step);
                *source
            }
            Begin::Answered(draft) => {
                writing.draft = draft;
                match self.go_on(FinishReason::ToolCalls, writing, tally).await {
                    Ok(source) => source,
                    Err(end) => return end,
                }
            }
        };
        loop {
            let end = self.pass_on(&mut source, writing).await;
            let End::Calling(reason, usage) = end else {
                return end;
            };
            drop(source);
            self.end_step(used(usage.as_ref()), &writing.draft, tally)
                .await;
            source = match self.go_on(reason, writing, tally).await {
                Ok(source) => source,
                Err(end) => return end,
            };
        }
    }

    /// Passes one step on.
    async fn pass_on(&self, source: &mut model::Reply, writing: &mut Writing) -> End {
        loop {
            let event = match self.during(writing, source.next()).await {
                Ok(event) => event,
                Err(end) => return end,
            };
            writing.ticker.heard();
            if let Some(end) = take(event, &self.asking.tools, &mut writing.draft, &writing.out) {
                return end;
            }
            if writing.draft.bytes() > MAX_REPLY_BYTES {
                return End::said(FinishReason::Length, None, &writing.draft);
            }
            writing.lock.grown_to(writing.draft.bytes());
        }
    }

    /// Stores the end, then tells the client.
    async fn close(&self, end: End, draft: &Draft, tally: &Tally, out: &Writer) {
        let now = self.dsql.clock().now();
        let usage = tally.usage;
        let mut total = usage;
        total.add(&self.used_before);
        let latency = now.duration_since(self.begun).unwrap_or_default();
        let mut noted = json!({
            "status": end.status(),
            "usage": {
                "inputTokens": total.input_tokens,
                "outputTokens": total.output_tokens,
                "totalTokens": total.total_tokens,
                "cachedInputTokens": total.cached_input_tokens,
            },
            "latencyMs": u64::try_from(latency.as_millis()).unwrap_or(u64::MAX),
        });
        let finish_reason = match end {
            End::Finished(reason, _) | End::Empty(reason, _) => Some(reason.as_str()),
            End::Spent => Some(FinishReason::Other.as_str()),
            _ => None,
        };
        if let Some(reason) = finish_reason {
            merge(&mut noted, &json!({"finishReason": reason}));
        }
        let mut metadata = self.metadata.clone();
        merge(&mut metadata, &noted);
        let (parts, metadata) = (draft.parts().to_string(), metadata.to_string());
        let closing = Closing {
            parts: &parts,
            metadata: &metadata,
            status: end.status(),
            finish_reason,
            model: &self.model,
            input_tokens: tokens(usage.input_tokens),
            output_tokens: tokens(usage.output_tokens),
            is_unheard: out.is_left(),
            spent: tokens(tally.spent),
            now: microseconds(now),
        };
        let db = self.dsql.until(self.budget.close());
        let ended = match end {
            End::Superseded => {
                self.settle(&db, &closing).await;
                Some(Ended::Interrupted)
            }
            End::Gone => {
                self.settle(&db, &closing).await;
                Some(Ended::Gone)
            }
            _ => chat_store::replies::close(&db, &self.reply, &closing)
                .await
                .inspect_err(|error| {
                    tracing::error!(
                        error.cause = error.report(),
                        "a reply could not be stored; its last checkpoint stays"
                    );
                })
                .ok(),
        };
        self.log(&end, &usage, draft, ended);
        self.metrics.report_tokens(
            self.dsql.clock().now(),
            &self.request_id,
            &self.model,
            usage.input_tokens,
            usage.output_tokens,
        );
        match ended {
            Some(Ended::Stored) => self.tell(&end, &noted, out),
            Some(Ended::Stopped) => {
                merge(&mut noted, &json!({"status": "stopped"}));
                tell_stopped(&noted, out);
            }
            Some(Ended::Gone) => send(out, &Chunk::Abort),
            Some(Ended::Interrupted) => self.tell_lost(Fault::Interrupted, out),
            None => self.tell_lost(Fault::NotStored, out),
        }
    }

    /// Settles what was reserved for a reply that is not this writer's any more.
    async fn settle(&self, db: &Db, closing: &Closing<'_>) {
        let settled =
            chat_store::spending::settle(db, self.reply.stream.as_str(), closing.spent).await;
        if let Err(error) = settled {
            tracing::warn!(
                error.cause = error.report(),
                "what was reserved for a reply could not be settled; it stays spent for the day"
            );
        }
    }

    /// Tells the client how the reply has ended, as it is stored.
    fn tell(&self, end: &End, noted: &Value, out: &Writer) {
        let fault = match end {
            End::Finished(reason, _) | End::Calling(reason, _) => {
                send(out, &Chunk::FinishStep);
                return send(
                    out,
                    &Chunk::Finish {
                        finish_reason: reason.as_str(),
                        message_metadata: noted,
                    },
                );
            }
            End::Stopped => return tell_stopped(noted, out),
            End::Empty(reason, _) => Fault::without_answer(Some(reason.as_str())),
            End::Failed(_) => Fault::Model,
            End::Spent => Fault::Spent,
            End::Interrupted | End::Superseded | End::Gone => Fault::Interrupted,
        };
        self.tell_fault(fault, noted, out);
    }

    /// Tells the client that what it was sent is not all stored.
    fn tell_lost(&self, fault: Fault, out: &Writer) {
        self.tell_fault(fault, &json!({"status": "interrupted"}), out);
    }

    fn tell_fault(&self, fault: Fault, message_metadata: &Value, out: &Writer) {
        send(out, &Chunk::MessageMetadata { message_metadata });
        let error_text = &fault.text(&self.request_id);
        send(out, &Chunk::Error { error_text });
    }

    pub(crate) fn until(&self, end: SystemTime) -> Duration {
        end.duration_since(self.dsql.clock().now())
            .unwrap_or_default()
    }

    fn log(&self, end: &End, usage: &Usage, draft: &Draft, ended: Option<Ended>) {
        let status = end.status();
        let chat = self.reply.chat.as_str();
        if let End::Failed(error) = end {
            let cause = runtime::chain(error);
            tracing::warn!(error.cause = cause, "the model failed: {cause}");
        }
        tracing::info!(
            chat.id = chat,
            message.id = self.reply.message.as_str(),
            model.id = self.model,
            reply.status = status,
            reply.size_bytes = draft.bytes(),
            reply.is_stored = matches!(ended, Some(Ended::Stored | Ended::Stopped)),
            usage.input_tokens = usage.input_tokens,
            usage.output_tokens = usage.output_tokens,
            "the reply in chat {chat} ended: {status}"
        );
    }
}

/// What the provider has counted. One that was stopped, or whose words end in any other way, says
/// nothing of what it bills.
fn counted(end: &End) -> Option<&Usage> {
    match end {
        End::Finished(_, usage) | End::Empty(_, usage) => used(usage.as_ref()),
        _ => None,
    }
}

/// A count that counts something.
fn used(usage: Option<&Usage>) -> Option<&Usage> {
    usage.filter(|usage| usage.total_tokens > 0)
}

/// As a count of the database.
pub(crate) fn tokens(n: u64) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

/// Takes one event of the model; says whether it was the last.
fn take(
    event: Option<Result<Event, model::Error>>,
    tools: &Toolbox,
    draft: &mut Draft,
    out: &Writer,
) -> Option<End> {
    match event {
        Some(Ok(event)) => match event {
            Event::TextStart { id } => draft.start(Kind::Text, id, out),
            Event::TextDelta { id, delta } => draft.push(Kind::Text, id, &delta, out),
            Event::TextEnd { id } => draft.end(Kind::Text, id, None, out),
            Event::ReasoningStart { id } => draft.start(Kind::Reasoning, id, out),
            Event::ReasoningDelta { id, delta } => draft.push(Kind::Reasoning, id, &delta, out),
            Event::ReasoningEnd { id, metadata } => {
                draft.end(Kind::Reasoning, id, metadata, out);
            }
            Event::Source { url, title } => draft.add_source(&Source { url, title }, out),
            Event::Document { title, media_type } => {
                let id = draft.next_source();
                let part = json!({"type": "source-document", "sourceId": id, "mediaType": media_type, "title": title});
                draft.add(part, out);
            }
            Event::File { data, .. } if draft.bytes() + data.len() > MAX_REPLY_BYTES => {
                return Some(End::said(FinishReason::Length, None, draft));
            }
            Event::File { media_type, data } => {
                let url = format!("data:{media_type};base64,{data}");
                let part = json!({"type": "file", "mediaType": media_type, "url": url});
                draft.add(part, out);
            }
            Event::ToolInputStart { id, name } => {
                draft.begin_call(&id, &name, tools.manner(&name), out);
            }
            Event::ToolInputDelta { id, delta } => draft.call_delta(&id, &delta, out),
            Event::ToolCall { id, name, input } => {
                draft.call(&id, &name, &input, tools.manner(&name), out);
            }
            Event::ToolResult { id, output } => {
                let outcome = match output {
                    Ok(output) => Outcome::Gave(output),
                    Err(reason) => Outcome::Failed(reason),
                };
                draft.answered(&id, outcome, out);
            }
            Event::Finish { reason, usage } if !draft.open_calls().is_empty() => {
                return Some(End::Calling(reason, Some(usage)));
            }
            Event::Finish { reason, usage } => return Some(End::said(reason, Some(usage), draft)),
        },
        Some(Err(error)) => return Some(End::Failed(error)),
        // A reply ends with Finish or an error; this is neither.
        None => return Some(End::Interrupted),
    }
    None
}

fn tell_stopped(message_metadata: &Value, out: &Writer) {
    send(out, &Chunk::MessageMetadata { message_metadata });
    send(out, &Chunk::Abort);
}
