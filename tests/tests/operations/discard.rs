//! "Delete all" and "erase me": the job deletes what the request hid, and nothing that came after
//! it, however old that is.

use std::time::SystemTime;

use chat_store::{Export, JobKind, OwnerId};
use serde_json::{Value, json};
use tests::function::Function;
use tests::http::Request;

use crate::stack::{Stack, launch_chats, send};
use crate::support::{database, discard, fill, invoke, job, number};
use crate::visitor::Visitor;

/// What is hidden and was not deleted.
const HIDDEN: &str = "SELECT count(*) FROM chats WHERE expires_at <= now()";

async fn export(db: &dsql::Db, owner: &str) -> String {
    let now = chat_store::microseconds(SystemTime::now());
    let mut export = Export::new(OwnerId::parse(owner).unwrap(), now);
    let mut text = String::new();
    while let Some(lines) = export.next(db).await.unwrap() {
        text.push_str(&lines);
    }
    text
}

impl Visitor<'_> {
    async fn import(&self, file: &str) {
        let request = Request::new("POST", "/api/import")
            .bearer(&self.token)
            .body(file.to_owned());
        let answer = send(self.function, &request).await;
        assert_eq!(answer.status, 201, "{:?}", answer.json());
    }

    /// Asks for a job that deletes; its id.
    async fn discard(&self, path: &str) -> String {
        let answer = self.ask("DELETE", path, None).await;
        assert_eq!(answer.status, 202);
        answer.json()["jobId"].as_str().unwrap().to_owned()
    }

    async fn chats(&self) -> usize {
        self.get("/api/chats?limit=100").await["items"]
            .as_array()
            .unwrap()
            .len()
    }
}

/// Runs a job to its end and returns what it deleted.
async fn run(db: &dsql::Db, jobs: &Function, id: &str) -> Value {
    assert_eq!(
        invoke(jobs, &json!({"jobId": id})).await,
        json!({"outcome": "done"})
    );
    job(db, id).await.result["deleted"].clone()
}

/// As an operator does with a job that was given up. Its payload says again whose it is.
async fn redrive(db: &dsql::Db, id: &str, owner: &str) {
    let sql = format!(
        "UPDATE jobs SET state = 'pending', attempts = 0, payload = '{{\"owner\":\"{owner}\"}}' WHERE id = '{id}'"
    );
    db.execute_sql(&sql).await.unwrap();
}

#[tokio::test]
async fn what_is_imported_or_claimed_after_the_request_stays_whatever_the_job_does() {
    let stack = Stack::start().await;
    let db = database(&stack.server);
    let (chats, jobs) = (
        launch_chats(&stack).start().await,
        stack.launch("jobs").start().await,
    );
    let (member, guest) = (
        Visitor {
            function: &chats,
            token: stack.token("member"),
        },
        Visitor {
            function: &chats,
            token: stack.guest_token("anon_1"),
        },
    );
    for path in ["/api/chats", "/api/me"] {
        for n in 0..3 {
            let chat = member.conversation(&format!("question {n}")).await;
            let vote = json!({"messageId": "a1", "isUpvoted": true});
            let votes = format!("/api/chats/{chat}/votes");
            assert_eq!(member.ask("POST", &votes, Some(vote)).await.status, 200);
        }
        guest.conversation("a guest's").await;
        let file = export(&db, "member").await;

        let id = member.discard(path).await;
        assert_eq!(member.chats().await, 0);
        member.import(&file).await;
        let claim = json!({"guestToken": guest.token});
        let headers = [("idempotency-key", "claim")];
        let claimed = member
            .ask_with("POST", "/api/me/claim", Some(claim), &headers)
            .await;
        assert_eq!(claimed.json(), json!({"moved": 1}));

        let deleted = run(&db, &jobs, &id).await;
        assert_eq!(deleted["chats"], 3, "{path}");
        assert_eq!(member.chats().await, 4, "{path}");
        let left = export(&db, "member").await;
        assert_eq!(
            left.matches("\"type\":\"vote\"").count(),
            file.matches("\"type\":\"vote\"").count()
        );
        // A job of the past, run again.
        redrive(&db, &id, "member").await;
        assert_eq!(run(&db, &jobs, &id).await, deleted, "nothing more");
        assert_eq!(member.chats().await, 4, "{path}");
        let keys = "SELECT count(*) FROM idempotency WHERE owner_id = 'member'";
        assert_eq!(number(&db, keys).await, 1, "the key came after the request");

        for sql in [
            "DELETE FROM chats",
            "DELETE FROM messages",
            "DELETE FROM votes",
            "DELETE FROM idempotency",
        ] {
            db.execute_sql(sql).await.unwrap();
        }
    }
}

#[tokio::test]
async fn a_repeated_attempt_hides_nothing_that_came_since_and_a_new_request_does() {
    let stack = Stack::start().await;
    let db = database(&stack.server);
    let (chats, jobs) = (
        launch_chats(&stack).start().await,
        stack.launch("jobs").start().await,
    );
    let visitor = Visitor {
        function: &chats,
        token: stack.token("visitor"),
    };
    let owner = OwnerId::parse("visitor").unwrap();
    for kind in [JobKind::DeleteAllChats, JobKind::EraseUser] {
        visitor.conversation("old").await;
        let id = format!("{kind:?}");
        let now = chat_store::microseconds(SystemTime::now());
        let attempt = async || {
            chat_store::jobs::discard(&db, &owner, kind, &id, now)
                .await
                .unwrap()
        };
        assert_eq!(attempt().await, id);
        visitor.conversation("new").await;
        assert_eq!(attempt().await, id, "its answer was lost");
        assert_eq!(visitor.chats().await, 1, "{id}");
        assert_eq!(run(&db, &jobs, &id).await["chats"], 1, "{id}");

        let path = if kind == JobKind::EraseUser {
            "/api/me"
        } else {
            "/api/chats"
        };
        let first = visitor.discard(path).await;
        assert_eq!(visitor.chats().await, 0);
        visitor.conversation("newer").await;
        let second = visitor.discard(path).await;
        assert_ne!(
            first, second,
            "a job that does not delete what came since is not promised"
        );
        assert_eq!(visitor.chats().await, 0);
        for id in [second, first] {
            run(&db, &jobs, &id).await;
        }
        assert_eq!(number(&db, HIDDEN).await, 0);
    }
}

#[tokio::test]
async fn all_chats_of_one_who_has_more_than_one_statement_may_hide_are_hidden_and_deleted() {
    let stack = Stack::start().await;
    let db = database(&stack.server);
    let (chats, jobs) = (
        launch_chats(&stack).start().await,
        stack.launch("jobs").start().await,
    );
    fill(&db, "visitor", 2_100, 0).await;
    let visitor = Visitor {
        function: &chats,
        token: stack.token("visitor"),
    };
    visitor.chats().await; // so that no session has to be proved first
    let before = stack.server.stats().client_flights;
    let id = visitor.discard("/api/chats").await;
    let flights = stack.server.stats().client_flights - before;
    assert_eq!(flights, 3, "limit and two statements");
    assert_eq!(visitor.chats().await, 0);
    assert_eq!(run(&db, &jobs, &id).await["chats"], 2_100);

    // As many as one statement hides, so that the job comes with the next one.
    fill(&db, "exact", 2_000, 0).await;
    discard(&db, "exact", JobKind::EraseUser, "exact").await;
    assert_eq!(number(&db, HIDDEN).await, 2_000);
    assert_eq!(run(&db, &jobs, "exact").await["chats"], 2_000);
}

#[tokio::test]
async fn an_erasure_takes_what_had_ended_before_and_what_another_job_was_to_delete() {
    let stack = Stack::start().await;
    let db = database(&stack.server);
    let jobs = stack.launch("jobs").start().await;
    fill(&db, "owner", 3, 2).await;
    db.execute(
        "UPDATE chats SET expires_at = now() - interval '1 h' WHERE id = 'owner-1'",
        &[],
    )
    .await
    .unwrap();
    discard(&db, "all", JobKind::DeleteAllChats, "owner").await;
    fill(&db, "late", 1, 2).await;
    db.execute(
        "UPDATE chats SET owner_id = 'owner' WHERE id = 'late-1'",
        &[],
    )
    .await
    .unwrap();
    discard(&db, "erasure", JobKind::EraseUser, "owner").await;
    assert_eq!(run(&db, &jobs, "erasure").await["chats"], 4);
    assert_eq!(number(&db, "SELECT count(*) FROM chats").await, 0);
    assert_eq!(
        invoke(&jobs, &json!({"jobId": "all"})).await,
        json!({"outcome": "done"})
    );
}
