//! Turns as `chat` opens them, without the function around: for what is asked of their statements.

use std::time::Duration;

use chat_store::{
    Allowance, AtMost, Budgets, ChatId, Limit, MessageId, NewMessage, NewTurn, Opening, OwnerId,
    Parts, Place, Reply, Role, Spender, StreamId, Title, TokenLimits, Uncounted, UploadId, Visitor,
};
use dsql::Db;
use jiff::Timestamp;
use serde_json::json;

/// A message of a visitor.
///
/// # Panics
/// If it is none.
pub fn message(id: &str, text: &str) -> NewMessage {
    NewMessage {
        id: MessageId::parse(id).expect("it is well formed"),
        role: Role::User,
        parts: Parts::parse(&json!([{"type": "text", "text": text}]).to_string())
            .expect("it is well formed"),
        metadata: None,
    }
}

/// Opens turns of one owner.
#[derive(Debug)]
pub struct Opener<'a> {
    db: &'a Db,
    owner: &'a OwnerId,
    /// What the owner may still do.
    pub allowance: Allowance,
    uploads: &'a [UploadId],
    now: Timestamp,
}

impl<'a> Opener<'a> {
    /// Of an owner who may do much.
    pub fn of(db: &'a Db, owner: &'a OwnerId, now: Timestamp) -> Self {
        let limit = Limit {
            name: "turn",
            window: Duration::from_secs(60),
            per_owner: 1_000,
            per_guest: 1_000,
            per_address: 1_000,
        };
        let visitor = Visitor {
            owner,
            is_guest: false,
            address: Some("hash"),
        };
        Self {
            db,
            owner,
            allowance: Allowance {
                buckets: limit.buckets(visitor),
                window: limit.window_at(now),
                tokens: Budgets::new(
                    Spender {
                        owner: "pseudonym",
                        address: Some("hash"),
                        chat: &ChatId::parse("new").expect("it is well formed"),
                    },
                    TokenLimits {
                        owner: 1_000_000,
                        address: 1_000_000,
                        deployment: 1_000_000,
                    },
                    now,
                ),
                concurrent: 1_000,
            },
            uploads: &[],
            now,
        }
    }

    /// Whose messages name uploads.
    #[must_use]
    pub fn with_uploads(mut self, uploads: &'a [UploadId]) -> Self {
        self.uploads = uploads;
        self
    }

    /// Opens a turn.
    ///
    /// # Panics
    /// If the database refuses it.
    pub async fn open(&self, chat: &str, message: &NewMessage, place: Place) -> (Opening, Reply) {
        let reply = Reply {
            chat: ChatId::parse(chat).expect("it is well formed"),
            message: MessageId::new(),
            stream: StreamId::new(),
        };
        let job = format!("title of {chat}");
        let replaced = MessageId::new();
        let turn = NewTurn {
            chat: &reply.chat,
            message,
            uploads: self.uploads,
            place,
            shown: std::slice::from_ref(&message.id),
            replaced: &replaced,
            reply: &reply.message,
            stream: &reply.stream,
            model: "m",
            reply_metadata: "{}",
            title: &Title::default(),
            title_job: Some(&job),
            expires_at: None,
            now: self.now,
            lease_until: self.now + Duration::from_secs(60),
            at_most: AtMost {
                question: Uncounted { likely: 1, most: 4 },
                history: Uncounted {
                    likely: 10,
                    most: 40,
                },
                reply: 100,
            },
            allowance: &self.allowance,
        };
        let opening = chat_store::turns::open(self.db, self.owner, &turn).await;
        let opening = opening.expect("the database takes it");
        (opening, reply)
    }
}
