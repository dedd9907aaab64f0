//! An erasure beside writers of every kind: none of them leaves a row behind a receipt that says
//! all is gone.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use chat_store::import::{self, Import, StoreError};
use chat_store::{
    Allowance, AtMost, Budgets, ChatId, Comment, JobKind, Limit, MessageId, NewMessage, NewTurn,
    OwnerId, Parts, Place, Role, ShareToken, Spender, StreamId, Title, TokenLimits, Uncounted,
    Visitor,
};
use dsql::{Db, Error};
use dsql_local::DsqlLocal;
use jiff::{SignedDuration, Timestamp};
use serde_json::json;
use tests::clock::WallClock;

use crate::stack::Stack;
use crate::support::{batch, database, fill, invoke, job, number};

/// Beside writers, on a machine that may have much else to do.
const ERASURE_LIMIT: Duration = Duration::from_secs(600);
/// A fork ends when its chat does, so the job deletes it too, and would have no end beside one who
/// goes on forking.
const MOST_FORKS: u64 = 100;

const OTHERS: &str = "\
SELECT (SELECT count(*) FROM chats WHERE owner_id = 'other') + (SELECT count(*) FROM votes WHERE owner_id = 'other')
    + (SELECT count(*) FROM messages WHERE chat_id LIKE 'other-%')
    + (SELECT count(*) FROM usage_daily WHERE owner_id = 'other')";

const CHATS: usize = 400;

/// One who goes on writing into chats that are deleted under them.
struct Writer {
    db: Db,
    owner: OwnerId,
    /// When the chats end that are erased.
    end: Timestamp,
}

/// What a writer does.
const ACTS: [&str; 6] = ["append", "vote", "share", "fork", "import", "turn"];

impl Writer {
    /// Does one thing; whether it was stored.
    async fn act(&self, act: &str, n: usize) -> Result<bool, Error> {
        let (db, owner) = (&self.db, &self.owner);
        let chat = ChatId::parse(&format!("owner-{}", n % CHATS + 1)).unwrap();
        let now = chat_store::microseconds(SystemTime::now());
        Ok(match act {
            "append" => chat_store::messages::append(db, owner, &chat, &said("still here"), now)
                .await?
                .is_some(),
            "vote" => {
                let reply = MessageId::parse("m2").unwrap();
                let comment = Comment::parse("still here").unwrap();
                chat_store::votes::cast(db, owner, &chat, &reply, Some(true), Some(&comment), now)
                    .await?
                    .is_some()
            }
            "share" => {
                let token = ShareToken::new(None, &chat_store::random_text().unwrap());
                let shared = db
                    .transaction(|tx| {
                        let (chat, token) = (&chat, &token);
                        async move { chat_store::shares::create(&tx, owner, chat, token, now).await }
                    })
                    .await?;
                shared == chat_store::Shared::Done
            }
            "fork" => {
                let (at, new) = (MessageId::parse("m3").unwrap(), ChatId::new());
                let forked = db
                    .transaction(|tx| {
                        let (chat, at, new) = (&chat, &at, &new);
                        async move { chat_store::chats::fork(&tx, owner, chat, at, new, now).await }
                    })
                    .await?;
                matches!(forked, chat_store::Forked::Chat(_))
            }
            "import" => {
                let (file, seed) = (file(), format!("import {n}"));
                let stored = import::store(db, owner, &file, &seed, None, now).await;
                match stored {
                    Ok(_) => true,
                    Err(StoreError::Database(error)) => return Err(error),
                    Err(error) => panic!("{error}"),
                }
            }
            _ => self.open(&chat, now).await?,
        })
    }

    /// Opens a turn, with the job for its title, and closes nothing: its writer has died.
    async fn open(&self, chat: &ChatId, now: Timestamp) -> Result<bool, Error> {
        let limit = Limit {
            name: "turn",
            window: Duration::from_secs(60),
            per_owner: 1_000_000,
            per_guest: 1_000_000,
            per_address: 1_000_000,
        };
        let visitor = Visitor {
            owner: &self.owner,
            is_guest: false,
            address: None,
        };
        let allowance = Allowance {
            buckets: limit.buckets(visitor),
            window: limit.window_at(now),
            tokens: Budgets::new(
                Spender {
                    owner: "pseudonym",
                    address: None,
                    chat,
                },
                TokenLimits {
                    owner: 1_000_000_000,
                    address: 1_000_000_000,
                    deployment: 1_000_000_000,
                },
                now,
            ),
            concurrent: 1_000_000,
        };
        let (job, reply, stream) = (
            chat_store::jobs::new_id(),
            MessageId::new(),
            StreamId::new(),
        );
        let replaced = MessageId::new();
        let turn = NewTurn {
            chat,
            message: &said("and now?"),
            uploads: &[],
            place: Place::End,
            shown: &[],
            replaced: &replaced,
            reply: &reply,
            stream: &stream,
            model: "m",
            reply_metadata: "{}",
            title: &Title::default(),
            title_job: Some(&job),
            expires_at: Some(self.end),
            now,
            lease_until: now + Duration::from_secs(8),
            at_most: AtMost {
                question: Uncounted { likely: 1, most: 1 },
                history: Uncounted { likely: 1, most: 1 },
                reply: 1,
            },
            allowance: &allowance,
        };
        let opening = chat_store::turns::open(&self.db, &self.owner, &turn).await?;
        Ok(matches!(opening, chat_store::Opening::Opened { .. }))
    }
}

fn said(text: &str) -> NewMessage {
    NewMessage {
        id: MessageId::new(),
        role: Role::User,
        parts: Parts::parse(&json!([{"type": "text", "text": text}]).to_string()).unwrap(),
        metadata: None,
    }
}

/// A chat of a question, a reply, and a vote on it.
fn file() -> Import {
    let text = |role: &str, id: &str| {
        json!({"type": "message", "chatId": "c", "id": id, "role": role,
            "parts": [{"type": "text", "text": "x"}]})
    };
    let lines = [
        json!({"type": "chat", "id": "c", "title": "T"}),
        text("user", "u1"),
        text("assistant", "a1"),
        json!({"type": "vote", "chatId": "c", "messageId": "a1", "isUpvoted": true}),
        json!({"type": "end", "chats": 1, "messages": 2}),
    ];
    let lines: Vec<String> = lines.iter().map(ToString::to_string).collect();
    import::parse(&lines.join("\n")).unwrap()
}

/// Writers of every kind until they are ended; how many writes of each kind were stored.
struct Writers {
    is_over: Arc<AtomicBool>,
    stored: Arc<[AtomicU64; ACTS.len()]>,
    tasks: Vec<tokio::task::JoinHandle<()>>,
}

impl Writers {
    fn start(server: &DsqlLocal, end: Timestamp) -> Self {
        let is_over = Arc::new(AtomicBool::new(false));
        let stored: Arc<[AtomicU64; ACTS.len()]> = Arc::default();
        let tasks = ACTS.iter().enumerate().map(|(kind, act)| {
            let writer = Writer {
                db: database(server),
                owner: OwnerId::parse("owner").unwrap(),
                end,
            };
            let (is_over, stored) = (Arc::clone(&is_over), Arc::clone(&stored));
            tokio::spawn(async move {
                // Each begins elsewhere, and meets the erasure where it is.
                let mut n = kind * CHATS / ACTS.len();
                while !is_over.load(Ordering::Relaxed) {
                    n += 7;
                    let has_forked =
                        *act == "fork" && stored[kind].load(Ordering::Relaxed) >= MOST_FORKS;
                    match writer.act(if has_forked { "append" } else { act }, n).await {
                        Ok(is_stored) => {
                            stored[kind].fetch_add(u64::from(is_stored), Ordering::Relaxed);
                        }
                        // A conflict that was not resolved in time was told, and nothing was
                        // stored.
                        Err(Error::Conflict { .. }) => {}
                        Err(error) => panic!("{act}: {}", error.report()),
                    }
                }
            })
        });
        Self {
            tasks: tasks.collect(),
            is_over,
            stored,
        }
    }

    /// Ends them; how many chats they imported.
    async fn end(self) -> i64 {
        self.is_over.store(true, Ordering::Relaxed);
        for task in self.tasks {
            task.await.unwrap();
        }
        for (act, stored) in ACTS.iter().zip(self.stored.iter()) {
            assert!(stored.load(Ordering::Relaxed) > 0, "no {act} was stored");
        }
        let import = ACTS.iter().position(|act| *act == "import").unwrap();
        i64::try_from(self.stored[import].load(Ordering::Relaxed)).unwrap()
    }
}

#[tokio::test]
async fn an_owner_with_20_000_messages_is_erased_while_everything_writes_and_nothing_is_left() {
    let stack = Stack::start().await;
    let db = database(&stack.server);
    fill(&db, "owner", 400, 50).await;
    fill(&db, "other", 20, 50).await;
    db.execute(
        "INSERT INTO usage_daily SELECT owner, '2026-11-22', 'echo', 1, 1, 1 FROM (VALUES ('owner'), ('other')) o (owner)",
        &[],
    )
    .await
    .unwrap();
    let others = number(&db, OTHERS).await;
    // By the clock of the request the chats have ended; by that of the writers they have an hour
    // left.
    let owner = OwnerId::parse("owner").unwrap();
    let end = chat_store::microseconds(SystemTime::now()) + SignedDuration::from_hours(1);
    chat_store::jobs::discard(&db, &owner, JobKind::EraseUser, "job-1", end)
        .await
        .unwrap();
    let writers = Writers::start(&stack.server, end);

    let clock = WallClock::new();
    let first = stack.launch("jobs").clock(&clock).start().await;
    let event = batch(&[json!({"jobId": "job-1"})]);
    let running = first.begin(event.to_string(), Duration::from_secs(60));
    // Killed in the middle of its work.
    loop {
        let row = job(&db, "job-1").await;
        if row.result["deleted"]["messages"].as_i64() >= Some(4_000) || row.state == "done" {
            break;
        }
    }
    first.kill().await;
    drop(running);
    let row = job(&db, "job-1").await;
    assert_eq!(row.state, "running", "it was killed in the middle: {row:?}");

    // Its lease keeps others away until it is over; then the job goes on where it was.
    let second = stack.launch("jobs").clock(&clock).start().await;
    let run = async || invoke(&second, &json!({"jobId": "job-1"})).await["outcome"].clone();
    assert_eq!(run().await, "busy");
    clock.advance(Duration::from_secs(120));
    let erased = async {
        let until_done = async {
            loop {
                let outcome = run().await;
                if outcome == "done" {
                    break;
                }
                // One that met writers alone for all its time is tried again; the queue asks later.
                assert!(
                    ["continued", "retried"].contains(&outcome.as_str().unwrap()),
                    "{:?}",
                    job(&db, "job-1").await
                );
            }
        };
        tokio::time::timeout(ERASURE_LIMIT, until_done)
            .await
            .expect("it comes to its end, however often the writers make it begin again");
    };
    let left = "SELECT count(*) FROM chats WHERE owner_id = 'owner' AND title = 'a chat' AND id LIKE 'owner-%'";
    let written = async {
        while number(&db, left).await > 0 {}
        writers.end().await
    };
    let ((), imported) = tokio::join!(erased, written);
    assert_eq!(run().await, "over");

    let row = job(&db, "job-1").await;
    let deleted = &row.result["deleted"];
    for (kind, least) in [
        ("chats", 400),
        ("messages", 20_000),
        ("votes", 400),
        ("usageRows", 1),
    ] {
        assert!(deleted[kind].as_i64() >= Some(least), "{kind}: {deleted}");
    }
    assert_eq!(number(&db, left).await, 0);
    let kept = "SELECT count(*) FROM chats WHERE owner_id = 'owner'";
    assert_eq!(
        number(&db, kept).await,
        imported,
        "what was imported since, and nothing else, is there"
    );
    for orphans in [
        "SELECT count(*) FROM messages m WHERE NOT EXISTS (SELECT FROM chats c WHERE c.id = m.chat_id)",
        "SELECT count(*) FROM votes v WHERE NOT EXISTS (SELECT FROM messages m WHERE m.chat_id = v.chat_id AND m.id = v.message_id)",
        "SELECT count(*) FROM shares s WHERE NOT EXISTS (SELECT FROM chats c WHERE c.id = s.chat_id)",
        "SELECT count(*) FROM generations g WHERE NOT EXISTS (SELECT FROM chats c WHERE c.id = g.chat_id)",
    ] {
        assert_eq!(number(&db, orphans).await, 0, "{orphans}");
    }
    assert_eq!(
        number(&db, OTHERS).await,
        others,
        "nothing of others was touched"
    );
    assert!(row.result["finishedAt"].is_string() && row.result["requestedAt"].is_string());
    assert!(
        !row.payload.contains("\"owner\":\"owner\""),
        "{}",
        row.payload
    );
}
