//! Writing a reply: the model's events become chunks for the client and checkpoints in the database, until the model ends,
//! the visitor stops it, or the time is up. It goes on when the client leaves.

use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use api::Metrics;
use chat_store::{Closing, Held, OwnerId, Reply, SoFar, microseconds};
use dsql::Dsql;
use model::{Event, FinishReason, Usage};
use serde_json::{Value, json};
use tokio::time::{Instant, Sleep, sleep, timeout};
use tracing::Instrument as _;

use crate::WATCHDOG;
use crate::body::{AnswerBody, Writer};
use crate::chunk::{Chunk, DONE, Fault, KEEP_ALIVE};
use crate::context::estimate_bytes;
use crate::draft::{Draft, Kind, send};
use crate::settings::Settings;

/// A reply with more bytes than this ends with the reason `length`: stored as JSON it must stay far below 1 MiB.
const MAX_REPLY_BYTES: usize = 384 * 1024;
/// So many new bytes are stored before the interval is over.
const MIN_UNSAVED_BYTES: usize = 2 * 1024;
/// Every checkpoint stores the whole reply again: the interval doubles with as many bytes.
const STRETCH_BYTES: usize = 32 * 1024;
/// A checkpoint that takes longer is given up; the next one stores as much.
const CHECKPOINT_LIMIT: Duration = Duration::from_secs(5);

type Checkpoint = Pin<Box<dyn Future<Output = Result<Held, dsql::Error>> + Send>>;

/// A reply that the model has accepted to give.
#[derive(Debug)]
pub(crate) struct Production {
    pub(crate) dsql: Dsql,
    pub(crate) settings: Settings,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) owner: OwnerId,
    pub(crate) reply: Reply,
    pub(crate) model: String,
    /// What is noted from the start.
    pub(crate) metadata: Value,
    /// The chat's title, if it got one with this turn.
    pub(crate) title: Option<String>,
    /// Tokens of the conversation, roughly.
    pub(crate) input_tokens: u64,
    pub(crate) begun: SystemTime,
    pub(crate) deadline: SystemTime,
    pub(crate) request_id: String,
}

/// How a reply came to its end.
#[derive(Debug)]
enum End {
    Finished(FinishReason, Option<Usage>),
    Stopped,
    Failed(model::Error),
    Interrupted,
    /// The chat was deleted, or the lock lost.
    Gone,
}

impl End {
    /// As it is stored.
    fn status(&self) -> &'static str {
        match self {
            Self::Finished(..) => "complete",
            Self::Stopped => "stopped",
            Self::Failed(_) => "error",
            Self::Interrupted | Self::Gone => "interrupted",
        }
    }
}

impl Production {
    /// Starts writing; the body ends when everything is stored.
    pub(crate) fn start(self, source: model::Reply) -> AnswerBody {
        let (out, body) = AnswerBody::streamed();
        send(
            &out,
            &Chunk::Start {
                message_id: self.reply.message.as_str(),
                message_metadata: &self.metadata,
            },
        );
        send(&out, &Chunk::StartStep);
        let span = tracing::info_span!("reply", requestId = %self.request_id);
        #[expect(
            clippy::disallowed_methods,
            reason = "the body's reader polls what this task writes; the watchdog ends it"
        )]
        tokio::spawn(self.run(source, out).instrument(span));
        body
    }

    async fn run(self, mut source: model::Reply, out: Writer) {
        let mut draft = Draft::default();
        let end = self.write(&mut source, &mut draft, &out).await;
        drop(source);
        draft.end_all(&out);
        self.close(end, &draft, &out).await;
        let _ = out.send(DONE);
    }

    /// Passes the reply on until it ends.
    async fn write(&self, source: &mut model::Reply, draft: &mut Draft, out: &Writer) -> End {
        let last = self.deadline.checked_sub(WATCHDOG).unwrap_or(self.begun);
        let mut watchdog = std::pin::pin!(sleep(self.until(last)));
        let mut quiet = std::pin::pin!(sleep(self.settings.keep_alive));
        let mut next_save = std::pin::pin!(sleep(self.settings.checkpoint));
        let mut saving: Option<Checkpoint> = None;
        // The first checkpoint is stored even without a word: it notes what was read.
        let (mut saved, mut asked) = (None, 0);
        let end = loop {
            tokio::select! {
                biased;
                () = &mut watchdog => break End::Interrupted,
                held = finished(&mut saving) => {
                    saving = None;
                    reset(next_save.as_mut(), self.interval(draft.bytes()));
                    match held {
                        Ok(Held::Yes) => saved = Some(asked),
                        Ok(Held::StopRequested) => break End::Stopped,
                        Ok(Held::No) => break End::Gone,
                        Err(error) => tracing::warn!(
                            error.cause = error.report(),
                            "a checkpoint failed, the next one stores as much"
                        ),
                    }
                }
                () = &mut next_save, if saving.is_none() => {
                    asked = draft.bytes();
                    saving = Some(self.checkpoint((Some(asked) > saved).then_some(&*draft)));
                }
                () = &mut quiet => {
                    let _ = out.send(KEEP_ALIVE);
                    reset(quiet.as_mut(), self.settings.keep_alive);
                }
                event = source.next() => {
                    reset(quiet.as_mut(), self.settings.keep_alive);
                    if let Some(end) = take(event, draft, out) {
                        break end;
                    }
                    if draft.bytes() > MAX_REPLY_BYTES {
                        break End::Finished(FinishReason::Length, None);
                    }
                    let before = saved.unwrap_or_default();
                    if draft.bytes() - before > MIN_UNSAVED_BYTES.max(before / 4) && saving.is_none() {
                        reset(next_save.as_mut(), Duration::ZERO);
                    }
                }
            }
        };
        // The close must not meet its own checkpoint as a conflict.
        if let Some(saving) = saving {
            let _ = timeout(CHECKPOINT_LIMIT, saving).await;
        }
        end
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
            End::Finished(reason, _) => Some(reason.as_str()),
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
            now: microseconds(now),
        };
        let db = self.dsql.until(self.deadline);
        let is_stored = match chat_store::close(&db, &self.owner, &self.reply, &closing).await {
            Ok(is_stored) => is_stored,
            Err(error) => {
                tracing::error!(
                    error.cause = error.report(),
                    "a reply could not be stored; its last checkpoint stays"
                );
                false
            }
        };
        self.log(&end, &usage, draft, is_stored);
        self.metrics.report_tokens(
            self.dsql.clock().now(),
            &self.request_id,
            &self.model,
            usage.input_tokens,
            usage.output_tokens,
        );
        self.tell(&end, &noted, is_stored, out);
    }

    fn tell(&self, end: &End, noted: &Value, is_stored: bool, out: &Writer) {
        let fault = match end {
            _ if !is_stored => Fault::NotStored,
            End::Finished(reason, _) => {
                if let Some(title) = &self.title {
                    let (data, transient) = (title.as_str(), true);
                    send(out, &Chunk::ChatTitle { data, transient });
                }
                send(out, &Chunk::FinishStep);
                return send(
                    out,
                    &Chunk::Finish {
                        finish_reason: reason.as_str(),
                        message_metadata: noted,
                    },
                );
            }
            End::Stopped => {
                send(
                    out,
                    &Chunk::MessageMetadata {
                        message_metadata: noted,
                    },
                );
                return send(out, &Chunk::Abort);
            }
            End::Failed(_) => Fault::Model,
            End::Interrupted | End::Gone => Fault::Interrupted,
        };
        let lost = json!({"status": "interrupted"});
        send(
            out,
            &Chunk::MessageMetadata {
                message_metadata: if is_stored { noted } else { &lost },
            },
        );
        send(
            out,
            &Chunk::Error {
                error_text: &fault.text(&self.request_id),
            },
        );
    }

    /// What the provider counted; else what can be told from the text.
    fn usage(&self, end: &End, draft: &Draft) -> Usage {
        if let End::Finished(_, Some(usage)) = end
            && usage.total_tokens > 0
        {
            return *usage;
        }
        self.estimate(draft)
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

    fn checkpoint(&self, draft: Option<&Draft>) -> Checkpoint {
        let now = self.dsql.clock().now();
        let db = self.dsql.until(now + CHECKPOINT_LIMIT);
        let (owner, reply) = (self.owner.clone(), self.reply.clone());
        let so_far = draft.map(|draft| {
            let usage = self.estimate(draft);
            let parts = draft.parts().to_string();
            (
                parts,
                tokens(usage.input_tokens),
                tokens(usage.output_tokens),
            )
        });
        Box::pin(async move {
            let so_far = so_far.as_ref().map(|(parts, input, output)| SoFar {
                parts,
                input_tokens: *input,
                output_tokens: *output,
            });
            chat_store::checkpoint(&db, &owner, &reply, so_far, microseconds(now)).await
        })
    }

    fn interval(&self, bytes: usize) -> Duration {
        let stretch = u32::try_from(bytes / STRETCH_BYTES).unwrap_or(u32::MAX);
        self.settings.checkpoint * stretch.saturating_add(1)
    }

    fn until(&self, end: SystemTime) -> Duration {
        end.duration_since(self.dsql.clock().now())
            .unwrap_or_default()
    }

    fn log(&self, end: &End, usage: &Usage, draft: &Draft, is_stored: bool) {
        let status = end.status();
        let chat = self.reply.chat.as_str();
        if let End::Failed(error) = end {
            let cause = api::chain(error);
            tracing::warn!(error.cause = cause, "the model failed: {cause}");
        }
        tracing::info!(
            chat.id = chat,
            message.id = self.reply.message.as_str(),
            model.id = self.model,
            reply.status = status,
            reply.size_bytes = draft.bytes(),
            reply.is_stored = is_stored,
            usage.input_tokens = usage.input_tokens,
            usage.output_tokens = usage.output_tokens,
            "the reply in chat {chat} ended: {status}"
        );
    }
}

fn tokens(n: u64) -> i64 {
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
            Event::TextEnd { id } => draft.end(Kind::Text, id, out),
            Event::ReasoningStart { id } => draft.start(Kind::Reasoning, id, out),
            Event::ReasoningDelta { id, delta } => draft.push(Kind::Reasoning, id, &delta, out),
            Event::ReasoningEnd { id } => draft.end(Kind::Reasoning, id, out),
            Event::Finish { reason, usage } => return Some(End::Finished(reason, Some(usage))),
        },
        Some(Err(error)) => return Some(End::Failed(error)),
        // A reply ends with Finish or an error; this is neither.
        None => return Some(End::Interrupted),
    }
    None
}

/// The end of a checkpoint under way; without one it never comes.
async fn finished(saving: &mut Option<Checkpoint>) -> Result<Held, dsql::Error> {
    match saving {
        Some(saving) => saving.await,
        None => std::future::pending().await,
    }
}

fn reset(timer: Pin<&mut Sleep>, after: Duration) {
    timer.reset(Instant::now() + after);
}

/// Adds the fields of one object to another.
pub(crate) fn merge(into: &mut Value, from: &Value) {
    if let (Some(into), Some(from)) = (into.as_object_mut(), from.as_object()) {
        into.extend(from.clone());
    }
}
