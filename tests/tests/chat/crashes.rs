//! Killed containers, conflicts and lost connections: no message of the visitor's is lost or
//! doubled, and the same POST again gives one reply.

use std::time::{Duration, SystemTime};

use dsql_local::Faults;
use tests::clock::WallClock;
use tests::function::Function;

use crate::stack::{LIMIT, Stack, Visitor, heard, launch_both, launch_chat, submit, until_true};

/// Beyond every lease of these tests.
const LATER: Duration = Duration::from_secs(120);

fn visitor<'a>(
    stack: &Stack,
    chat: &'a Function,
    chats: &'a Function,
    now: SystemTime,
) -> Visitor<'a> {
    Visitor {
        chat,
        chats,
        token: stack.token_at("visitor", now),
    }
}

#[tokio::test]
async fn a_killed_container_loses_nothing_at_any_stage() {
    let stack = Stack::start().await;
    let (chats, db) = (stack.launch("chats").start().await, stack.database("admin"));
    let later = WallClock::new();
    later.advance(LATER);
    let survivor = launch_chat(&stack).clock(&later).start().await;
    let now = SystemTime::now();
    let patient = visitor(&stack, &survivor, &chats, later.now());
    let reader = visitor(&stack, &survivor, &chats, now);

    // Before the turn is opened.
    let victim = launch_chat(&stack).start().await;
    stack
        .server
        .set_faults(Faults {
            freeze: true,
            ..Faults::default()
        })
        .unwrap();
    let mut invocation =
        visitor(&stack, &victim, &chats, now).begin(&submit("before", "u1", "hi"), LIMIT);
    invocation.dispatched().await;
    victim.kill().await;
    stack.server.set_faults(Faults::default()).unwrap();
    assert_eq!(
        patient.post(&submit("before", "u1", "hi")).await.text(),
        "hi"
    );
    assert_eq!(reader.transcript("before").await, ["u1: hi", "*: hi"]);

    // After it is opened, before the model accepts; in the middle; when all is said and not closed.
    let stages = [
        ("opened", "[[accept 1500]]one two", None, ""),
        (
            "middle",
            "[[delay 10]][[words 60]]",
            Some("word9"),
            "word1 word2 ",
        ),
        ("said", "[[hang 4]]one two", Some("two"), "one two"),
    ];
    for (chat, text, heard_last, stored) in stages {
        let victim = launch_chat(&stack).start().await;
        let mut invocation =
            visitor(&stack, &victim, &chats, now).begin(&submit(chat, "u1", text), LIMIT);
        until_true(&db, "the opening", "SELECT count(*) = 1 FROM generations").await;
        if let Some(last) = heard_last {
            heard(&mut invocation, last).await;
            until_true(
                &db,
                "a checkpoint",
                "SELECT parts LIKE '%word2 %' OR parts LIKE '%one two%' FROM messages WHERE status = 'streaming'",
            )
            .await;
        }
        victim.kill().await;
        // While its lease is alive the same POST is refused, and nothing is doubled.
        let early = WallClock::new();
        early.step_back(Duration::from_secs(20));
        let impatient = launch_chat(&stack).clock(&early).start().await;
        let busy = visitor(&stack, &impatient, &chats, now)
            .post(&submit(chat, "u1", text))
            .await;
        assert_eq!(busy.code(), "generation_in_progress", "{chat}");
        let reaped =
            chat_store::replies::reap(&db, chat_store::microseconds(now + LATER), 100).await;
        assert_eq!(reaped.unwrap(), 1, "{chat}");
        let transcript = reader.transcript(chat).await;
        assert_eq!(
            (transcript.len(), transcript[0].clone()),
            (2, format!("u1: {text}"))
        );
        assert!(
            transcript[1].starts_with(&format!("*: [interrupted] {stored}")),
            "{transcript:?}"
        );
    }
    for (chat, text, reply) in [
        ("opened", "[[accept 1500]]one two", "one two"),
        ("middle", "[[delay 10]][[words 60]]", "word1 "),
    ] {
        assert!(
            patient
                .post(&submit(chat, "u1", text))
                .await
                .text()
                .starts_with(reply)
        );
        assert_eq!(reader.transcript(chat).await.len(), 2, "{chat}");
    }

    // Without the reaper: the same POST takes over once the lease has passed.
    let victim = launch_chat(&stack).start().await;
    let mut invocation = visitor(&stack, &victim, &chats, now)
        .begin(&submit("taken", "u1", "[[delay 10]][[words 60]]"), LIMIT);
    heard(&mut invocation, "word3").await;
    victim.kill().await;
    let resumed = patient.ask("GET", "/api/chat/taken/stream", None).await;
    assert_eq!(
        resumed.types().last().unwrap(),
        "error",
        "a follower ends it too"
    );
    let again = patient
        .post(&submit("taken", "u1", "[[delay 10]][[words 60]]"))
        .await;
    assert!(again.text().ends_with("word60"));
    assert_eq!(reader.transcript("taken").await.len(), 2);

    // After the close.
    let victim = launch_chat(&stack).start().await;
    let first = visitor(&stack, &victim, &chats, now)
        .post(&submit("after", "u1", "hi"))
        .await;
    victim.kill().await;
    assert_eq!(
        patient.post(&submit("after", "u1", "hi")).await.message(),
        first.message()
    );
}

#[tokio::test]
async fn conflicts_and_lost_connections_neither_lose_nor_double_a_turn() {
    let stack = Stack::start().await;
    let (chat, chats) = launch_both(&stack).await;
    let visitor = visitor(&stack, &chat, &chats, SystemTime::now());
    stack
        .server
        .set_faults(Faults {
            conflict_rate: 0.1,
            schema_conflict_rate: 0.05,
            drop_rate: 0.1,
            seed: Some(20_261_125),
            ..Faults::default()
        })
        .unwrap();
    for n in 0..40 {
        let body = submit(
            &format!("c{}", n % 4),
            &format!("u{n}"),
            &format!("text {n}"),
        );
        loop {
            let said = visitor.post(&body).await;
            match said.status() {
                200 if said.types().last().unwrap() == "finish" => break,
                200 | 503 => {}
                other => panic!("turn {n}: {other} {}", said.body()),
            }
        }
    }
    stack.server.set_faults(Faults::default()).unwrap();
    for chat in 0..4 {
        let expected: Vec<String> = (0..40)
            .filter(|n| n % 4 == chat)
            .flat_map(|n| [format!("u{n}: text {n}"), format!("*: text {n}")])
            .collect();
        assert_eq!(visitor.transcript(&format!("c{chat}")).await, expected);
    }
}

/// What may happen to one statement.
fn one_fault() -> [(&'static str, Faults); 3] {
    [
        (
            "a conflict",
            Faults {
                conflict_commits: 1,
                ..Faults::default()
            },
        ),
        (
            "a changed catalog",
            Faults {
                schema_conflicts: 1,
                ..Faults::default()
            },
        ),
        (
            "a lost answer",
            Faults {
                drop_at_commit: 1,
                ..Faults::default()
            },
        ),
    ]
}

#[tokio::test]
async fn each_statement_of_a_turn_survives_a_conflict_and_a_lost_answer() {
    let stack = Stack::start().await;
    let (chats, db) = (stack.launch("chats").start().await, stack.database("admin"));
    // Without checkpoints a plain send is two statements: it opens, it closes.
    let chat = launch_chat(&stack)
        .env("CHECKPOINT_MS", "60000")
        .start()
        .await;
    let frequent = launch_chat(&stack).start().await;
    let now = SystemTime::now();
    let (plain, saving) = (
        visitor(&stack, &chat, &chats, now),
        visitor(&stack, &frequent, &chats, now),
    );
    let (mut replies, slow) = (0, "[[delay 10]][[words 60]]");
    for (n, (what, fault)) in one_fault().into_iter().enumerate() {
        let id = format!("c{n}");
        stack.server.set_faults(fault.clone()).unwrap();
        assert_eq!(plain.post(&submit(&id, "u1", "hi")).await.text(), "hi");

        let mut invocation = plain.begin(&submit(&id, "u2", slow), LIMIT);
        heard(&mut invocation, "word3").await;
        stack.server.set_faults(fault.clone()).unwrap();
        let said = crate::stack::said(invocation.outcome().await);
        assert_eq!(said.status(), 200, "{what} while closing");

        let edit = crate::stack::with(
            submit(&id, "u2", "edited"),
            "messageId",
            serde_json::json!("u2"),
        );
        stack.server.set_faults(fault.clone()).unwrap();
        assert_eq!(
            plain.post(&edit).await.text(),
            "edited",
            "{what} at an edit"
        );

        let mut invocation = saving.begin(&submit(&id, "u3", slow), LIMIT);
        heard(&mut invocation, "word3").await;
        stack.server.set_faults(fault.clone()).unwrap();
        let said = crate::stack::said(invocation.outcome().await);
        assert_eq!(said.status(), 200, "{what} at a checkpoint");
        stack.server.set_faults(Faults::default()).unwrap();

        let transcript = plain.transcript(&id).await;
        let starts = [
            "u1: hi",
            "*: hi",
            "u2: edited",
            "*: edited",
            "u3: ",
            "*: word1 ",
        ];
        assert_eq!(transcript.len(), starts.len(), "{what}: {transcript:?}");
        for (line, start) in transcript.iter().zip(starts) {
            assert!(line.starts_with(start), "{what}: {transcript:?}");
        }
        assert!(transcript[5].ends_with("word60"), "{what}: {transcript:?}");
        replies += 4;
        let counted = db
            .query_opt_idempotent("SELECT sum(requests)::bigint FROM usage_daily", &[])
            .await
            .unwrap()
            .unwrap();
        assert_eq!(counted.get::<_, i64>(0), replies, "{what} counts once");
    }

    // The reaper's one statement too.
    for (n, (what, fault)) in one_fault().into_iter().enumerate() {
        let id = format!("r{n}");
        let victim = launch_chat(&stack).start().await;
        let mut invocation =
            visitor(&stack, &victim, &chats, now).begin(&submit(&id, "u1", slow), LIMIT);
        heard(&mut invocation, "word3").await;
        victim.kill().await;
        stack.server.set_faults(fault).unwrap();
        let later = chat_store::microseconds(now + LATER);
        chat_store::replies::reap(&db, later, 100).await.unwrap();
        stack.server.set_faults(Faults::default()).unwrap();
        assert_eq!(
            chat_store::replies::reap(&db, later, 100).await.unwrap(),
            0,
            "{what}"
        );
        let transcript = plain.transcript(&id).await;
        assert!(
            transcript[1].starts_with("*: [interrupted] "),
            "{what}: {transcript:?}"
        );
        replies += 1;
        let counted = db
            .query_opt_idempotent("SELECT sum(requests)::bigint FROM usage_daily", &[])
            .await
            .unwrap()
            .unwrap();
        assert_eq!(counted.get::<_, i64>(0), replies, "{what} counts once");
    }
}
