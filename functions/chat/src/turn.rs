//! A turn: opened in the database, accepted by the model, and from then on written by `produce`.

use std::sync::Arc;
use std::time::Duration;

use chat_store::{
    AtMost, ChatId, MessageId, NewTurn, Opening, Reply, StoredReply, StreamId, Switched, ToKey,
    TurnKey, Uncounted, jobs, microseconds, replies, titles,
};
use http_api::{ApiError, ClientCode, ServerCode};
use lambda_http::Response;
use lambda_http::http::StatusCode;
use model::{ErrorKind, Turn, Usage};
use serde_json::json;
use tokio::time::{Instant, sleep, timeout};

use crate::admission::{allowance, busy, crowded, rate_limited, spent, stale};
use crate::app::{Answer, Call, event_stream};
use crate::body::AnswerBody;
use crate::chunk::{Chunk, DONE};
use crate::decide::{Decision, decide, first_place};
use crate::draft::Draft;
use crate::input::{self, Post};
use crate::lock::{Beat, Lock};
use crate::parts::send;
use crate::produce::{Begin, Production, tokens};
use crate::tools::Toolbox;
use crate::writing::Asking;
use crate::{context, follow, uploads};

/// How often a turn is placed again, because the chat changed under it.
const PLACINGS: usize = 4;
/// How long a turn waits for a reply under way to end, before it is refused.
const BUSY_PATIENCE: Duration = Duration::from_secs(2);
/// How often it looks meanwhile.
const BUSY_LOOK: Duration = Duration::from_millis(400);

pub(crate) async fn post(call: &Call<'_>, post: Post) -> Answer {
    let provider = &call.app.provider;
    let key = input::key(call.request, &call.owner, &post)?;
    if let Some(key) = &key
        && let Some(answer) = answered_before(call, &post.chat, key).await?
    {
        return Ok(answer);
    }
    let reply = Reply {
        chat: post.chat.clone(),
        message: key
            .as_ref()
            .map_or_else(MessageId::new, |key| key.reply().clone()),
        stream: StreamId::new(),
    };
    let replaced = MessageId::new();
    let title = titles::first(post.message.parts.as_str());
    let title_job = call.app.settings.titles_by_model.then(jobs::new_id);
    let now = microseconds(call.now);
    let metadata = json!({"createdAt": now.as_millisecond(), "model": post.model});
    let allowance = allowance(call, &post.chat, now);
    let tools = call.app.tools.toolbox(call.now).await;
    let (used, mut files) = uploads::of_question(call, &post.message.parts).await?;
    let question = context::question(post.message.parts.as_str(), &files);
    let mut turn = NewTurn {
        chat: &reply.chat,
        message: &post.message,
        uploads: &used,
        place: first_place(&post),
        shown: &post.shown,
        replaced: &replaced,
        reply: &reply.message,
        stream: &reply.stream,
        model: &post.model,
        reply_metadata: &metadata.to_string(),
        title: &title,
        title_job: title_job.as_deref(),
        expires_at: chat_store::expiry(call.caller.anonymous, now),
        now,
        lease_until: replies::lease_until(now),
        at_most: at_most(call, &question, &tools),
        allowance: &allowance,
    };
    let (chat, history, is_titled_now) = match open(call, &post, &mut turn).await? {
        Placed::Opened(chat, history, is_titled_now) => (chat, history, is_titled_now),
        Placed::Replayed(reply) => return Ok(follow::replay(call, &reply)),
        Placed::Ended(chat) => {
            let reply = Reply { chat, ..reply };
            return ended(call, &reply, &post.chat, key.as_ref()).await;
        }
    };
    let reply = Reply { chat, ..reply };
    let has_tools = !tools.offered().is_empty();
    let limit = call.app.settings.context_tokens;
    uploads::of_history(call, &history, &mut files).await;
    let messages = context::conversation(&history, question, &files, limit, has_tools);
    drop(files);
    let mut asking = Asking {
        provider: Arc::clone(provider),
        messages: Vec::new(),
        tools,
        budgets: allowance.tokens.clone(),
    };
    if has_tools {
        asking.messages.clone_from(&messages);
    }
    let production = Production {
        dsql: call.dsql.clone(),
        settings: call.app.settings.clone(),
        metrics: Arc::clone(call.app.edge.metrics()),
        reply,
        model: post.model,
        metadata,
        title: is_titled_now.then(|| title.as_str().to_owned()),
        begun: call.now,
        budget: call.budget,
        request_id: call.request_id.clone(),
        asking,
        used_before: Usage::default(),
    };
    begin(call, production, messages).await
}

/// Asks the model, and has the reply written once it has accepted.
async fn begin(call: &Call<'_>, production: Production, messages: Vec<model::Message>) -> Answer {
    let (settings, asking, reply) = (&production.settings, &production.asking, &production.reply);
    let step = asking.step(&messages, settings, 0);
    let mut lock = Lock::new(
        call.dsql.clone(),
        reply.clone(),
        settings.checkpoint,
        step.input_tokens,
    );
    // Boxed: the providers' futures are large, and most requests never get here.
    let asked = Box::pin(call.app.provider.start(Turn {
        model: production.model.clone(),
        system: settings.system.clone(),
        messages,
        tools: Arc::clone(asking.tools.offered()),
        may_call: settings.tools.steps > 1,
        max_tokens: call.app.provider.max_tokens(),
        deadline: call.budget.last_event(),
    }));
    let now = call.app.edge.clock().now();
    let patience = call.budget.acceptance(now).duration_since(now);
    let asked = timeout(patience.unwrap_or_default(), asked);
    match held_meanwhile(&mut lock, asked).await {
        Some(Ok(Ok(source))) => {
            let begin = Begin::Accepted(Box::new(source), step);
            Ok(event_stream(production.start(lock, begin)))
        }
        Some(refused) => {
            // The visitor's message stays; the same POST again is answered then.
            lock.settle(call.budget.settling(call.app.edge.clock().now()))
                .await;
            // A model that says no has cost nothing; one that did not answer in time may yet.
            let is_no = matches!(refused, Ok(Err(_)));
            let spent = if is_no { 0 } else { step.at_most };
            abandon(call, reply, spent).await;
            Err(match refused {
                Ok(Err(error)) => refusal(error),
                _ => ApiError::server(ServerCode::ModelUnavailable, NotAccepted),
            })
        }
        None => Ok(withdrawn(call, reply, step.at_most).await),
    }
}

/// The answer to a request that was sent before with its key: the same reply, also while it is
/// still written.
async fn answered_before(
    call: &Call<'_>,
    chat: &ChatId,
    key: &TurnKey,
) -> Result<Option<Response<AnswerBody>>, ApiError> {
    let found = || chat_store::turns::reply_to_key(&call.db, &call.owner, chat, key);
    let mut to_key = found().await?;
    if let Some(ToKey::Reply(reply)) = &to_key
        && reply.status == "streaming"
    {
        let answer = follow::resume(call, chat.as_str()).await?;
        if answer.status() == StatusCode::OK {
            return Ok(Some(answer));
        }
        to_key = found().await?; // it has ended in between
    }
    match to_key {
        None => Ok(None),
        Some(ToKey::Reply(reply)) => Ok(Some(follow::replay(call, &reply))),
        Some(ToKey::OtherRequest) => Err(ApiError::client(
            ClientCode::Unprocessable,
            "this Idempotency-Key belongs to another request",
        )),
    }
}

/// What `work` comes to, while the lock is kept; `None` if it is lost before.
async fn held_meanwhile<T>(lock: &mut Lock, work: impl Future<Output = T>) -> Option<T> {
    let mut work = std::pin::pin!(work);
    let nothing = Draft::default();
    loop {
        tokio::select! {
            biased;
            done = &mut work => return Some(done),
            beat = lock.beat() => match beat {
                Beat::Due => lock.store(&nothing),
                Beat::Done => {}
                Beat::Lost(_) => return None,
            },
        }
    }
}

/// The answer to a turn whose reply was there already when it was opened. With a key it may be that
/// of the same request, sent at the same time, and is not this one's to withdraw.
async fn ended(call: &Call<'_>, reply: &Reply, chat: &ChatId, key: Option<&TurnKey>) -> Answer {
    match key {
        None => Ok(withdrawn(call, reply, 0).await), // no model was asked
        Some(key) => answered_before(call, chat, key).await?.ok_or_else(busy),
    }
}

/// The answer to a turn that was stopped before its reply began: nothing was sent, and nothing is
/// kept of it.
async fn withdrawn(call: &Call<'_>, reply: &Reply, at_most: u64) -> Response<AnswerBody> {
    abandon(call, reply, at_most).await;
    let (out, body) = AnswerBody::streamed();
    send(&out, &Chunk::Abort);
    let _ = out.send(DONE);
    event_stream(body)
}

async fn abandon(call: &Call<'_>, reply: &Reply, spent: u64) {
    let db = call.dsql.until(call.budget.close());
    if let Err(error) = replies::abandon(&db, reply, tokens(spent)).await {
        tracing::warn!(
            error.cause = error.report(),
            "a reply that never began keeps its row, and its lock until the lease passes"
        );
    }
}

/// A turn that found its place.
enum Placed {
    Opened(ChatId, Vec<chat_store::Message>, bool),
    Replayed(StoredReply),
    /// It was opened, in the chat of this key, and stopped before the answer to that came.
    Ended(ChatId),
}

/// Opens the turn where it belongs: at the first attempt for a new message, else where what is
/// stored says.
async fn open(call: &Call<'_>, post: &Post, turn: &mut NewTurn<'_>) -> Result<Placed, ApiError> {
    let conflict = |code, message: &'static str| Err(ApiError::client(code, message));
    let patient_until = Instant::now() + BUSY_PATIENCE;
    let mut placings = 0..PLACINGS;
    while placings.next().is_some() {
        turn.now = microseconds(call.app.edge.clock().now());
        turn.lease_until = replies::lease_until(turn.now);
        match chat_store::turns::open(&call.db, &call.owner, turn).await? {
            Opening::Opened {
                chat,
                history,
                is_titled_now,
            } => return Ok(Placed::Opened(chat, history, is_titled_now)),
            Opening::Stored(stored) => match decide(post, &stored) {
                Decision::Open(place) => turn.place = place,
                Decision::Replay => match stored.next {
                    Some(reply) => return Ok(Placed::Replayed(reply)),
                    None => break,
                },
                Decision::Switch(message) => {
                    let now = turn.now;
                    match chat_store::branches::switch(
                        &call.db,
                        &call.owner,
                        turn.chat,
                        &message,
                        now,
                    )
                    .await?
                    {
                        Switched::Done => turn.place = first_place(post),
                        Switched::Busy => return Err(busy()),
                        Switched::Missing => break,
                    }
                }
                Decision::Stale => break,
                Decision::IdTaken => {
                    return conflict(
                        ClientCode::IdTaken,
                        "a message with this id and other content exists",
                    );
                }
                Decision::NotTheirs => {
                    return conflict(
                        ClientCode::Unprocessable,
                        "only a visitor's message can be sent, or an answer to what a reply asks",
                    );
                }
            },
            Opening::Changed => turn.place = first_place(post),
            Opening::Foreign => return Err(ApiError::not_found()),
            Opening::Ended(chat) => return Ok(Placed::Ended(chat)),
            Opening::Busy if Instant::now() < patient_until => {
                sleep(BUSY_LOOK).await;
                placings = 0..PLACINGS;
            }
            Opening::Busy => return Err(busy()),
            Opening::Full => {
                return conflict(
                    ClientCode::Unprocessable,
                    "a chat has at most 500 messages, and 1000 with all its branches",
                );
            }
            Opening::TooManyUploads => {
                return conflict(ClientCode::Unprocessable, "a chat has at most 100 uploads");
            }
            Opening::Crowded => {
                return Err(crowded());
            }
            Opening::RateLimited => {
                return Err(rate_limited(turn.allowance, turn.now));
            }
            Opening::Spent(budget) => {
                return Err(spent(budget, turn.allowance, turn.now));
            }
        }
    }
    Err(stale())
}

/// What a turn's first step may cost, by the question and by what is configured.
fn at_most(call: &Call<'_>, question: &model::Message, tools: &Toolbox) -> AtMost {
    let settings = &call.app.settings;
    let tools = context::bytes_of_tools(tools.offered());
    let asked = std::slice::from_ref(question);
    let history = context::left_beside(question, settings.context_tokens);
    let count = |tokens: usize| i64::try_from(tokens).unwrap_or(i64::MAX);
    AtMost {
        question: Uncounted {
            likely: tokens(context::estimate(asked) + settings.system_tokens())
                + tokens(context::estimate_bytes(tools)),
            most: tokens(context::most(asked) + settings.most_system_tokens()) + count(tools),
        },
        history: Uncounted {
            likely: count(history),
            most: count(context::most_of_history(history)),
        },
        reply: call.app.provider.max_tokens().into(),
    }
}

/// The model has taken too long to accept.
#[derive(Debug, thiserror::Error)]
#[error("the model did not accept the turn in time")]
struct NotAccepted;

/// A model that did not accept the turn, as a status.
fn refusal(error: model::Error) -> ApiError {
    match error.kind() {
        ErrorKind::Throttled { retry_after } => ApiError::client(
            ClientCode::ModelBusy,
            "the model is asked too much: try again shortly",
        )
        .retry_after(retry_after.unwrap_or(Duration::from_secs(5)))
        .because(error),
        ErrorKind::Refused => ApiError::server(ServerCode::ModelRefused, error),
        ErrorKind::Config => ApiError::server(ServerCode::Internal, error),
        _ => ApiError::server(ServerCode::ModelUnavailable, error),
    }
}
