//! Owns what visitors do: every route of `chat` and `chats`, drawn from a plan that follows from
//! seed and client alone. Two clients share an owner, so that their requests cross on the same
//! chats.

mod scenarios;
mod turns;

use std::time::Instant;

use bytes::Bytes;
use fastrand::Rng;
use serde_json::{Value, json};

use self::turns::Turn;
use crate::client::{Answer, Call};
use crate::model::{Model, Outcome, Write};
use crate::world::World;

/// After this many operations the clients of an owner go on to other chats.
const EPOCH: u64 = 60;
const SLOTS: u64 = 4;
/// How often a request with a key is sent before its outcome is left open.
const ATTEMPTS: usize = 5;
const WORDS: &[&str] = &["alpha", "beta", "gamma", "delta", "epsilon", "zeta"];

/// A client of one owner.
pub(crate) struct Visitor<'a> {
    pub(crate) world: &'a World,
    pub(crate) model: &'a Model,
    pub(crate) client: u64,
    pub(crate) random: Rng,
    /// Operations begun.
    pub(crate) step: u64,
    /// Requests sent in this operation.
    pub(crate) sent: u32,
}

impl Visitor<'_> {
    fn owner(&self) -> String {
        format!("m{}", self.client / 2)
    }

    fn chat(&mut self) -> String {
        let slot = self.random.u64(..SLOTS);
        format!("{}-{}-{slot}", self.owner(), self.step / EPOCH)
    }

    /// The next operation of the plan.
    pub(crate) async fn act(&mut self) {
        self.step += 1;
        self.sent = 0;
        let (owner, chat) = (self.owner(), self.chat());
        match self.random.u32(..1000) {
            0..260 => self.say(&owner, &chat, 0).await,
            260..300 => self.say(&owner, &chat, 40).await,
            300..390 => self.append(&owner, &chat).await,
            390..430 => self.create(&owner, &chat).await,
            430..490 => self.rename(&owner, &chat).await,
            490..520 => self.again(&owner, &chat, true).await,
            520..550 => self.again(&owner, &chat, false).await,
            550..590 => self.stop(&owner, &chat).await,
            590..630 => self.resume(&owner, &chat).await,
            630..638 => self.delete(&owner, &chat).await,
            638..700 => self.vote(&owner, &chat).await,
            700..720 => self.fork(&owner, &chat).await,
            720..745 => self.share(&owner, &chat).await,
            745..760 => self.import(&owner).await,
            760..775 => self.export(&owner).await,
            775..790 => self.claim(&owner).await,
            790..800 => self.erase().await,
            800..810 => self.branch().await,
            810..880 => self.read(&owner, &chat).await,
            _ => self.look(&owner, &chat).await,
        }
    }

    fn marker(&self) -> String {
        format!("u{}x{}", self.client, self.step)
    }

    fn text(&mut self, marker: &str) -> String {
        let mut text = marker.to_owned();
        for _ in 0..self.random.usize(1..8) {
            text.push(' ');
            text.push_str(self.random.choice(WORDS).unwrap_or(&"omega"));
        }
        text
    }

    async fn send(
        &mut self,
        owner: &str,
        (route, target): (&'static str, String),
        body: Option<&Value>,
        key: Option<&str>,
    ) -> Answer {
        let body = body.map_or_else(Bytes::new, |body| Bytes::from(body.to_string()));
        self.send_bytes(owner, (route, target), body, key).await
    }

    async fn send_bytes(
        &mut self,
        owner: &str,
        (route, target): (&'static str, String),
        body: Bytes,
        key: Option<&str>,
    ) -> Answer {
        self.sent += 1;
        let name = format!("v{}-{}-{}", self.client, self.step, self.sent);
        let bearer = format!("Bearer {}", self.world.token(owner));
        let mut headers = vec![("authorization", bearer)];
        if !body.is_empty() {
            headers.push(("content-type", "application/json".to_owned()));
        }
        headers.extend(key.map(|key| ("idempotency-key", key.to_owned())));
        let method = route.split(' ').next().unwrap_or("GET");
        let call = Call {
            name: &name,
            route,
            method,
            target: target.clone(),
            headers,
            body,
        };
        let answer = call.send(self.world, self.model).await;
        let object = target
            .split('/')
            .find(|part| part.starts_with(owner) || part.starts_with('p'))
            .unwrap_or(owner);
        let said = format!(
            "{name} {method} {target} -> {} {}",
            answer.status,
            answer.code()
        );
        self.model
            .note(object.split('?').next().unwrap_or(object), &said);
        answer
    }

    /// Sends until the answer is known, as a client with a key does.
    async fn insist(
        &mut self,
        owner: &str,
        route: (&'static str, String),
        body: &Bytes,
        key: &str,
    ) -> (Outcome, Answer) {
        let mut worst = Outcome::Refused;
        let mut attempt = 0;
        loop {
            attempt += 1;
            let answer = self
                .send_bytes(owner, route.clone(), body.clone(), Some(key))
                .await;
            worst = worst.max(answer.outcome_of_many());
            let is_known = answer.status < 500 && answer.is_whole && answer.status != 0;
            if is_known || attempt == ATTEMPTS {
                return (worst, answer);
            }
        }
    }

    async fn append(&mut self, owner: &str, chat: &str) {
        let marker = self.marker();
        let text = self.text(&marker);
        let body = json!({"id": marker, "role": "user", "parts": [{"type": "text", "text": text}]});
        let route = (
            "POST /api/chats/{id}/messages",
            format!("/api/chats/{chat}/messages"),
        );
        let from = Instant::now();
        let answer = self.send(owner, route, Some(&body), None).await;
        self.wrote(owner, chat, &text, from, answer.outcome());
    }

    fn wrote(&self, owner: &str, chat: &str, text: &str, from: Instant, outcome: Outcome) {
        let marker = text.split(' ').next().unwrap_or_default();
        let write = Write {
            value: marker.to_owned(),
            outcome,
            from,
            to: Instant::now(),
        };
        self.model
            .facts()
            .message(chat, owner, (marker, text), write);
    }

    async fn create(&mut self, owner: &str, chat: &str) {
        let marker = self.marker();
        let text = self.text(&marker);
        let message =
            json!({"id": marker, "role": "user", "parts": [{"type": "text", "text": text}]});
        let body = json!({"id": chat, "title": "new", "message": message});
        let from = Instant::now();
        let route = ("POST /api/chats", "/api/chats".to_owned());
        let answer = self.send(owner, route, Some(&body), None).await;
        self.wrote(owner, chat, &text, from, answer.outcome());
    }

    async fn rename(&mut self, owner: &str, chat: &str) {
        let title = format!("t{}x{}", self.client, self.step);
        let (route, body) = match self.random.u8(..6) {
            0 => (
                (
                    "PATCH /api/chats/{id}/visibility",
                    format!("/api/chats/{chat}/visibility"),
                ),
                json!({"visibility": "private"}),
            ),
            1..4 => (
                (
                    "PATCH /api/chats/{id}/title",
                    format!("/api/chats/{chat}/title"),
                ),
                json!({"title": title}),
            ),
            _ => (
                ("PATCH /api/chats/{id}", format!("/api/chats/{chat}")),
                json!({"title": title, "pinned": true}),
            ),
        };
        let is_title = body["title"].is_string();
        let from = Instant::now();
        let answer = self.send(owner, route, Some(&body), None).await;
        if is_title {
            let write = Write {
                value: title,
                outcome: answer.outcome(),
                from,
                to: Instant::now(),
            };
            self.model.facts().chat(chat, owner).titles.push(write);
        }
    }

    async fn stop(&mut self, owner: &str, chat: &str) {
        let route = ("POST /api/chat/{id}/stop", format!("/api/chat/{chat}/stop"));
        self.send(owner, route, Some(&json!({})), None).await;
    }

    async fn resume(&mut self, owner: &str, chat: &str) {
        let route = if self.random.bool() {
            (
                "GET /api/chat/{id}/stream",
                format!("/api/chat/{chat}/stream"),
            )
        } else {
            (
                "GET /api/chats/{id}/{id}/stream",
                format!("/api/chats/{chat}/{chat}/stream"),
            )
        };
        self.send(owner, route, None, None).await;
    }

    async fn delete(&mut self, owner: &str, chat: &str) {
        let from = Instant::now();
        let route = ("DELETE /api/chats/{id}", format!("/api/chats/{chat}"));
        let answer = self.send(owner, route, None, None).await;
        let write = Write {
            value: String::new(),
            outcome: answer.outcome(),
            from,
            to: Instant::now(),
        };
        self.model.facts().chat(chat, owner).deletions.push(write);
    }

    async fn vote(&mut self, owner: &str, chat: &str) {
        let Some(known) = self.known(chat) else {
            return;
        };
        let reply = {
            let facts = self.model.facts();
            facts.chats[chat].messages[&known].replies.first().cloned()
        };
        let Some(reply) = reply else { return };
        let up = self.random.bool();
        let from = Instant::now();
        let answer = if self.random.bool() {
            let route = (
                "POST /api/chats/{id}/votes",
                format!("/api/chats/{chat}/votes"),
            );
            let body = json!({"messageId": reply, "isUpvoted": up});
            self.send(owner, route, Some(&body), None).await
        } else {
            let route = (
                "PUT /api/chats/{id}/messages/{messageId}/vote",
                format!("/api/chats/{chat}/messages/{reply}/vote"),
            );
            self.send(owner, route, Some(&json!({"isUpvoted": up})), None)
                .await
        };
        let write = Write {
            value: up.to_string(),
            outcome: answer.outcome(),
            from,
            to: Instant::now(),
        };
        let mut facts = self.model.facts();
        let votes = &mut facts.chat(chat, owner).votes;
        votes.entry(reply).or_default().push(write);
    }

    /// Whether a chat takes a turn now that all is calm.
    pub(crate) async fn is_free(&mut self, owner: &str, chat: &str) -> bool {
        self.step += 1;
        self.sent = 0;
        let marker = self.marker();
        let text = self.text(&marker);
        let reply = self.turn(owner, chat, (&marker, &text), Turn::New).await;
        reply.is_some()
    }

    /// A read that must find what was stored before it began.
    async fn read(&mut self, owner: &str, chat: &str) {
        let begun = Instant::now();
        let route = ("GET /api/chats/{id}", format!("/api/chats/{chat}"));
        let answer = self.send(owner, route, None, None).await;
        let facts = self.model.facts();
        let Some(known) = facts.chats.get(chat) else {
            return;
        };
        let is_there = known
            .messages
            .values()
            .any(|message| message.write.outcome == Outcome::Done && message.write.to < begun);
        let is_lost = answer.status == 404 && is_there && known.deletions.is_empty();
        drop(facts);
        if is_lost {
            self.model
                .violation(chat, "a chat that was stored is not found");
        }
    }

    /// Routes that only read.
    async fn look(&mut self, owner: &str, chat: &str) {
        let route = match self.random.u8(..12) {
            0 => ("GET /api/chats", "/api/chats?limit=5".to_owned()),
            1 => (
                "GET /api/chats/{id}/messages",
                format!("/api/chats/{chat}/messages?limit=10"),
            ),
            2 => (
                "GET /api/chats/{id}/votes",
                format!("/api/chats/{chat}/votes"),
            ),
            3 => (
                "GET /api/chats/{id}/branches",
                format!("/api/chats/{chat}/branches"),
            ),
            4 => ("GET /api/me/usage", "/api/me/usage".to_owned()),
            5 => ("GET /api/models", "/api/models".to_owned()),
            6 => ("GET /api/ready", "/api/ready".to_owned()),
            7 => ("GET /api/health", "/api/health".to_owned()),
            8 => ("OPTIONS /api/chat", "/api/chat".to_owned()),
            9 => (
                "GET /api/shared/{token}",
                "/api/shared/nobody-has-this-token".to_owned(),
            ),
            10 => (
                "GET /api/chats/{id} of another",
                format!("/api/chats/x{chat}"),
            ),
            _ => ("GET /api/chats", "/api/chats?q=t&limit=3".to_owned()),
        };
        let answer = self.send(owner, route.clone(), None, None).await;
        if route.0.ends_with("another") && (200..300).contains(&answer.status) {
            self.model
                .violation(chat, "a chat that nobody made is found");
        }
    }
}
