//! Going on with a reply that asked its visitor whether tools may be called: the answers are
//! checked against the questions, approved calls are executed, and the model is called again. The
//! message stays the same.

use std::sync::Arc;

use chat_store::{Continuation, Likely, Reopened, Reply, StreamId, microseconds, replies};
use http_api::{ApiError, ClientCode};
use serde_json::{Value, json};

use crate::admission::{allowance, busy, crowded, rate_limited, spent, stale};
use crate::app::{Answer, Call, event_stream};
use crate::attachments::Files;
use crate::context;
use crate::draft::Draft;
use crate::input::{Answered, Answers};
use crate::lock::Lock;
use crate::parts::{merge, tool_call};
use crate::produce::{Begin, Production, tokens};
use crate::uploads;
use crate::writing::Asking;

pub(crate) async fn go_on(call: &Call<'_>, answers: Answers) -> Answer {
    let now = microseconds(call.now);
    let (chat, message) = (&answers.chat, &answers.message);
    let found = replies::asking(&call.db, &call.owner, chat, message, now).await?;
    let (key, (stored, before, mut history)) = match found.ok_or_else(ApiError::not_found)? {
        chat_store::Asking::Ended {
            chat,
            reply,
            parts,
            history,
        } => (chat, (reply, parts, history)),
        chat_store::Asking::Busy => return Err(busy()),
        chat_store::Asking::Other => return Err(stale()),
    };
    let parts = answered(stored.parts.read(), &answers.answered)?;
    let mut files = Files::new();
    uploads::of_history(call, &history, &mut files).await;
    let question = history.pop().filter(|message| message.role == "user");
    let question = context::asked(&question.ok_or_else(stale)?, &files);
    let settings = &call.app.settings;
    let tools = call.app.tools.toolbox(call.now).await;
    let has_tools = !tools.offered().is_empty();
    let limit = settings.context_tokens;
    let allowance = allowance(call, chat, now);
    let asking = Asking {
        provider: Arc::clone(&call.app.provider),
        messages: context::conversation(&history, question, &files, limit, has_tools),
        tools,
        budgets: allowance.tokens.clone(),
    };
    let cost = cost(call, &asking, &parts, answers.answered.len());
    let reply = Reply {
        chat: key,
        message: answers.message,
        stream: StreamId::new(),
    };
    let noted = stored.metadata.unwrap_or_default();
    let mut metadata = json!({"model": answers.model});
    if let Some(created_at) = noted.get("createdAt") {
        merge(&mut metadata, &json!({"createdAt": created_at}));
    }
    let now = microseconds(call.app.edge.clock().now());
    let continuation = Continuation {
        reply: &reply,
        before: &before,
        parts: &parts.to_string(),
        metadata: &metadata,
        model: &answers.model,
        cost,
        now,
        lease_until: replies::lease_until(now),
        allowance: &allowance,
    };
    match replies::reopen(&call.db, &call.owner, &continuation).await? {
        Reopened::Done => {}
        Reopened::Busy => return Err(busy()),
        Reopened::Changed => return Err(stale()),
        Reopened::Crowded => return Err(crowded()),
        Reopened::RateLimited => return Err(rate_limited(&allowance, now)),
        Reopened::Spent(budget) => return Err(spent(budget, &allowance, now)),
    }
    // What is read is counted when it is.
    let lock = Lock::new(call.dsql.clone(), reply.clone(), settings.checkpoint, 0);
    let production = Production {
        dsql: call.dsql.clone(),
        settings: settings.clone(),
        metrics: Arc::clone(call.app.edge.metrics()),
        reply,
        model: answers.model,
        metadata,
        title: None,
        begun: call.now,
        budget: call.budget,
        request_id: call.request_id.clone(),
        asking,
        used_before: used(&noted),
    };
    let begin = Begin::Answered(Draft::stored(&parts));
    Ok(event_stream(production.start(lock, begin)))
}

/// The parts with the answers: each to a call that was asked about, as it was asked, and not
/// answered yet.
fn answered(mut parts: Value, answers: &[Answered]) -> Result<Value, ApiError> {
    for answer in answers {
        let is_asked = |part: &&mut Value| {
            let is =
                |pointer: &str, value: &str| part.pointer(pointer).is_some_and(|of| of == value);
            tool_call(part).is_some_and(|call| call.id == answer.call)
                && is("/state", "approval-requested")
                && is("/approval/id", &answer.approval)
        };
        let asked = parts.as_array_mut().into_iter().flatten().find(is_asked);
        let part = asked.ok_or_else(stale)?;
        if part.get("input") != Some(&answer.input) {
            return Err(ApiError::client(
                ClientCode::Unprocessable,
                "a call can be allowed or refused, not changed",
            ));
        }
        let mut approval = json!({"id": answer.approval, "approved": answer.is_approved});
        if let Some(reason) = &answer.reason {
            merge(&mut approval, &json!({"reason": reason}));
        }
        merge(
            part,
            &json!({"state": "approval-responded", "approval": approval}),
        );
    }
    Ok(parts)
}

/// What asking the model again may cost: of what the calls will give, all that they may.
fn cost(call: &Call<'_>, asking: &Asking, parts: &Value, calls: usize) -> Likely {
    let settings = &call.app.settings;
    let mut messages = asking.messages.clone();
    messages.extend(context::reply(parts, true, true));
    let step = asking.step(&messages, settings, 0);
    let results = calls.saturating_mul(settings.tools.result_bytes);
    let reply = u64::from(call.app.provider.max_tokens());
    Likely {
        likely: tokens(step.input_tokens + context::estimate_bytes(results) + reply),
        most: tokens(step.at_most + u64::try_from(results).unwrap_or(u64::MAX)),
    }
}

/// What the reply has used so far.
fn used(noted: &Value) -> model::Usage {
    let count = |name: &str| {
        noted
            .pointer(name)
            .and_then(Value::as_u64)
            .unwrap_or_default()
    };
    model::Usage {
        input_tokens: count("/usage/inputTokens"),
        output_tokens: count("/usage/outputTokens"),
        total_tokens: count("/usage/totalTokens"),
        cached_input_tokens: count("/usage/cachedInputTokens"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(is_approved: bool, reason: Option<&str>) -> Answered {
        Answered {
            call: "c".to_owned(),
            approval: "a".to_owned(),
            input: json!({"what": "it"}),
            is_approved,
            reason: reason.map(str::to_owned),
        }
    }

    #[test]
    fn only_what_was_asked_can_be_answered_and_only_once() {
        let asked = json!([
            {"type": "step-start"},
            {"type": "tool-x", "toolCallId": "c", "state": "approval-requested", "input": {"what": "it"}, "approval": {"id": "a"}},
        ]);
        let given = answered(asked.clone(), &[answer(false, Some("no"))]).unwrap();
        assert_eq!(given[1]["state"], "approval-responded");
        let approval = json!({"id": "a", "approved": false, "reason": "no"});
        assert_eq!(given[1]["approval"], approval);
        let refused = |parts: &Value, answer: Answered| {
            let status =
                answered(parts.clone(), &[answer]).map_err(|error| error.status().as_u16());
            status.unwrap_err()
        };
        let yes = || answer(true, None);
        assert_eq!(refused(&given, yes()), 409, "it is answered");
        let other = |call: &str, approval: &str, input: Value| Answered {
            call: call.to_owned(),
            approval: approval.to_owned(),
            input,
            ..yes()
        };
        let input = || yes().input;
        assert_eq!(refused(&asked, other("d", "a", input())), 409);
        assert_eq!(refused(&asked, other("c", "b", input())), 409);
        assert_eq!(
            refused(&asked, other("c", "a", json!({"what": "all"}))),
            422
        );
        assert_eq!(
            answered(asked.clone(), &[yes(), yes()]).map_err(|e| e.status().as_u16()),
            Err(409)
        );
    }
}
