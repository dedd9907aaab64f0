//! Owns the end of a run: faults off, time passes, schedules run; then the database is held against
//! the model.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::{Duration, Instant};

use dsql::Db;
use serde_json::{Value, json};

use crate::login::{ACCOUNTS, BALANCE};
use crate::model::{Chat, Facts, Message, Model, Outcome, Write};
use crate::world::World;

/// Rounds of schedules until nothing is open: each is half a minute of everybody's clock.
const ROUNDS: usize = 60;
const ROUND: Duration = Duration::from_secs(30);
/// Jobs that a queue has are worked on in the machine's time: the clocks wait for them, or leases
/// would pass under workers.
const WORK: Duration = Duration::from_secs(1);

/// What must not be there at the end, as one count each.
const NOTHING: [(&str, &str); 7] = [
    ("replies being written", "SELECT count(*) FROM generations"),
    (
        "messages that are streaming",
        "SELECT count(*) FROM messages WHERE status = 'streaming'",
    ),
    (
        "jobs that are not done",
        "SELECT count(*) FROM jobs WHERE state <> 'done'",
    ),
    (
        "messages without a chat",
        "SELECT count(*) FROM messages m WHERE NOT EXISTS (SELECT FROM chats c WHERE c.id = m.chat_id)",
    ),
    (
        "votes without a message",
        "SELECT count(*) FROM votes v WHERE NOT EXISTS (SELECT FROM messages m WHERE m.chat_id = v.chat_id AND m.id = v.message_id)",
    ),
    (
        "shares without a chat",
        "SELECT count(*) FROM shares s WHERE NOT EXISTS (SELECT FROM chats c WHERE c.id = s.chat_id)",
    ),
    (
        "messages that follow nobody's",
        "SELECT count(*) FROM messages m WHERE parent_id IS NOT NULL AND NOT EXISTS (SELECT FROM messages p WHERE p.chat_id = m.chat_id AND p.id = m.parent_id)",
    ),
];

async fn count(db: &Db, sql: &'static str) -> i64 {
    let rows = db.query_idempotent(sql, &[]).await.unwrap();
    rows[0].get(0)
}

/// Lets time pass and schedules run until nothing is open, or says what is.
pub(crate) async fn settle(world: &World, model: &Model) {
    for _ in 0..ROUNDS {
        let db = world.database();
        let mut open = 0;
        for (_, sql) in NOTHING.iter().take(3) {
            open += count(&db, sql).await;
        }
        if open == 0 {
            return;
        }
        world.advance(ROUND);
        for task in ["reap", "relay"] {
            let event = json!({"task": task}).to_string();
            if let Err(error) = world.stack.invoke("maintenance", event).await {
                model.violation(task, &format!("without a fault: {error}"));
            }
        }
        let until = Instant::now() + WORK;
        let under_way = "SELECT count(*) FROM jobs WHERE state IN ('queued', 'running')";
        while Instant::now() < until && count(&db, under_way).await > 0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

/// Holds the database against the model.
pub(crate) async fn check(world: &World, model: &Model) {
    let db = world.database();
    for (what, sql) in NOTHING {
        let left = count(&db, sql).await;
        if left != 0 {
            model.violation("database", &format!("{left} {what}"));
        }
    }
    let stored = Stored::read(&db).await;
    stored.check_all(&mut model.facts());
    check_bills(&db, model).await;
    check_logins(&db, model).await;
}

/// Counts what came of a write that its client knows nothing about.
fn resolve(facts: &mut Facts, outcome: Outcome, times: usize) {
    if outcome == Outcome::Unknown {
        facts.resolved[usize::from(times == 0)] += 1;
    }
}

fn check_times(facts: &mut Facts, object: &str, outcome: Outcome, times: usize) {
    resolve(facts, outcome, times);
    let is_right = match outcome {
        Outcome::Done => times == 1,
        Outcome::Refused => times == 0,
        Outcome::Unknown => times <= 1,
    };
    if !is_right {
        facts.violation(object, &format!("{outcome:?}, and stored {times} times"));
    }
}

/// A register that was certainly written has a value that was not certainly overwritten.
fn check_register(
    facts: &mut Facts,
    object: &str,
    what: &str,
    writes: &[Write],
    now: Option<&str>,
) {
    let possible = Write::possible(writes);
    let is_written = writes.iter().any(|write| write.outcome == Outcome::Done);
    if is_written && !now.is_some_and(|now| possible.contains(now)) {
        let what = format!("its {what} is {now:?}, not one of {possible:?}");
        facts.violation(object, &what);
    }
}

/// The rows of chats and messages.
struct Stored {
    /// Owner and title.
    chats: HashMap<String, (String, String)>,
    /// By chat and marker: how many user messages.
    users: HashMap<(String, String), usize>,
    /// By marker alone.
    everywhere: HashMap<String, usize>,
    /// By chat and message.
    votes: HashMap<(String, String), bool>,
    /// By chat and id: status and text.
    replies: HashMap<(String, String), (String, String)>,
}

fn text_of(parts: &str) -> String {
    let parts: Value = serde_json::from_str(parts).unwrap_or_default();
    let parts = parts.as_array().into_iter().flatten();
    parts.filter_map(|part| part["text"].as_str()).collect()
}

/// A reply repeats all that was said since the last one, each message with its marker first; the
/// last one is answered.
fn is_marker(word: &str) -> bool {
    let mut numbers = word
        .strip_prefix('u')
        .into_iter()
        .flat_map(|rest| rest.split('x'));
    let mut number = || {
        numbers
            .next()
            .is_some_and(|text| text.parse::<u64>().is_ok())
    };
    number() && number()
}

impl Stored {
    async fn read(db: &Db) -> Self {
        let mut stored = Self {
            chats: HashMap::new(),
            users: HashMap::new(),
            everywhere: HashMap::new(),
            replies: HashMap::new(),
            votes: HashMap::new(),
        };
        let rows = db
            .query_idempotent("SELECT id, owner_id, title FROM chats", &[])
            .await
            .unwrap();
        for row in &rows {
            stored.chats.insert(row.get(0), (row.get(1), row.get(2)));
        }
        let sql = "SELECT chat_id, message_id, is_upvoted FROM votes";
        for row in db.query_idempotent(sql, &[]).await.unwrap() {
            stored.votes.insert((row.get(0), row.get(1)), row.get(2));
        }
        let sql = "SELECT chat_id, id, role, status, parts FROM messages";
        for row in db.query_idempotent(sql, &[]).await.unwrap() {
            let (chat, id): (String, String) = (row.get(0), row.get(1));
            let (role, status): (String, String) = (row.get(2), row.get(3));
            let text = text_of(row.get(4));
            if role == "user" {
                let marker = text.split(' ').next().unwrap_or_default().to_owned();
                *stored.everywhere.entry(marker.clone()).or_default() += 1;
                *stored.users.entry((chat, marker)).or_default() += 1;
            } else {
                stored.replies.insert((chat, id), (status, text));
            }
        }
        stored
    }

    fn check_all(&self, facts: &mut Facts) {
        let chats = std::mem::take(&mut facts.chats);
        for (id, chat) in &chats {
            self.check(facts, id, chat);
        }
        facts.chats = chats;
        for (chat, owner, outcome) in facts.claims.clone() {
            match self.chats.get(&chat) {
                None => facts.violation(&chat, "a claimed chat is gone"),
                Some((now, _)) if outcome == Outcome::Done && *now != owner => {
                    facts.violation(&chat, &format!("claimed by {owner}, it belongs to {now}"));
                }
                Some(_) => {}
            }
        }
        for (marker, outcome) in facts.imports.clone() {
            let times = self.everywhere.get(&marker).copied().unwrap_or_default();
            check_times(facts, &marker, outcome, times);
        }
    }

    fn check(&self, facts: &mut Facts, id: &str, chat: &Chat) {
        for (marker, message) in &chat.messages {
            self.check_message(facts, id, chat, marker, message);
        }
        let Some((owner, title)) = self.chats.get(id) else {
            return;
        };
        if *owner != chat.owner && !chat.owner.starts_with('g') {
            facts.violation(id, &format!("it belongs to {owner}"));
        }
        if !chat.deletions.is_empty() {
            return;
        }
        check_register(facts, id, "title", &chat.titles, Some(title.as_str()));
        for (reply, writes) in &chat.votes {
            let vote = self.votes.get(&(id.to_owned(), reply.clone()));
            let vote = vote.map(bool::to_string);
            check_register(facts, id, "vote", writes, vote.as_deref());
        }
    }

    fn check_message(
        &self,
        facts: &mut Facts,
        id: &str,
        chat: &Chat,
        marker: &str,
        message: &Message,
    ) {
        let write = &message.write;
        let times = self.users.get(&(id.to_owned(), marker.to_owned()));
        let times = times.copied().unwrap_or_default();
        if chat
            .deletions
            .iter()
            .any(|deletion| deletion.deletes(write))
        {
            if times > 0 {
                facts.violation(id, &format!("{marker} is there after the chat was deleted"));
            }
            return;
        }
        let may_be_gone = chat
            .deletions
            .iter()
            .any(|deletion| deletion.may_delete(write));
        resolve(facts, write.outcome, times);
        let is_right = match write.outcome {
            Outcome::Done => (1..=1 + message.repeats).contains(&times),
            Outcome::Refused => times == 0,
            Outcome::Unknown => times <= 1 + message.repeats,
        };
        let is_gone = may_be_gone && times == 0;
        if !is_right && !is_gone {
            let what = format!("{marker}: {:?}, and stored {times} times", write.outcome);
            facts.violation(id, &what);
        }
        if may_be_gone {
            return;
        }
        for reply in &message.replies {
            match self.replies.get(&(id.to_owned(), reply.clone())) {
                Some((status, text)) if status == "complete" && text.contains(marker) => {}
                other => facts.violation(id, &format!("{marker}: reply {reply} is {other:?}")),
            }
        }
        let answers = self.replies.iter().filter(|((chat, _), (_, text))| {
            chat == id && text.split(' ').rfind(|word| is_marker(word)) == Some(marker)
        });
        let answers = answers.count();
        if answers > message.attempts as usize {
            let what = format!(
                "{marker}: {answers} replies to {} requests",
                message.attempts
            );
            facts.violation(id, &what);
        }
    }
}

/// Usage lies between what was certainly billed, and that with every reply of which the client does
/// not know.
async fn check_bills(db: &Db, model: &Model) {
    let sql = "SELECT owner_id, sum(requests)::bigint, sum(input_tokens)::bigint, sum(output_tokens)::bigint FROM usage_daily GROUP BY owner_id";
    let rows = db.query_idempotent(sql, &[]).await.unwrap();
    let counted: BTreeMap<String, [i64; 3]> = rows
        .iter()
        .map(|row| (row.get(0), [row.get(1), row.get(2), row.get(3)]))
        .collect();
    let mut facts = model.facts();
    for (owner, bill) in facts.bills.clone() {
        let [requests, input, output] = counted.get(&owner).copied().unwrap_or_default();
        let finished = i64::try_from(bill.finished.len()).unwrap();
        let tokens = |of: fn(&(i64, i64)) -> i64| bill.finished.values().map(of).sum::<i64>();
        let billed = [finished, tokens(|used| used.0), tokens(|used| used.1)];
        let is_exact = bill.unsure == 0 && bill.erasures.is_empty();
        let is_short = bill.erasures.is_empty()
            && (requests < billed[0] || input < billed[1] || output < billed[2]);
        let is_over =
            requests > finished + bill.unsure || (is_exact && [requests, input, output] != billed);
        if is_short || is_over {
            let what = format!(
                "usage is {:?} (requests, input, output); billed were {billed:?} and {} unknown",
                [requests, input, output],
                bill.unsure
            );
            facts.violation(&owner, &what);
        }
    }
}

/// The bank's sum and rows, and the lists.
async fn check_logins(db: &Db, model: &Model) {
    let mut balances = vec![BALANCE; usize::try_from(ACCOUNTS).unwrap()];
    let mut there = BTreeSet::new();
    let sql = "SELECT id, source::bigint, target::bigint, amount FROM soak.transfer";
    let rows = db.query_idempotent(sql, &[]).await.unwrap();
    {
        let mut facts = model.facts();
        for row in &rows {
            let (id, row): (String, [i64; 3]) = (row.get(0), [row.get(1), row.get(2), row.get(3)]);
            balances[usize::try_from(row[0]).unwrap()] -= row[2];
            balances[usize::try_from(row[1]).unwrap()] += row[2];
            match facts.transfers.get(&id) {
                Some((_, asked)) if *asked == row => {}
                other => {
                    let what = format!("the row says {row:?}, the client {other:?}");
                    facts.violation(&id, &what);
                }
            }
            there.insert(id);
        }
        for (id, (outcome, _)) in facts.transfers.clone() {
            check_times(&mut facts, &id, outcome, usize::from(there.contains(&id)));
        }
    }
    let sql = "SELECT balance FROM soak.account ORDER BY id";
    let rows = db.query_idempotent(sql, &[]).await.unwrap();
    let stored: Vec<i64> = rows.iter().map(|row| row.get(0)).collect();
    if stored != balances {
        let what = format!("balances are {stored:?}, the transfers come to {balances:?}");
        model.violation("account", &what);
    }
    let sql = "SELECT k, id FROM soak.list ORDER BY k, position";
    let mut lists: BTreeMap<i64, Vec<String>> = BTreeMap::new();
    let mut times: HashMap<String, usize> = HashMap::new();
    for row in db.query_idempotent(sql, &[]).await.unwrap() {
        let id: String = row.get(1);
        *times.entry(id.clone()).or_default() += 1;
        lists.entry(row.get(0)).or_default().push(id);
    }
    let mut facts = model.facts();
    for (id, outcome) in facts.appends.clone() {
        let times = times.get(&id).copied().unwrap_or_default();
        check_times(&mut facts, &id, outcome, times);
    }
    for (list, read) in std::mem::take(&mut facts.lists) {
        let last = lists.get(&list).map(Vec::as_slice).unwrap_or_default();
        if !last.starts_with(&read) {
            let what = format!("{read:?} was read, and the list is {last:?}");
            facts.violation(&format!("list {list}"), &what);
        }
    }
}
