//! Writing a reply: the model's events become chunks for the client and checkpoints in the database, until the model ends,
//! the visitor stops it, the lock is lost, or the time is up. It goes on when the client leaves.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use chat_store::{Closing, Ended, Held, Reply, microseconds};
use dsql::{Db, Dsql};
use model::{Event, FinishReason, Usage};
use runtime::Metrics;
use serde_json::{Value, json};
use tokio::time::sleep;
use tracing::Instrument as _;

use crate::body::{AnswerBody, Writer};
use crate::budget::Budget;
use crate::chunk::{Chunk, Fault, done};
use crate::context::estimate_bytes;
use crate::draft::Draft;
use crate::lock::{Beat, Lock};
use crate::parts::{Kind, send, tool_call};
use crate::settings::Settings;
use crate::ticker::Ticker;

/// A reply with more bytes than this ends with the reason `length`: stored as JSON it must stay far below 1 MiB.
const MAX_REPLY_BYTES: usize = 384 * 1024;
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
    /// Tokens of the conversation, roughly.
    pub(crate) input_tokens: u64,
    /// What it costs at most, by any tokenizer.
    pub(crate) at_most: u64,
    pub(crate) begun: SystemTime,
    pub(crate) budget: Budget,
    pub(crate) request_id: String,
}

/// How a reply came to its end.
#[derive(Debug)]
enum End {
    Finished(FinishReason, Option<Usage>),
    /// As the model would have it, but it has said nothing.
    Empty(FinishReason, Option<Usage>),
    Stopped,
    Failed(model::Error),
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
            Self::Finished(..) => "complete",
            Self::Stopped => "stopped",
            Self::Failed(_) | Self::Empty(..) => "error",
            Self::Interrupted | Self::Superseded | Self::Gone => "interrupted",
        }
    }

    /// That of a writer without its lock.
    fn of(lost: Held) -> Self {
        match lost {
            Held::Stopped => Self::Stopped,
            Held::Yes | Held::Interrupted => Self::Superseded,
            Held::Gone => Self::Gone,
        }
    }
}

impl Production {
    /// Starts writing; the body ends when everything is stored.
    pub(crate) fn start(self, lock: Lock, source: model::Reply) -> AnswerBody {
        let (out, body) = AnswerBody::streamed();
        send(
            &out,
            &Chunk::Start {
                message_id: self.reply.message.as_str(),
                message_metadata: &self.metadata,
            },
        );
        send(&out, &Chunk::StartStep);
        if let Some(title) = &self.title {
            let (data, transient) = (title.as_str(), true);
            send(&out, &Chunk::ChatTitle { data, transient });
        }
        let span = tracing::info_span!("reply", requestId = %self.request_id);
        #[expect(
            clippy::disallowed_methods,
            reason = "the body's reader polls what this task writes; the watchdog ends it"
        )]
        tokio::spawn(self.run(lock, source, out).instrument(span));
        body
    }

    async fn run(self, mut lock: Lock, mut source: model::Reply, out: Writer) {
        let mut draft = Draft::default();
        let mut ticker = Ticker::new(&out, self.settings.keep_alive);
        let end = self
            .write(&mut lock, &mut source, &mut draft, &mut ticker, &out)
            .await;
        drop(source);
        draft.end_all(&out);
        let closed = async {
            let settling = self.budget.settling(self.dsql.clock().now());
            lock.settle(settling).await;
            self.close(end, &draft, &out).await;
        };
        ticker.during(closed).await;
        let _ = out.send(done(self.reply.message.as_str()));
    }

    /// Passes the reply on until it ends.
    async fn write(
        &self,
        lock: &mut Lock,
        source: &mut model::Reply,
        draft: &mut Draft,
        ticker: &mut Ticker,
        out: &Writer,
    ) -> End {
        let mut watchdog = std::pin::pin!(sleep(self.until(self.budget.last_event())));
        loop {
            tokio::select! {
                biased;
                () = &mut watchdog => return End::Interrupted,
                beat = lock.beat() => match beat {
                    Beat::Due => lock.store(draft),
                    Beat::Done => {}
                    Beat::Lost(held) => return End::of(held),
                },
                never = ticker.run() => match never {},
                event = source.next() => {
                    ticker.heard();
                    if let Some(end) = take(event, draft, out) {
                        return end;
                    }
                    if draft.bytes() > MAX_REPLY_BYTES {
                        return End::Finished(FinishReason::Length, None);
                    }
                    lock.grown_to(draft.bytes());
                }
            }
        }
    }

    /// Stores the end, then tells the client.
    async fn close(&self, end: End, draft: &Draft, out: &Writer) {
        let now = self.dsql.clock().now();
        let usage = self.usage(&end, draft);
        let latency = now.duration_since(self.begun).unwrap_or_default();
        let mut noted = json!({
            "status": end.status(),
            "usage": {
                "inputTokens": usage.input_tokens,
                "outputTokens": usage.output_tokens,
                "totalTokens": usage.total_tokens,
                "cachedInputTokens": usage.cached_input_tokens,
            },
            "latencyMs": u64::try_from(latency.as_millis()).unwrap_or(u64::MAX),
        });
        let finish_reason = match end {
            End::Finished(reason, _) | End::Empty(reason, _) => Some(reason.as_str()),
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
            spent: tokens(counted(&end).map_or(self.at_most, billed)),
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
            _ => chat_store::close(&db, &self.reply, &closing)
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
        let settled = chat_store::settle(db, self.reply.stream.as_str(), closing.spent).await;
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
            End::Finished(reason, _) => {
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

    /// What the provider counted; else what can be told from the text.
    fn usage(&self, end: &End, draft: &Draft) -> Usage {
        counted(end)
            .copied()
            .unwrap_or_else(|| self.estimate(draft))
    }

    /// What can be told from the text.
    fn estimate(&self, draft: &Draft) -> Usage {
        let output_tokens = estimate_bytes(draft.bytes());
        Usage {
            input_tokens: self.input_tokens,
            output_tokens,
            total_tokens: self.input_tokens + output_tokens,
            cached_input_tokens: 0,
        }
    }

    fn until(&self, end: SystemTime) -> Duration {
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

/// What the provider has counted. One that was stopped, or whose words end in any other way, says nothing of what it bills.
fn counted(end: &End) -> Option<&Usage> {
    match end {
        End::Finished(_, usage) | End::Empty(_, usage) => {
            usage.as_ref().filter(|usage| usage.total_tokens > 0)
        }
        _ => None,
    }
}

/// What it bills by that count: one total says more than its parts, where it has parts that they leave out.
fn billed(usage: &Usage) -> u64 {
    usage
        .total_tokens
        .max(usage.input_tokens + usage.output_tokens)
}

/// As a count of the database.
pub(crate) fn tokens(n: u64) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

/// Takes one event of the model; says whether it was the last.
fn take(
    event: Option<Result<Event, model::Error>>,
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
            Event::Source { url, title } => {
                let mut part =
                    json!({"type": "source-url", "sourceId": draft.next_source(), "url": url});
                if let Some(title) = title {
                    merge(&mut part, &json!({"title": title}));
                }
                draft.add(part, out);
            }
            Event::Document { title, media_type } => {
                let id = draft.next_source();
                let part = json!({"type": "source-document", "sourceId": id, "mediaType": media_type, "title": title});
                draft.add(part, out);
            }
            Event::File { data, .. } if draft.bytes() + data.len() > MAX_REPLY_BYTES => {
                return Some(End::Finished(FinishReason::Length, None));
            }
            Event::File { media_type, data } => {
                let url = format!("data:{media_type};base64,{data}");
                let part = json!({"type": "file", "mediaType": media_type, "url": url});
                draft.add(part, out);
            }
            Event::ToolCall { id, name, input } => draft.add(tool_call(&id, &name, &input), out),
            Event::ToolResult { id, output } => draft.answer(&id, output, out),
            Event::Finish { reason, usage } if draft.is_blank() => {
                return Some(End::Empty(reason, Some(usage)));
            }
            Event::Finish { reason, usage } => return Some(End::Finished(reason, Some(usage))),
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

/// Adds the fields of one object to another.
pub(crate) fn merge(into: &mut Value, from: &Value) {
    if let (Some(into), Some(from)) = (into.as_object_mut(), from.as_object()) {
        into.extend(from.clone());
    }
}
