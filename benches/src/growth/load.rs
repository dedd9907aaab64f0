//! Fills a database with owners who have chats, through the import that visitors use: its batches
//! stay below the row cap.

use std::io::Write as _;
use std::time::{Duration, Instant, SystemTime};

use chat_store::{OwnerId, import, microseconds};
use dsql::Dsql;
use serde_json::json;

/// Chats of one owner.
pub(crate) const CHATS: usize = 20;
/// Messages of one chat.
pub(crate) const MESSAGES: usize = 50;
/// Chats of one file.
const FILE: usize = 100;
/// So often the progress is told.
const TELL: Duration = Duration::from_secs(5);

/// Who was loaded, and their chats.
pub(crate) struct Owners(Vec<(String, Vec<String>)>);

impl Owners {
    /// Loads this many owners and tells the progress on stderr.
    pub(crate) async fn load(dsql: &Dsql, count: usize, seed: u64) -> Self {
        let mut random = fastrand::Rng::with_seed(seed);
        let begun = Instant::now();
        let mut told = begun;
        let mut owners = Vec::with_capacity(count);
        for n in 0..count {
            let name = format!("owner-{n}");
            let chats: Vec<_> = (0..CHATS)
                .map(|chat| (format!("Chat {chat}"), age(&mut random)))
                .collect();
            let file = export(&mut random, &chats, MESSAGES);
            let ids = load(dsql, &name, &name, &file, CHATS * MESSAGES).await;
            owners.push((name, ids));
            if told.elapsed() >= TELL || n + 1 == count {
                told = Instant::now();
                tell(n + 1, count, begun.elapsed());
            }
        }
        Self(owners)
    }

    /// Any owner.
    pub(crate) fn any(&self, random: &mut fastrand::Rng) -> &str {
        &self.0[random.usize(..self.0.len())].0
    }

    /// Any chat, and its owner.
    pub(crate) fn any_chat(&self, random: &mut fastrand::Rng) -> (&str, &str) {
        let (owner, chats) = &self.0[random.usize(..self.0.len())];
        (owner, &chats[random.usize(..chats.len())])
    }
}

fn tell(done: usize, of: usize, elapsed: Duration) {
    let messages = done * CHATS * MESSAGES;
    let per_second = f64::from(u32::try_from(messages).unwrap()) / elapsed.as_secs_f64();
    let left = elapsed.as_secs_f64() * f64::from(u32::try_from(of - done).unwrap())
        / f64::from(u32::try_from(done).unwrap());
    let _ = writeln!(
        std::io::stderr(),
        "loaded {messages} messages of {done} of {of} owners, {per_second:.0} a second, {left:.0} s left"
    );
}

/// Chats of one owner of this many messages each, the oldest first, which alone is called so.
pub(crate) async fn load_chats(
    dsql: &Dsql,
    owner: &str,
    count: usize,
    messages: usize,
) -> Vec<String> {
    let mut random = fastrand::Rng::with_seed(20_261_130);
    let mut loaded = Vec::with_capacity(count);
    while loaded.len() < count {
        let some = FILE.min(count - loaded.len());
        let chats: Vec<_> = (loaded.len()..loaded.len() + some)
            .map(|n| {
                let title = match n {
                    0 => "The oldest".to_owned(),
                    _ => format!("Chat {n}"),
                };
                (title, Duration::from_secs(60 * (count - n) as u64))
            })
            .collect();
        let file = export(&mut random, &chats, messages);
        let key = format!("{owner}-{}", loaded.len());
        loaded.extend(load(dsql, owner, &key, &file, some * messages).await);
    }
    loaded
}

/// Loads a file and gives the chats' ids.
async fn load(dsql: &Dsql, owner: &str, key: &str, file: &str, messages: usize) -> Vec<String> {
    let owner = OwnerId::parse(owner).unwrap();
    let file = import::parse(file).unwrap();
    let db = dsql.until(SystemTime::now() + Duration::from_secs(60));
    let now = microseconds(SystemTime::now());
    let imported = import::store(&db, &owner, &file, key, None, now)
        .await
        .unwrap();
    assert_eq!(imported.messages, messages);
    imported.ids
}

/// How long ago a chat was changed.
fn age(random: &mut fastrand::Rng) -> Duration {
    Duration::from_secs(60 * u64::from(random.u32(0..500_000)))
}

/// Chats by title and age, of this many messages each, as an export has them.
fn export(random: &mut fastrand::Rng, chats: &[(String, Duration)], messages: usize) -> String {
    let mut lines = vec![json!({"type": "meta", "version": 1}).to_string()];
    let count = chats.len();
    for (chat, (title, age)) in chats.iter().enumerate() {
        let id = format!("c{chat}");
        let time = microseconds(SystemTime::now() - *age).to_string();
        let line =
            json!({"type": "chat", "id": id, "title": title, "createdAt": time, "updatedAt": time});
        lines.push(line.to_string());
        for n in 0..messages {
            let role = if n % 2 == 0 { "user" } else { "assistant" };
            let words = random.usize(5..120);
            let text: Vec<&str> = (0..words)
                .map(|_| WORDS[random.usize(..WORDS.len())])
                .collect();
            let parts = json!([{"type": "text", "text": text.join(" ")}]);
            let line = json!({"type": "message", "chatId": id, "id": format!("m{n}"), "role": role, "parts": parts, "createdAt": time});
            lines.push(line.to_string());
        }
    }
    let end = json!({"type": "end", "chats": count, "messages": count * messages});
    lines.push(end.to_string());
    lines.join("\n")
}

const WORDS: [&str; 8] = [
    "a", "few", "plain", "words", "that", "somebody", "might", "write",
];
