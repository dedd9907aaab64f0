//! What becomes of uploads: those that no message names end after a day, the others with the last
//! chat that they were sent in, and all of an owner's with the owner.

use std::time::SystemTime;

use chat_store::uploads::{self, NewUpload, Uploading};
use chat_store::{ChatId, JobKind, MessageId, OwnerId, Place, UploadId, microseconds};
use dsql::Db;
use jiff::Timestamp;
use serde_json::{Value, json};
use tests::bucket::{Bucket, put};
use tests::function::Function;
use tests::http::{Request, Response};
use tests::opener::{Opener, message};

use crate::stack::{LIMIT, Stack};
use crate::support::{batch, database, discard, invoke, job, number};

/// Every upload is a day and two hours older.
async fn age(db: &Db) {
    let sql = "UPDATE uploads SET created_at = created_at - INTERVAL '26 hours', expires_at = expires_at - INTERVAL '26 hours'";
    db.execute(sql, &[]).await.unwrap();
}

fn now() -> Timestamp {
    microseconds(SystemTime::now())
}

/// An owner who uploads, and sends what was uploaded.
struct Uploader<'a> {
    db: &'a Db,
    chats: &'a Function,
    stack: &'a Stack,
    name: &'a str,
    owner: OwnerId,
}

impl Uploader<'_> {
    async fn upload(&self) -> UploadId {
        let request = Request::new("POST", "/api/uploads")
            .bearer(&self.stack.token(self.name))
            .json(&json!({"mediaType": "text/plain", "size": 2}));
        let answer = self
            .chats
            .invoke(request.rest_event().to_string(), LIMIT)
            .await;
        let made = Response::from_answer(&answer.response()).json();
        assert_eq!(put(&made, b"hi").await.status, 200, "{made}");
        UploadId::parse(made["id"].as_str().unwrap()).unwrap()
    }

    /// Opens a turn that names uploads, whose reply is never written.
    async fn send(&self, chat: &str, id: &str, uploads: &[UploadId]) {
        let opener = Opener::of(self.db, &self.owner, now());
        let opener = opener.with_uploads(uploads);
        let (opening, _) = opener.open(chat, &message(id, "look"), Place::End).await;
        assert!(
            matches!(opening, chat_store::Opening::Opened { .. }),
            "{opening:?}"
        );
    }

    async fn ids(&self) -> Vec<String> {
        let rows = self
            .db
            .query_idempotent(
                "SELECT id FROM uploads WHERE owner_id <> '' ORDER BY id",
                &[],
            )
            .await
            .unwrap();
        rows.iter().map(|row| row.get(0)).collect()
    }
}

async fn purge(maintenance: &Function) -> Value {
    let report = invoke(maintenance, &json!({"task": "purge"})).await;
    assert_eq!(report["complete"], true, "{report}");
    report["deleted"]["uploads"].clone()
}

fn sorted(ids: &[&UploadId]) -> Vec<String> {
    let mut ids: Vec<String> = ids.iter().map(|id| id.as_str().to_owned()).collect();
    ids.sort();
    ids
}

#[tokio::test]
async fn an_upload_ends_after_a_day_or_with_the_last_chat_that_it_was_sent_in() {
    let stack = Stack::start().await;
    let db = database(&stack.server);
    let bucket = Bucket::start(&stack, SystemTime::now).await;
    let start = |name| bucket.given_to(stack.launch(name)).start();
    let (chats, maintenance) = (start("chats").await, start("maintenance").await);
    let uploader = Uploader {
        db: &db,
        chats: &chats,
        stack: &stack,
        name: "owner",
        owner: OwnerId::parse("owner").unwrap(),
    };
    let (unused, sent, shared) = (
        uploader.upload().await,
        uploader.upload().await,
        uploader.upload().await,
    );
    uploader
        .send("one", "u1", &[sent.clone(), shared.clone()])
        .await;
    uploader
        .send("two", "u1", std::slice::from_ref(&shared))
        .await;
    assert_eq!(purge(&maintenance).await, 0);
    age(&db).await;
    assert_eq!(
        purge(&maintenance).await,
        1,
        "the one that no message names"
    );
    assert_eq!(uploader.ids().await, sorted(&[&sent, &shared]));
    assert_eq!(bucket.objects(), 2);
    let found = uploads::uploads(&db, &uploader.owner, &[unused], now()).await;
    assert_eq!(found.unwrap(), []);

    // What is used in another chat, also in one that was forked meanwhile, stays.
    let (one, at, new) = (
        ChatId::parse("one").unwrap(),
        MessageId::parse("u1").unwrap(),
        ChatId::new(),
    );
    let forked = db
        .transaction(|tx| {
            let (owner, one, at, new) = (&uploader.owner, &one, &at, &new);
            async move { chat_store::chats::fork(&tx, owner, one, at, new, now()).await }
        })
        .await;
    assert!(matches!(forked.unwrap(), chat_store::Forked::Chat(_)));
    let delete = |chat: ChatId| {
        let (db, owner) = (&db, &uploader.owner);
        async move { assert!(chat_store::chats::delete(db, owner, &chat).await.unwrap()) }
    };
    delete(one).await;
    assert_eq!(purge(&maintenance).await, 0);
    delete(new).await;
    assert_eq!(
        purge(&maintenance).await,
        1,
        "sent in the first and its fork"
    );
    assert_eq!(uploader.ids().await, sorted(&[&shared]));
    delete(ChatId::parse("two").unwrap()).await;
    assert_eq!(purge(&maintenance).await, 1);
    assert_eq!((uploader.ids().await.len(), bucket.objects()), (0, 0));
    assert_eq!(number(&db, "SELECT count(*) FROM chat_uploads").await, 0);

    // A claim takes along what was sent in the chats that it takes.
    let (guests, members) = (uploader.upload().await, OwnerId::parse("member").unwrap());
    uploader
        .send("three", "u1", std::slice::from_ref(&guests))
        .await;
    let moved = chat_store::chats::claim(&db, &uploader.owner, &members, now()).await;
    assert_eq!(moved.unwrap(), 1);
    let found = uploads::uploads(&db, &members, &[guests], now()).await;
    assert_eq!(found.unwrap().len(), 1);
}

#[tokio::test]
async fn a_receipt_is_written_when_the_objects_are_gone_and_an_object_that_comes_late_goes_too() {
    let stack = Stack::start().await;
    let db = database(&stack.server);
    let bucket = Bucket::start(&stack, SystemTime::now).await;
    let start = |name| bucket.given_to(stack.launch(name)).start();
    let (chats, maintenance, jobs) = (
        start("chats").await,
        start("maintenance").await,
        start("jobs").await,
    );
    let of = |owner: &'static str| Uploader {
        db: &db,
        chats: &chats,
        stack: &stack,
        name: owner,
        owner: OwnerId::parse(owner).unwrap(),
    };
    let (one, other) = (of("one"), of("other"));
    let (old, kept) = (one.upload().await, other.upload().await);
    one.send("c", "u1", &[old]).await;
    other.send("d", "u1", std::slice::from_ref(&kept)).await;

    // Without the bucket nothing is said to be erased that is not.
    discard(&db, "job-1", JobKind::EraseUser, "one").await;
    let blind = stack.launch("jobs").start().await;
    let event = batch(&[json!({"jobId": "job-1"})]);
    invoke(&blind, &event).await;
    assert_ne!(job(&db, "job-1").await.state, "done");
    assert_eq!(bucket.objects(), 2);
    age(&db).await;
    invoke(&jobs, &event).await;
    let row = job(&db, "job-1").await;
    assert_eq!(
        (&*row.state, &row.result["deleted"]["uploads"]),
        ("done", &json!(1))
    );
    assert_eq!(other.ids().await, sorted(&[&kept]));
    assert_eq!(bucket.objects(), 1);

    // All chats are deleted: what was sent in them goes, at once.
    let second = other.upload().await;
    other.send("e", "u1", &[second]).await;
    discard(&db, "job-2", JobKind::DeleteAllChats, "other").await;
    invoke(&jobs, &batch(&[json!({"jobId": "job-2"})])).await;
    let row = job(&db, "job-2").await;
    assert_eq!(
        (&*row.state, &row.result["deleted"]["uploads"]),
        ("done", &json!(2))
    );
    assert_eq!(bucket.objects(), 0);

    // The URL of a young upload is still good: whoever uses it uploads for nobody.
    let late = NewUpload {
        id: &UploadId::new(),
        media_type: "text/plain",
        size: 2,
        filename: Some("mine.txt"),
        now: now(),
    };
    let third = OwnerId::parse("third").unwrap();
    let made = uploads::create_upload(&db, &third, &late, 10)
        .await
        .unwrap();
    assert_eq!(made, Uploading::Accepted);
    discard(&db, "job-3", JobKind::EraseUser, "third").await;
    invoke(&jobs, &batch(&[json!({"jobId": "job-3"})])).await;
    assert_eq!(job(&db, "job-3").await.state, "done");
    let nobodys = "SELECT count(*) FROM uploads WHERE owner_id = '' AND filename IS NULL";
    assert!(number(&db, nobodys).await >= 1);
    age(&db).await;
    purge(&maintenance).await;
    assert_eq!(number(&db, "SELECT count(*) FROM uploads").await, 0);
}
