//! A turn: opened in the database, accepted by the model, and from then on written by `produce`.

use std::sync::Arc;
use std::time::Duration;

use chat_store::{
    Allowance, AtMost, Budget, Budgets, ChatId, MessageId, NewTurn, Opening, Reply, Spender,
    StoredReply, StreamId, Switched, ToKey, TokenLimits, TurnKey, Uncounted, Visitor, first_title,
    lease_until, microseconds, new_job_id,
};
use http_api::{ApiError, ClientCode, ServerCode};
use jiff::Timestamp;
use lambda_http::Response;
use lambda_http::http::StatusCode;
use model::{ErrorKind, Turn};
use serde_json::json;
use tokio::time::{Instant, sleep, timeout};

use crate::body::AnswerBody;
use crate::chunk::{Chunk, DONE};
use crate::decide::{Decision, decide, first_place};
use crate::draft::Draft;
use crate::input::{self, Post};
use crate::lock::{Beat, Lock};
use crate::parts::send;
use crate::produce::{Production, tokens};
use crate::{Answer, Call, context, event_stream, follow};

/// How often a turn is placed anew, because the chat changed under it.
const PLACINGS: usize = 4;
/// How long a turn waits for a reply under way to end, before it is refused.
const BUSY_PATIENCE: Duration = Duration::from_secs(2);
/// How often it looks meanwhile.
const BUSY_LOOK: Duration = Duration::from_millis(400);

pub(crate) async fn post(call: &Call<'_>, path: Option<&str>) -> Answer {
    let provider = &call.app.provider;
    let post = input::post(call.request, path, provider.models())?;
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
    let title = first_title(post.message.parts.as_str());
    let title_job = call.app.settings.titles_by_model.then(new_job_id);
    let now = microseconds(call.now);
    let metadata = json!({"createdAt": now.as_millisecond(), "model": post.model});
    let address = http_api::address_pseudonym(&call.app.pseudonyms, call.request, call.now);
    let allowance = allowance(call, &post.chat, address.as_deref(), now);
    let question = context::question(post.message.parts.as_str());
    let mut turn = NewTurn {
        chat: &reply.chat,
        message: &post.message,
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
        lease_until: lease_until(now),
        at_most: at_most(call, &question),
        allowance: &allowance,
    };
    let (history, is_titled_now) = match open(call, &post, &mut turn).await? {
        Placed::Opened(history, is_titled_now) => (history, is_titled_now),
        Placed::Replayed(reply) => return Ok(follow::replay(call, &reply)),
        Placed::Ended => return ended(call, &reply, key.as_ref()).await,
    };
    let messages = context::conversation(&history, question, call.app.settings.context_tokens);
    let input_tokens = context::estimate(&messages) + call.app.settings.system_tokens();
    let at_most = most(call, &messages);
    let mut lock = Lock::new(
        call.dsql.clone(),
        reply.clone(),
        call.app.settings.checkpoint,
        input_tokens,
    );
    // Boxed: the providers' futures are large, and most requests never get here.
    let asked = Box::pin(provider.start(Turn {
        model: post.model.clone(),
        system: call.app.settings.system.clone(),
        messages,
        max_tokens: provider.max_tokens(),
        deadline: call.budget.last_event(),
    }));
    let now = call.app.edge.clock().now();
    let patience = call.budget.acceptance(now).duration_since(now);
    let asked = timeout(patience.unwrap_or_default(), asked);
    match held_meanwhile(&mut lock, asked).await {
        Some(Ok(Ok(source))) => {
            let production = Production {
                dsql: call.dsql.clone(),
                settings: call.app.settings.clone(),
                metrics: Arc::clone(call.app.edge.metrics()),
                reply,
                model: post.model,
                metadata,
                title: is_titled_now.then(|| title.as_str().to_owned()),
                input_tokens,
                at_most,
                begun: call.now,
                budget: call.budget,
                request_id: call.request_id.clone(),
            };
            Ok(event_stream(production.start(lock, source)))
        }
        Some(refused) => {
            // The visitor's message stays; the same POST again is answered then.
            lock.settle(call.budget.settling(call.app.edge.clock().now()))
                .await;
            // A model that says no has cost nothing; one that did not answer in time may yet.
            let is_no = matches!(refused, Ok(Err(_)));
            let spent = if is_no { 0 } else { at_most };
            abandon(call, &reply, spent).await;
            Err(match refused {
                Ok(Err(error)) => refusal(error),
                _ => ApiError::server(ServerCode::ModelUnavailable, NotAccepted),
            })
        }
        None => Ok(withdrawn(call, &reply, at_most).await),
    }
}

/// The answer to a request that was sent before with its key: the same reply, also while it is still written.
async fn answered_before(
    call: &Call<'_>,
    chat: &ChatId,
    key: &TurnKey,
) -> Result<Option<Response<AnswerBody>>, ApiError> {
    let found = || chat_store::reply_to_key(&call.db, &call.owner, chat, key);
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

/// The answer to a turn whose reply was there already when it was opened. With a key it may be that of the same request, sent
/// at the same time, and is not this one's to withdraw.
async fn ended(call: &Call<'_>, reply: &Reply, key: Option<&TurnKey>) -> Answer {
    match key {
        None => Ok(withdrawn(call, reply, 0).await), // no model was asked
        Some(key) => answered_before(call, &reply.chat, key)
            .await?
            .ok_or_else(busy),
    }
}

/// The answer to a turn that was stopped before its reply began: nothing was sent, and nothing is kept of it.
async fn withdrawn(call: &Call<'_>, reply: &Reply, at_most: u64) -> Response<AnswerBody> {
    abandon(call, reply, at_most).await;
    let (out, body) = AnswerBody::streamed();
    send(&out, &Chunk::Abort);
    let _ = out.send(DONE);
    event_stream(body)
}

async fn abandon(call: &Call<'_>, reply: &Reply, spent: u64) {
    let db = call.dsql.until(call.budget.close());
    if let Err(error) = chat_store::abandon(&db, reply, tokens(spent)).await {
        tracing::warn!(
            error.cause = error.report(),
            "a reply that never began keeps its row, and its lock until the lease passes"
        );
    }
}

/// A turn that found its place.
enum Placed {
    Opened(Vec<chat_store::Message>, bool),
    Replayed(StoredReply),
    /// It was opened, and stopped before the answer to that came.
    Ended,
}

/// Opens the turn where it belongs: at the first attempt for a new message, else where what is stored says.
async fn open(call: &Call<'_>, post: &Post, turn: &mut NewTurn<'_>) -> Result<Placed, ApiError> {
    let conflict = |code, message: &'static str| Err(ApiError::client(code, message));
    let patient_until = Instant::now() + BUSY_PATIENCE;
    let mut placings = 0..PLACINGS;
    while placings.next().is_some() {
        turn.now = microseconds(call.app.edge.clock().now());
        turn.lease_until = lease_until(turn.now);
        match chat_store::open(&call.db, &call.owner, turn).await? {
            Opening::Opened {
                history,
                is_titled_now,
            } => return Ok(Placed::Opened(history, is_titled_now)),
            Opening::Stored(stored) => match decide(post, &stored) {
                Decision::Open(place) => turn.place = place,
                Decision::Replay => match stored.next {
                    Some(reply) => return Ok(Placed::Replayed(reply)),
                    None => break,
                },
                Decision::Switch(message) => {
                    let now = turn.now;
                    match chat_store::switch(&call.db, &call.owner, turn.chat, &message, now)
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
                        "only a visitor's message can be sent: tools are not supported",
                    );
                }
            },
            Opening::Changed => turn.place = first_place(post),
            Opening::Foreign => return Err(ApiError::not_found()),
            Opening::Ended => return Ok(Placed::Ended),
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
            Opening::Crowded => {
                return Err(ApiError::client(
                    ClientCode::RateLimited,
                    "too many replies are being written for you: wait for one to end",
                )
                .retry_after(Duration::from_secs(5)));
            }
            Opening::RateLimited => {
                return Err(ApiError::client(
                    ClientCode::RateLimited,
                    "too many messages: wait a little",
                )
                .retry_after(turn.allowance.window.wait(turn.now)));
            }
            Opening::Spent(budget) => {
                return Err(spent(budget).retry_after(turn.allowance.tokens.day.wait(turn.now)));
            }
        }
    }
    conflict(
        ClientCode::Stale,
        "the chat has gone on elsewhere: load it again",
    )
}

fn busy() -> ApiError {
    ApiError::client(
        ClientCode::GenerationInProgress,
        "a reply is being written in this chat",
    )
}

/// What a reply to `messages` costs at most, by any tokenizer.
fn most(call: &Call<'_>, messages: &[model::Message]) -> u64 {
    context::most(messages)
        + call.app.settings.most_system_tokens()
        + u64::from(call.app.provider.max_tokens())
}

/// What a turn may cost, by the question and by what is configured.
fn at_most(call: &Call<'_>, question: &model::Message) -> AtMost {
    let settings = &call.app.settings;
    let asked = std::slice::from_ref(question);
    let history = context::left_beside(question, settings.context_tokens);
    let count = |tokens: usize| i64::try_from(tokens).unwrap_or(i64::MAX);
    AtMost {
        question: Uncounted {
            likely: tokens(context::estimate(asked) + settings.system_tokens()),
            most: tokens(context::most(asked) + settings.most_system_tokens()),
        },
        history: Uncounted {
            likely: count(history),
            most: count(context::most_of_history(history)),
        },
        reply: call.app.provider.max_tokens().into(),
    }
}

fn spent(budget: Budget) -> ApiError {
    let message = match budget {
        Budget::Owner => "this would take more tokens than are left of your day",
        Budget::Address => "this would take more tokens than are left of your address's day",
        Budget::Deployment => "this would take more tokens than are left of this service's day",
    };
    ApiError::budget_spent(
        budget.as_str(),
        format!("{message}: they are renewed at midnight UTC"),
    )
}

fn allowance(call: &Call<'_>, chat: &ChatId, address: Option<&str>, now: Timestamp) -> Allowance {
    let settings = &call.app.settings;
    let is_guest = call.caller.anonymous;
    let pseudonym = call.app.pseudonyms.of_owner(call.owner.as_str(), call.now);
    let spender = Spender {
        owner: &pseudonym,
        address,
        chat,
    };
    let limits = TokenLimits {
        owner: if is_guest {
            settings.tokens_of_guest
        } else {
            settings.tokens.owner
        },
        ..settings.tokens
    };
    Allowance {
        buckets: settings.turns.buckets(Visitor {
            owner: &call.owner,
            is_guest,
            address,
        }),
        window: settings.turns.window_at(now),
        tokens: Budgets::new(spender, limits, now),
        concurrent: settings.concurrent,
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
