//! Owns turns: what is posted, what the stream says of the message and its reply, and what the
//! model is told of both.

use std::time::Instant;

use serde_json::json;

use super::Visitor;
use crate::client::Answer;
use crate::model::{Outcome, Write};

/// What a turn is for, as its body says.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Turn<'t> {
    New,
    Edit(&'t str),
    Regenerate(&'t str),
}

impl Visitor<'_> {
    /// A turn, sent again half of the times when its outcome is not known.
    pub(super) async fn say(&mut self, owner: &str, chat: &str, delay_ms: u32) {
        let marker = self.marker();
        let mut text = self.text(&marker);
        if delay_ms > 0 {
            text = format!("{text} {} [[delay {delay_ms}]]", "and so on ".repeat(10));
        }
        self.turn(owner, chat, (&marker, &text), Turn::New).await;
    }

    /// Posts a turn and tells the model. The reply that was finished.
    pub(super) async fn turn(
        &mut self,
        owner: &str,
        chat: &str,
        (marker, text): (&str, &str),
        turn: Turn<'_>,
    ) -> Option<String> {
        let id = match turn {
            Turn::Edit(id) | Turn::Regenerate(id) => id,
            Turn::New => marker,
        };
        let message = json!({"id": id, "role": "user", "parts": [{"type": "text", "text": text}]});
        let mut body = json!({"id": chat, "message": message, "trigger": "submit-message"});
        match turn {
            Turn::New => {}
            Turn::Edit(id) => body["messageId"] = json!(id),
            Turn::Regenerate(_) => body["trigger"] = json!("regenerate-message"),
        }
        let alias = self.random.u8(..8) == 0;
        let repeats = self.random.bool();
        loop {
            let route = if alias {
                ("POST /api/chats/{id}", format!("/api/chats/{chat}"))
            } else {
                ("POST /api/chat", "/api/chat".to_owned())
            };
            let from = Instant::now();
            let answer = self.send(owner, route, Some(&body), None).await;
            let (outcome, reply) = self.heard(owner, chat, marker, &answer);
            let write = Write {
                value: marker.to_owned(),
                outcome,
                from,
                to: Instant::now(),
            };
            let mut facts = self.model.facts();
            let known = facts.message(chat, owner, (id, text), write);
            known.repeats += usize::from(matches!(turn, Turn::Regenerate(_)));
            known.replies.extend(reply.clone());
            drop(facts);
            let said = format!(
                "turn {marker} ({turn}) -> {outcome:?} {} {reply:?}",
                answer.terminal().unwrap_or_default(),
                turn = match turn {
                    Turn::New => "new",
                    Turn::Edit(_) => "edit",
                    Turn::Regenerate(_) => "again",
                },
            );
            self.model.note(chat, &said);
            let is_open = outcome == Outcome::Unknown && turn == Turn::New;
            if !(is_open && repeats && self.sent < 4) {
                return reply;
            }
        }
    }

    /// What a turn's answer says of its message, and the reply if that was finished.
    fn heard(
        &self,
        owner: &str,
        chat: &str,
        marker: &str,
        answer: &Answer,
    ) -> (Outcome, Option<String>) {
        if answer.status != 200 {
            let outcome = match answer.outcome_of_many() {
                // A model that refuses answers after the message is stored.
                Outcome::Refused if answer.code().starts_with("model") => Outcome::Unknown,
                other => other,
            };
            if outcome == Outcome::Unknown {
                self.unsure(owner);
            }
            return (outcome, None);
        }
        let terminal = answer.terminal();
        if terminal.as_deref() != Some("finish") {
            self.unsure(owner);
            // Nothing is streamed before the turn is stored.
            let is_begun = !answer.chunks().is_empty();
            return (
                if is_begun {
                    Outcome::Done
                } else {
                    Outcome::Unknown
                },
                None,
            );
        }
        let chunks = answer.chunks();
        let of = |kind: &str| chunks.iter().flatten().find(|chunk| chunk["type"] == kind);
        let reply = of("start").and_then(|chunk| chunk["messageId"].as_str());
        let usage = of("finish").map(|chunk| chunk["messageMetadata"]["usage"].clone());
        let usage = usage.unwrap_or_default();
        let tokens = |name: &str| usage[name].as_i64().unwrap_or_default();
        let (Some(reply), true) = (reply, tokens("outputTokens") > 0) else {
            let text = String::from_utf8_lossy(&answer.body);
            self.model.violation(
                chat,
                &format!("{marker}: a reply without id or usage: {text}"),
            );
            return (Outcome::Unknown, None);
        };
        let mut facts = self.model.facts();
        let bill = facts.bills.entry(owner.to_owned()).or_default();
        let used = (tokens("inputTokens"), tokens("outputTokens"));
        bill.finished.insert(reply.to_owned(), used);
        (Outcome::Done, Some(reply.to_owned()))
    }

    fn unsure(&self, owner: &str) {
        let mut facts = self.model.facts();
        facts.bills.entry(owner.to_owned()).or_default().unsure += 1;
    }

    /// A message of this chat that was certainly stored.
    pub(super) fn known(&mut self, chat: &str) -> Option<String> {
        let facts = self.model.facts();
        let messages = &facts.chats.get(chat)?.messages;
        let done = messages.iter().filter(|(_, message)| {
            message.write.outcome == Outcome::Done && !message.replies.is_empty()
        });
        let done: Vec<String> = done.map(|(marker, _)| marker.clone()).collect();
        drop(facts);
        self.random.choice(done)
    }

    /// An edit, or another answer, of a message of before.
    pub(super) async fn again(&mut self, owner: &str, chat: &str, is_edit: bool) {
        let Some(known) = self.known(chat) else {
            return;
        };
        let (id, text) = {
            let facts = self.model.facts();
            let message = &facts.chats[chat].messages[&known];
            (message.id.clone(), message.text.clone())
        };
        if is_edit {
            let marker = self.marker();
            let text = self.text(&marker);
            self.turn(owner, chat, (&marker, &text), Turn::Edit(&id))
                .await;
        } else {
            self.turn(owner, chat, (&known, &text), Turn::Regenerate(&id))
                .await;
        }
    }
}
