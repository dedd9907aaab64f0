//! What statements look at: every statement of everyday requests is run by `chat-store` itself on
//! tables with many rows, and PostgreSQL notes the plan that ran, with the rows of each step. DSQL
//! plans for itself, but what has no index there has none here. A search is not in here, because it
//! does look at more: it reads all titles of its owner.

use std::time::Duration;

use chat_store::posts::{MAX_FOUND, search};
use chat_store::uploads::{self, NewUpload, Uploading};
use chat_store::{
    Asking, Changes, ChatId, Closing, Continuation, Cursor, Cut, Ended, Held, IdempotencyKey,
    Likely, Limit, Listing, MessageId, NewChat, Once, Opening, OwnerId, Place, Reopened, Reply,
    Resumable, ShareId, ShareToken, SoFar, Stopped, StreamId, Title, TitleUsage, UploadId,
    Visibility, Visitor, chats, idempotency, jobs, limits, messages, replies, shares, spending,
    usage, votes,
};
use dsql::{Db, Type};
use serde_json::json;

use tests::opener::{Opener, message};

use crate::plan_log::{PlannedFor, Plans};
use crate::stack::Stack;

/// 60 owners with 40 chats of 10 messages; `o1` has 300 more, 285 of them archived, and the chat
/// `c1` of `o1` has 400 messages.
async fn fill(db: &Db) {
    for sql in [
        "INSERT INTO chats SELECT 'c' || n, 'o' || n % 60, 't', 'private', false, false, 500, NULL, now(), now() - n * interval '1 min' \
            FROM generate_series(1, 2400) n",
        "INSERT INTO chats SELECT 'more' || n, 'o1', 't', 'private', false, n % 20 > 0, 10, NULL, now(), now() - n * interval '1 min' \
            FROM generate_series(1, 300) n",
        "INSERT INTO messages (chat_id, id, seq, role, parts, status, created_at) SELECT 'c1', 'm' || n, n, \
            CASE WHEN n % 2 = 0 THEN 'user' ELSE 'assistant' END, '[]', 'complete', now() FROM generate_series(10, 399) n",
        // A vote for every second reply, and a share for every chat.
        "INSERT INTO votes SELECT 'c' || n / 5 + 1, 'm' || n % 5 * 2 + 1, 'o', true, NULL, now() FROM generate_series(0, 1999) n",
        "INSERT INTO shares SELECT 's' || n, 'c' || n, '{}', now() FROM generate_series(1, 2400) n",
        // Dead and living ones in no order of their leases, as a table that lies in the order of
        // its key has them.
        "INSERT INTO generations SELECT * FROM ( \
            SELECT 'c' || n AS chat, 'm9', 's' || n, 'o' || n % 60, now() - interval '1 h' FROM generate_series(1000, 2400) n \
            UNION ALL SELECT 'live' || n, 'm9', 's' || n, 'o' || n % 50 + 2, now() + interval '1 h' FROM generate_series(1, 400) n \
        ) g ORDER BY md5(chat)",
        "INSERT INTO rate_buckets SELECT 'k' || n, now(), 1, now() + interval '1 h' FROM generate_series(1, 2400) n",
        "INSERT INTO rate_buckets SELECT 'tokens|owner|' || n, date_trunc('day', now(), 'UTC'), 1, now() + interval '1 h' \
            FROM generate_series(1, 2400) n",
        "INSERT INTO reservations SELECT 's' || n, 1, now(), 'k' || n, NULL, 'k', now() + interval '1 h' FROM generate_series(1, 2400) n",
        "INSERT INTO idempotency SELECT 'o' || n % 60, 'k' || n, 'h', 200, '{}', now() + interval '1 h' FROM generate_series(1, 2400) n",
        "INSERT INTO usage_daily SELECT 'o' || n % 60, current_date - n / 60, 'm', 1, 1, 1 FROM generate_series(1, 2400) n",
        "INSERT INTO uploads SELECT md5(n::text)::uuid::text, 'o' || n % 60, 'text/csv', 1, NULL, now() + n * interval '1 h', now() \
            FROM generate_series(1, 2400) n",
        "INSERT INTO chat_uploads SELECT 'c' || n, md5(n::text)::uuid::text FROM generate_series(1, 2400) n",
        "INSERT INTO jobs SELECT 'j' || n, 'erase_user', '{}', 'done', NULL, '{}', 1, now(), now() FROM generate_series(1, 2400) n",
    ] {
        db.execute(sql, &[]).await.unwrap();
    }
    for n in 0..10_i32 {
        let sql = "INSERT INTO messages (chat_id, id, seq, role, parts, status, created_at) \
            SELECT 'c' || (n / 10 + $1 * 240 + 1), 'm' || n % 10, n % 10, CASE WHEN n % 2 = 0 THEN 'user' ELSE 'assistant' END, \
                '[]', CASE WHEN n % 10 = 9 AND n / 10 + $1 * 240 + 1 >= 1000 THEN 'streaming' ELSE 'complete' END, now() \
            FROM generate_series(0, 2399) n";
        db.execute(sql, &[(&n, Type::INT4)]).await.unwrap();
    }
    for table in [
        "chats",
        "messages",
        "votes",
        "shares",
        "generations",
        "rate_buckets",
        "reservations",
        "idempotency",
        "usage_daily",
        "uploads",
        "chat_uploads",
        "jobs",
    ] {
        db.execute_sql(&format!("ANALYZE {table}")).await.unwrap();
    }
}

#[tokio::test]
async fn a_turn_looks_at_no_rows_but_those_it_returns_or_writes() {
    Box::pin(turn(PlannedFor::ItsValues)).await;
}

#[tokio::test]
async fn a_turn_looks_at_no_rows_but_those_it_returns_or_writes_by_plans_for_any_values() {
    Box::pin(turn(PlannedFor::Any)).await;
}

async fn turn(planned_for: PlannedFor) {
    let stack = Stack::start_on(Plans::options(planned_for)).await;
    let (db, now) = (
        stack.database("admin"),
        chat_store::microseconds(std::time::SystemTime::now()),
    );
    fill(&db).await;
    let mut plans = Plans::of(&stack);
    let owner = OwnerId::parse("o1").unwrap();
    let opener = Opener::of(&db, &owner, now);
    let is_open = |opening: &Opening| matches!(opening, Opening::Opened { .. });

    let (opening, reply) = opener.open("new", &message("u1", "hi"), Place::End).await;
    assert!(is_open(&opening), "{opening:?}");
    plans.judge("open a new chat", 0);

    let so_far = SoFar {
        parts: "[]",
        input_tokens: 1,
        output_tokens: 1,
    };
    for (name, so_far) in [
        ("checkpoint", Some(so_far)),
        ("checkpoint of nothing", None),
    ] {
        let held = replies::checkpoint(&db, &reply, so_far, now).await;
        assert_eq!(held.unwrap(), Held::Yes);
        plans.judge(name, 0);
    }
    let active = replies::resumable(&db, &owner, &reply.chat, None, now)
        .await
        .unwrap();
    assert!(active.is_some());
    plans.judge("follow", 0);
    let progress = replies::poll(&db, &owner, &reply.chat, &reply.message, None, now).await;
    assert!(progress.unwrap().is_some());
    plans.judge("poll", 0);
    let closing = Closing {
        parts: "[]",
        metadata: "{}",
        status: "complete",
        finish_reason: Some("stop"),
        model: "m",
        input_tokens: 1,
        output_tokens: 1,
        is_unheard: true,
        spent: 2,
        now,
    };
    for name in ["close", "close again, after a lost answer"] {
        let ended = replies::close(&db, &reply, &closing).await;
        assert_eq!(ended.unwrap(), Ended::Stored);
        plans.judge(name, 0);
    }
    let resumable = || replies::resumable(&db, &owner, &reply.chat, None, now);
    assert!(matches!(
        resumable().await.unwrap(),
        Some(Resumable::Ended(_))
    ));
    plans.judge("resume what has ended", 0);
    let (chat, id) = (&reply.chat, &reply.message);
    replies::delivered(&db, &owner, chat, id).await.unwrap();
    plans.judge("note that a reply was delivered", 0);
    replies::awaited(&db, &owner, chat, id, now).await.unwrap();
    plans.judge("note that a reply is awaited", 0);
    let asking = replies::asking(&db, &owner, chat, id, now).await;
    let Some(Asking::Ended { parts, .. }) = asking.unwrap() else {
        panic!("it has ended")
    };
    plans.judge("read what a reply asks", 0);
    let again = Reply {
        stream: StreamId::new(),
        ..reply.clone()
    };
    let cost = Likely { likely: 1, most: 4 };
    let continuation = Continuation {
        reply: &again,
        before: &parts,
        parts: "[1]",
        metadata: &json!({}),
        model: "m",
        cost,
        now,
        lease_until: now + Duration::from_secs(60),
        allowance: &opener.allowance,
    };
    for name in ["go on with a reply", "the same, after a lost answer"] {
        let reopened = replies::reopen(&db, &owner, &continuation).await;
        assert_eq!(reopened.unwrap(), Reopened::Done);
        plans.judge(name, 0);
    }
    for name in ["reserve a step", "reserve it again, after a lost answer"] {
        let budgets = &opener.allowance.tokens;
        let reserved = spending::reserve_step(&db, "step", budgets, cost).await;
        assert!(reserved.unwrap());
        plans.judge(name, 0);
    }
    let ended = replies::close(&db, &again, &closing).await;
    assert_eq!(ended.unwrap(), Ended::Stored);
    plans.judge("close what was gone on with", 0);
    let (_, reply) = opener.open("new", &message("u2", "hi"), Place::End).await;
    plans.judge("open a plain turn", 0);
    let stopped = replies::stop(&db, &owner, &reply.chat, None, now).await;
    assert_eq!(stopped.unwrap(), Some(Stopped::Now));
    plans.judge("stop", 0);
    let held = replies::checkpoint(&db, &reply, Some(so_far), now).await;
    assert_eq!(held.unwrap(), Held::Stopped);
    plans.judge("checkpoint of a stopped reply", 0);
    let ended = replies::close(&db, &reply, &closing).await;
    assert_eq!(ended.unwrap(), Ended::Stopped);
    plans.judge("close a stopped reply", 0);

    let upload = UploadId::parse("c4ca4238-a0b9-2382-0dcc-509a6f75849b").unwrap(); // md5('1')
    let ids = std::slice::from_ref(&upload);
    let found = uploads::uploads(&db, &owner, ids, now).await.unwrap();
    assert_eq!(found.len(), 1);
    plans.judge("find an upload", 0);
    let sender = Opener::of(&db, &owner, now).with_uploads(ids);
    let (opening, reply) = sender.open("new", &message("u3", "hi"), Place::End).await;
    assert!(is_open(&opening), "{opening:?}");
    plans.judge("open a turn with an upload", 0);
    replies::abandon(&db, &reply, 0).await.unwrap();
    plans.judge("abandon a turn with an upload", 0);
    let new = NewUpload {
        id: &UploadId::new(),
        media_type: "text/csv",
        size: 1,
        filename: None,
        now,
    };
    let made = uploads::create_upload(&db, &owner, &new, 10).await;
    assert_eq!(made.unwrap(), Uploading::Accepted);
    plans.judge("announce an upload", 0);

    // In a chat of 400 messages, of which the model is shown 60.
    let (opening, reply) = opener.open("c1", &message("u1", "hi"), Place::End).await;
    let Opening::Opened { history, .. } = &opening else {
        panic!("{opening:?}")
    };
    assert_eq!(history.len(), 60);
    // Near the 500th message they are counted: a chat that was never cut has fewer than its counter
    // says.
    plans.judge("open in a long chat", 400);
    replies::abandon(&db, &reply, 0).await.unwrap();
    plans.judge("abandon", 0);
    let target = Some(MessageId::parse("m397").unwrap());
    let (opening, _) = opener
        .open("c1", &message("m396", "hi"), Place::Look { target })
        .await;
    let Opening::Stored(stored) = opening else {
        panic!("{opening:?}")
    };
    assert!(stored.target.is_some() && stored.next.is_some());
    plans.judge("look", 0);
    let place = Place::Behind {
        cut: 396,
        expected: stored.next_seq,
    };
    let (opening, reply) = opener.open("c1", &message("m396", "edited"), place).await;
    assert!(is_open(&opening), "{opening:?}");
    plans.judge("edit", 60);
    replies::abandon(&db, &reply, 9).await.unwrap();
    plans.judge("abandon an edit", 0);

    // 1021 = 17 * 60 + 1: a chat of o1 whose writer has died.
    let (opening, _) = opener.open("c1021", &message("u1", "hi"), Place::End).await;
    assert!(is_open(&opening), "{opening:?}");
    plans.judge("take over", 0);
    let dead = ChatId::parse("c1081").unwrap();
    replies::interrupt(&db, &owner, &dead, now).await.unwrap();
    plans.judge("interrupt", 0);

    let budgets = &opener.allowance.tokens;
    assert!(
        spending::reserve_title(&db, "title", budgets, 100)
            .await
            .unwrap()
    );
    plans.judge("reserve a title", 0);
    let usage = TitleUsage {
        chat: &reply.chat,
        owner: &owner,
        model: "m",
        input_tokens: 1,
        output_tokens: 1,
        spent: 2,
        now,
    };
    spending::settle_title(&db, "title", &usage).await.unwrap();
    plans.judge("settle a title", 0);
    spending::settle(&db, reply.stream.as_str(), 1)
        .await
        .unwrap();
    plans.judge("settle", 0);
}

#[tokio::test]
async fn everyday_requests_look_at_no_rows_but_those_they_return_or_write() {
    Box::pin(everyday_requests(PlannedFor::ItsValues)).await;
}

#[tokio::test]
async fn everyday_requests_look_at_no_rows_but_those_they_return_or_write_by_plans_for_any_values()
{
    Box::pin(everyday_requests(PlannedFor::Any)).await;
}

async fn everyday_requests(planned_for: PlannedFor) {
    let stack = Stack::start_on(Plans::options(planned_for)).await;
    let (db, now) = (
        stack.database("admin"),
        chat_store::microseconds(std::time::SystemTime::now()),
    );
    fill(&db).await;
    let mut plans = Plans::of(&stack);
    let owner = OwnerId::parse("o1").unwrap();
    let chat = ChatId::parse("c1").unwrap();

    for archived in [false, true] {
        let mut after: Option<Cursor> = None;
        for name in ["list", "list further"] {
            let listing = Listing {
                archived,
                search: None,
                after: after.as_ref(),
                behind: None,
                limit: 10,
            };
            let page = chats::list(&db, &owner, listing, now).await.unwrap();
            assert_eq!(page.items.len(), 10);
            after = page.next;
            plans.judge(name, 0);
        }
    }
    for (name, before) in [("get", None), ("get before", Some(200))] {
        let page = chats::get(&db, &owner, &chat, before, 10, now)
            .await
            .unwrap()
            .unwrap();
        assert_eq!(page.messages.len(), 10);
        plans.judge(name, 0);
    }
    let reply = MessageId::parse("m5").unwrap();
    votes::cast(&db, &owner, &chat, &reply, Some(true), None, now)
        .await
        .unwrap()
        .unwrap();
    plans.judge("vote", 0);
    votes::cast(&db, &owner, &chat, &reply, None, None, now)
        .await
        .unwrap()
        .unwrap();
    plans.judge("take a vote back", 0);
    let votes = votes::list(&db, &owner, &chat, now).await.unwrap().unwrap();
    assert!(!votes.is_empty());
    plans.judge("votes", 0);
    let changes = Changes {
        title: Some(Title::parse("new").unwrap()),
        ..Changes::default()
    };
    chats::change(&db, &owner, &chat, &changes, now)
        .await
        .unwrap()
        .unwrap();
    plans.judge("rename", 0);
    let new = NewChat {
        id: ChatId::new(),
        title: Title::default(),
        message: Some(message("u1", "hi")),
        created_at: now,
        expires_at: None,
    };
    chats::create(&db, &owner, &new).await.unwrap();
    plans.judge("create", 0);
    messages::append(&db, &owner, &new.id, &message("u2", "hi"), now)
        .await
        .unwrap()
        .unwrap();
    plans.judge("append", 0);
    // Votes are looked for in the whole chat; it has as many at most as replies.
    let cut = MessageId::parse("m390").unwrap();
    messages::cut(&db, &owner, &chat, &cut, Cut::Regenerate, now)
        .await
        .unwrap()
        .unwrap();
    plans.judge("cut", 10);
    let limit = Limit {
        name: "write",
        window: Duration::from_secs(60),
        per_owner: 1,
        per_guest: 1,
        per_address: 1,
    };
    let visitor = Visitor {
        owner: &owner,
        is_guest: false,
        address: Some("hash"),
    };
    limits::admit(&db, &limit, visitor, now).await.unwrap();
    let today = now.to_zoned(jiff::tz::TimeZone::UTC).date();
    let usage = usage::by_day(&db, &owner, today, today).await.unwrap();
    assert_eq!(usage.len(), 1);
    plans.judge("usage", 0);
    let keyed = IdempotencyKey::new("key", &[]).unwrap();
    assert_eq!(
        idempotency::given::<()>(&db, &owner, &keyed, now)
            .await
            .unwrap(),
        None
    );
    let done = idempotency::once(
        &db,
        &owner,
        Some(&keyed),
        now,
        async |tx| {
            let token = ShareToken::new(None, &chat_store::random_text().unwrap());
            shares::create(&tx, &owner, &chat, &token, now)
                .await
                .map(|_| token)
        },
        |_| None,
    );
    let Once::Now(token) = done.await.unwrap() else {
        panic!("it was not done")
    };
    // Its size first, then the messages.
    plans.judge("share", 400);
    let snapshot = shares::open(&db, &token, now).await.unwrap();
    assert!(snapshot.is_some());
    plans.judge("read a share", 0);
    let shares = shares::list(&db, &owner, &chat, now).await.unwrap();
    let shares = shares.unwrap();
    plans.judge("list the shares", 0);
    let share = ShareId::parse(&shares.last().unwrap().id).unwrap();
    shares::end(&db, &owner, &chat, &share, now).await.unwrap();
    plans.judge("end a share", shares.len() as u64);
    shares::end_all(&db, &owner, &chat, now).await.unwrap();
    plans.judge("unshare", 0);
    let changes = Changes {
        visibility: Some(Visibility::Public),
        ..Changes::default()
    };
    chats::change(&db, &owner, &chat, &changes, now)
        .await
        .unwrap();
    plans.judge("make public", 0);
    let shown = chats::read_public(&db, &chat, now).await.unwrap();
    assert!(shown.is_some());
    plans.judge("read what is public", 0);
    assert_eq!(jobs::receipt(&db, &owner, "j7").await.unwrap(), None);
    plans.judge("receipt", 1);
    assert!(chats::delete(&db, &owner, &chat).await.unwrap());
    plans.judge("delete", 0);
}

#[tokio::test]
async fn a_search_of_the_posts_reads_the_rows_of_its_words_and_no_others() {
    for planned_for in [PlannedFor::ItsValues, PlannedFor::Any] {
        let stack = Stack::start_on(Plans::options(planned_for)).await;
        let db = stack.database("admin");
        // 400 posts of 5 passages, each with 7 words: one in all of them, one in each post, and
        // others.
        for sql in [
            "INSERT INTO posts (id, url, title, text_id, passages, words, check_at) SELECT n, n, n, 't' || n, 5, 35, now() \
                FROM generate_series(1, 400) n",
            "INSERT INTO post_passages SELECT 't' || (n / 5 + 1), n % 5, 'text' FROM generate_series(0, 1999) n",
            "INSERT INTO post_listings SELECT 'l' || n, '', NULL, NULL, 0, 0, '', now() FROM generate_series(1, 2400) n",
            "INSERT INTO post_listings VALUES ('blog', '', NULL, NULL, 2000, 14000, '', now())",
            "INSERT INTO post_words SELECT 'common', 't' || (n / 5 + 1), n % 5, 1, 7 FROM generate_series(0, 1999) n",
            "INSERT INTO post_words SELECT 'post' || (n / 5 + 1), 't' || (n / 5 + 1), n % 5, 1, 7 FROM generate_series(0, 1999) n",
            "INSERT INTO post_words SELECT 'w' || n || '-' || w, 't' || (n / 5 + 1), n % 5, 1, 7 \
                FROM generate_series(0, 499) n, generate_series(1, 5) w",
        ] {
            db.execute(sql, &[]).await.unwrap();
        }
        for table in ["posts", "post_passages", "post_words", "post_listings"] {
            db.execute_sql(&format!("ANALYZE {table}")).await.unwrap();
        }
        let mut plans = Plans::of(&stack);
        // Five rows of words, their post once each, and the passages that are shown.
        let found = search(&db, "post399").await.unwrap();
        assert_eq!(found.len(), 2, "of one post");
        plans.judge("a rare word", 5 + 5);
        // Of a word in every passage a thousand, and the posts of the best hundred.
        let found = search(&db, "common post399").await.unwrap();
        assert_eq!(found[0].url, "399");
        assert_eq!(found.len(), MAX_FOUND);
        plans.judge("a common word", 1_000 + 5 + 100);
    }
}
