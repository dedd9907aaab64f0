//! Streaming a reply from the database: one that another container is writing, or one that is there
//! already. What is streamed is always the whole reply from its start, under the same ids.

use std::pin::pin;
use std::time::{Duration, SystemTime};

use chat_store::{
    Active, ChatId, MessageId, OwnerId, Progress, Resumable, StoredReply, microseconds,
};
use dsql::{Dsql, Error};
use http_api::{ApiError, OpenStream};
use jiff::Timestamp;
use lambda_http::Response;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep, sleep_until};
use tracing::Instrument as _;

use crate::app::{Answer, Call, event_stream};
use crate::body::{AnswerBody, Writer};
use crate::budget::Budget;
use crate::chunk::{Chunk, DONE, Fault, done};
use crate::input;
use crate::parts::send;
use crate::sent::Sent;
use crate::settings::Settings;
use crate::ticker::Ticker;

/// Failed looks in a row before a follower gives up.
const MAX_FAILURES: u32 = 5;
/// How long a follower waits for the last words of a reply that was stopped: its writer has them
/// until its next checkpoint.
const LAST_WORDS: Duration = Duration::from_secs(4);

/// The reply being written in the chat, from its start and then live, or the last one, if it has
/// just ended and the page waits for it; 204 when there is neither, or no such chat.
pub(crate) async fn resume(call: &Call<'_>, id: &str) -> Answer {
    let Ok(chat) = input::chat_id(id) else {
        return Ok(nothing()); // no chat has such an id
    };
    let (db, owner) = (&call.db, &call.owner);
    let shows = input::last_event_id(call.request);
    let found =
        chat_store::replies::resumable(db, owner, &chat, shows, microseconds(call.now)).await?;
    let parse = |reply: &chat_store::Message| {
        MessageId::parse(&reply.id).map_err(|_| ApiError::not_found())
    };
    let active = match found {
        None => return Ok(nothing()),
        Some(Resumable::Ended(reply)) => {
            let message = parse(&reply.message)?;
            chat_store::replies::delivered(db, owner, &chat, &message).await?;
            return Ok(replay(call, &reply));
        }
        Some(Resumable::Active(active)) => active,
    };
    let message = parse(&active.message)?;
    let stream = call.app.limiter.open_stream(&call.caller, call.request)?;
    let (out, body) = AnswerBody::streamed();
    let follower = Follower {
        dsql: call.dsql.clone(),
        settings: call.app.settings.clone(),
        owner: call.owner.clone(),
        chat,
        message,
        budget: call.budget,
        request_id: call.request_id.clone(),
        _stream: stream,
    };
    let span = tracing::info_span!("follow", requestId = %call.request_id);
    #[expect(
        clippy::disallowed_methods,
        reason = "the body's reader polls what this task writes; it ends with the client or its own deadline"
    )]
    tokio::spawn(follower.run(active, out).instrument(span));
    Ok(event_stream(body))
}

fn nothing() -> Response<AnswerBody> {
    http_api::empty().map(Into::into)
}

/// A stored reply that has ended, once more.
pub(crate) fn replay(call: &Call<'_>, reply: &StoredReply) -> Response<AnswerBody> {
    let (out, body) = AnswerBody::streamed();
    let mut sent = Sent::default();
    let metadata = reply.metadata().cloned().unwrap_or_else(|| json!({}));
    begin(&out, &reply.message.id, &metadata);
    sent.catch_up(&reply.message.parts.read(), &out);
    sent.end(&out);
    end(
        &out,
        &reply.status,
        reply.finish_reason.as_deref(),
        &metadata,
        &call.request_id,
    );
    let _ = out.send(done(&reply.message.id));
    event_stream(body)
}

#[derive(Debug)]
struct Follower {
    dsql: Dsql,
    settings: Settings,
    owner: OwnerId,
    chat: ChatId,
    message: MessageId,
    budget: Budget,
    request_id: String,
    /// Open as long as this.
    _stream: OpenStream,
}

impl Follower {
    async fn run(self, active: Active, out: Writer) {
        let metadata = active.message.metadata.unwrap_or_else(|| json!({}));
        begin(&out, self.message.as_str(), &metadata);
        let mut sent = Sent::default();
        sent.catch_up(&active.message.parts.read(), &out);
        let mut ticker = Ticker::new(&out, self.settings.keep_alive);
        let is_whole = if active.has_passed {
            sent.end(&out);
            ticker.during(self.interrupt(&out)).await;
            true
        } else {
            self.follow(active.checkpoint_at, &mut sent, &mut ticker, &out)
                .await
        };
        if is_whole {
            let _ = out.send(done(self.message.as_str()));
        } else {
            let _ = out.send(DONE);
            self.note(true).await;
        }
    }

    /// Follows the reply; says whether it was to its end.
    async fn follow(
        &self,
        mut seen: Option<Timestamp>,
        sent: &mut Sent,
        ticker: &mut Ticker,
        out: &Writer,
    ) -> bool {
        let mut failures = 0;
        let mut unread = pin!(out.unread());
        let mut last_words: Option<Instant> = None;
        let last = self.budget.last_event();
        let last = Instant::now() + last.duration_since(self.now()).unwrap_or_default();
        loop {
            let look = async {
                sleep(self.settings.resume_poll).await;
                self.look(seen).await
            };
            let looked = tokio::select! {
                biased;
                () = out.closed() => return false, // a follower has nothing to store
                () = &mut unread => return false, // nor anything to say to a client that does not listen
                () = sleep_until(last) => {
                    sent.end(out);
                    fail(out, Fault::ResumeAgain, &self.request_id);
                    return false;
                }
                looked = ticker.during(look) => looked,
            };
            let progress = match looked {
                Ok(Some(progress)) => progress,
                Ok(None) => {
                    sent.end(out);
                    send(out, &Chunk::Abort); // the chat, or this reply, was deleted
                    return true;
                }
                Err(error) => {
                    failures += 1;
                    tracing::warn!(
                        error.cause = error.report(),
                        "a follower could not look at its reply"
                    );
                    if failures < MAX_FAILURES {
                        continue;
                    }
                    sent.end(out);
                    fail(out, Fault::ResumeAgain, &self.request_id);
                    return false;
                }
            };
            failures = 0;
            if let Some(parts) = &progress.parts {
                seen = progress.checkpoint_at;
                if sent.catch_up(parts, out) {
                    ticker.heard();
                }
            }
            let is_awaited = progress.awaits_last_words()
                && Instant::now() < *last_words.get_or_insert_with(|| Instant::now() + LAST_WORDS);
            if progress.status != "streaming" && !is_awaited {
                sent.end(out);
                let metadata = progress.metadata.unwrap_or_else(|| json!({}));
                let reason = progress.finish_reason.as_deref();
                if progress.is_awaited {
                    // Before the page can ask again.
                    ticker.during(self.note(false)).await;
                }
                end(out, &progress.status, reason, &metadata, &self.request_id);
                return true;
            }
            if progress.has_passed {
                sent.end(out);
                ticker.during(self.interrupt(out)).await;
                return true;
            }
        }
    }

    async fn look(&self, seen: Option<Timestamp>) -> Result<Option<Progress>, Error> {
        let now = self.now();
        let db = self.dsql.until(self.budget.last_event());
        let now = microseconds(now);
        chat_store::replies::poll(&db, &self.owner, &self.chat, &self.message, seen, now).await
    }

    /// Notes whether the page still waits for the reply.
    async fn note(&self, is_awaited: bool) {
        let db = self.dsql.until(self.budget.close());
        let (owner, chat, reply) = (&self.owner, &self.chat, &self.message);
        let noted = if is_awaited {
            chat_store::replies::awaited(&db, owner, chat, reply, microseconds(self.now())).await
        } else {
            chat_store::replies::delivered(&db, owner, chat, reply).await
        };
        if let Err(error) = noted {
            tracing::warn!(
                error.cause = error.report(),
                "it could not be noted whether a page has a reply: a resume may miss or repeat it"
            );
        }
    }

    /// The writer is gone: what it left is the reply.
    async fn interrupt(&self, out: &Writer) {
        let db = self.dsql.until(self.budget.close());
        let now = microseconds(self.now());
        self.note(false).await;
        if let Err(error) = chat_store::replies::interrupt(&db, &self.owner, &self.chat, now).await
        {
            tracing::warn!(
                error.cause = error.report(),
                "an interrupted reply is left to the reaper"
            );
        }
        let metadata = json!({"status": "interrupted"});
        end(out, "interrupted", None, &metadata, &self.request_id);
    }

    fn now(&self) -> SystemTime {
        self.dsql.clock().now()
    }
}

fn begin(out: &Writer, message_id: &str, message_metadata: &Value) {
    send(
        out,
        &Chunk::Start {
            message_id,
            message_metadata,
        },
    );
    send(out, &Chunk::StartStep);
}

/// Ends a stream as the stored reply ended.
fn end(
    out: &Writer,
    status: &str,
    finish_reason: Option<&str>,
    message_metadata: &Value,
    request_id: &str,
) {
    if status == "complete" {
        send(out, &Chunk::FinishStep);
        let finish_reason = finish_reason.unwrap_or("other");
        return send(
            out,
            &Chunk::Finish {
                finish_reason,
                message_metadata,
            },
        );
    }
    send(out, &Chunk::MessageMetadata { message_metadata });
    match status {
        "stopped" => send(out, &Chunk::Abort),
        "error" => fail(out, Fault::without_answer(finish_reason), request_id),
        _ => fail(out, Fault::Interrupted, request_id),
    }
}

fn fail(out: &Writer, fault: Fault, request_id: &str) {
    let error_text = &fault.text(request_id);
    send(out, &Chunk::Error { error_text });
}
