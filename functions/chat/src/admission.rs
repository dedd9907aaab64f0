//! What a caller may do, and the refusals of what they may not.

use std::time::Duration;

use chat_store::{Allowance, Budget, Budgets, ChatId, Spender, TokenLimits, Visitor};
use http_api::{ApiError, ClientCode};
use jiff::Timestamp;

use crate::app::Call;

pub(crate) fn busy() -> ApiError {
    ApiError::client(
        ClientCode::GenerationInProgress,
        "a reply is being written in this chat",
    )
}

/// What is shown is not what there is.
pub(crate) fn stale() -> ApiError {
    ApiError::client(
        ClientCode::Stale,
        "the chat has gone on elsewhere: load it again",
    )
}

pub(crate) fn crowded() -> ApiError {
    ApiError::client(
        ClientCode::RateLimited,
        "too many replies are being written for you: wait for one to end",
    )
    .retry_after(Duration::from_secs(5))
}

pub(crate) fn rate_limited(allowance: &Allowance, now: Timestamp) -> ApiError {
    ApiError::client(ClientCode::RateLimited, "too many messages: wait a little")
        .retry_after(allowance.window.wait(now))
}

pub(crate) fn spent(budget: Budget, allowance: &Allowance, now: Timestamp) -> ApiError {
    let message = match budget {
        Budget::Owner => "this would take more tokens than are left of your day",
        Budget::Address => "this would take more tokens than are left of your address's day",
        Budget::Deployment => "this would take more tokens than are left of this service's day",
    };
    ApiError::budget_spent(
        budget.as_str(),
        format!("{message}: they are renewed at midnight UTC"),
    )
    .retry_after(allowance.tokens.day.wait(now))
}

/// What the caller may do.
pub(crate) fn allowance(call: &Call<'_>, chat: &ChatId, now: Timestamp) -> Allowance {
    let address = http_api::address_pseudonym(&call.app.pseudonyms, call.request, call.now);
    let address = address.as_deref();
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
