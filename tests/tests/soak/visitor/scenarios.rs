//! Owns what takes several requests: shares, forks, branches, imports, exports, claims, erasures.

use std::time::Instant;

use bytes::Bytes;
use serde_json::{Value, json};

use super::Visitor;
use super::turns::Turn;
use crate::model::{Outcome, Write};

impl Visitor<'_> {
    fn key(&self) -> String {
        format!("k{}x{}", self.client, self.step)
    }

    pub(super) async fn fork(&mut self, owner: &str, chat: &str) {
        let Some(known) = self.known(chat) else {
            return;
        };
        let (key, body) = (self.key(), json!({"messageId": known}));
        let route = (
            "POST /api/chats/{id}/fork",
            format!("/api/chats/{chat}/fork"),
        );
        let body = Bytes::from(body.to_string());
        let (_, first) = self.insist(owner, route.clone(), &body, &key).await;
        if first.status == 201 {
            let (_, again) = self.insist(owner, route, &body, &key).await;
            if again.status == 201 && again.json()["id"] != first.json()["id"] {
                self.model
                    .violation(chat, "a fork with one key was made twice");
            }
        }
    }

    pub(super) async fn share(&mut self, owner: &str, chat: &str) {
        let key = format!("share-{}-0123456789abcdef0123456789", self.key());
        let route = (
            "POST /api/chats/{id}/share",
            format!("/api/chats/{chat}/share"),
        );
        let (_, answer) = self.insist(owner, route, &Bytes::new(), &key).await;
        if let (201, Some(token)) = (answer.status, answer.json()["token"].as_str()) {
            let route = ("GET /api/shared/{token}", format!("/api/shared/{token}"));
            self.send(owner, route, None, None).await;
        }
        if self.random.u8(..3) == 0 {
            let route = (
                "DELETE /api/chats/{id}/share",
                format!("/api/chats/{chat}/share"),
            );
            self.send(owner, route, None, None).await;
        }
    }

    pub(super) async fn import(&mut self, owner: &str) {
        let (key, marker) = (self.key(), self.marker());
        let text = self.text(&marker);
        let message =
            json!([{"id": "i1", "role": "user", "parts": [{"type": "text", "text": text}]}]);
        let route = ("POST /api/import", "/api/import".to_owned());
        let body = Bytes::from(message.to_string());
        let (outcome, answer) = self.insist(owner, route, &body, &key).await;
        let outcome = if answer.status == 201 {
            Outcome::Done
        } else {
            outcome
        };
        self.model.note(
            &marker,
            &format!("import {key} -> {outcome:?} {}", answer.status),
        );
        self.model.facts().imports.push((marker, outcome));
    }

    pub(super) async fn export(&mut self, owner: &str) {
        let route = ("GET /api/me/export", "/api/me/export".to_owned());
        let answer = self.send(owner, route, None, None).await;
        let text = String::from_utf8_lossy(&answer.body);
        let lines: Vec<Value> = text
            .lines()
            .filter_map(|line| serde_json::from_str(line).ok())
            .collect();
        let Some(last) = lines.last().filter(|line| line["type"] == "end") else {
            return;
        };
        let count = |kind: &str| lines.iter().filter(|line| line["type"] == kind).count();
        let (chats, messages) = (count("chat"), count("message"));
        if last["chats"] != chats || last["messages"] != messages {
            let what =
                format!("an export of {chats} chats and {messages} messages ends with {last}");
            self.model.violation(owner, &what);
        }
    }

    /// A guest talks, and becomes a member.
    pub(super) async fn claim(&mut self, owner: &str) {
        let (guest, marker) = (format!("g{}", self.key()), self.marker());
        let chat = format!("{guest}-0");
        let text = self.text(&marker);
        if self
            .turn(&guest, &chat, (&marker, &text), Turn::New)
            .await
            .is_none()
        {
            return;
        }
        let key = self.key();
        let mut outcome = Outcome::Refused;
        for _ in 0..3 {
            let body = json!({"guestToken": self.world.token(&guest)});
            let route = ("POST /api/me/claim", "/api/me/claim".to_owned());
            let answer = self.send(owner, route, Some(&body), Some(&key)).await;
            outcome = outcome.max(answer.outcome_of_many());
            if answer.status == 200 {
                break;
            }
        }
        self.model
            .note(&chat, &format!("claim by {owner} -> {outcome:?}"));
        self.model
            .facts()
            .claims
            .push((chat, owner.to_owned(), outcome));
    }

    /// Somebody comes, talks, and has everything deleted.
    pub(super) async fn erase(&mut self) {
        let owner = format!("e{}", self.key());
        let chat = format!("{owner}-0");
        let marker = self.marker();
        let text = self.text(&marker);
        self.turn(&owner, &chat, (&marker, &text), Turn::New).await;
        let is_account = self.random.bool();
        let route = if is_account {
            ("DELETE /api/me", "/api/me".to_owned())
        } else {
            ("DELETE /api/chats", "/api/chats".to_owned())
        };
        let from = Instant::now();
        let (outcome, answer) = self.insist(&owner, route, &Bytes::new(), &self.key()).await;
        let write = Write {
            value: String::new(),
            outcome: if answer.status == 202 {
                Outcome::Done
            } else {
                outcome
            },
            from,
            to: Instant::now(),
        };
        {
            let mut facts = self.model.facts();
            facts.chat(&chat, &owner).deletions.push(write.clone());
            if is_account {
                facts
                    .bills
                    .entry(owner.clone())
                    .or_default()
                    .erasures
                    .push(write);
            }
        }
        if let Some(job) = answer.json()["jobId"].as_str() {
            let route = (
                "GET /api/me/erasure/{jobId}",
                format!("/api/me/erasure/{job}"),
            );
            self.send(&owner, route, None, None).await;
        }
    }

    /// A chat of one's own with two answers: back to the first, and the second is deleted.
    pub(super) async fn branch(&mut self) {
        let (owner, marker) = (self.owner(), self.marker());
        let chat = format!("p{}", self.key());
        let text = self.text(&marker);
        let Some(first) = self.turn(&owner, &chat, (&marker, &text), Turn::New).await else {
            return;
        };
        let Some(second) = self
            .turn(&owner, &chat, (&marker, &text), Turn::Regenerate(&marker))
            .await
        else {
            return;
        };
        let route = (
            "POST /api/chats/{id}/branches",
            format!("/api/chats/{chat}/branches"),
        );
        let body = json!({"messageId": first});
        if self.send(&owner, route, Some(&body), None).await.status != 200 {
            return;
        }
        let route = (
            "DELETE /api/chats/{id}/branches/{messageId}",
            format!("/api/chats/{chat}/branches/{second}"),
        );
        // Deleted or not: the model no longer expects it.
        if let Some(chat) = self.model.facts().chats.get_mut(&chat)
            && let Some(message) = chat.messages.get_mut(&marker)
        {
            message.replies.remove(&second);
        }
        self.send(&owner, route, None, None).await;
        let route = (
            "DELETE /api/chats/{id}/messages",
            format!("/api/chats/{chat}/messages"),
        );
        let body = json!({"messageId": marker, "type": "regenerate"});
        self.send(&owner, route, Some(&body), None).await;
    }
}
