//! A chat's title: taken from what the visitor says first, which is there at once, and free; a job
//! may have a model make a better one, as long as nobody has given the chat another.

use dsql::{Db, Error, Type};
use serde_json::{Value, json};

use crate::erasure::StepError;
use crate::ids::{ChatId, OwnerId};
use crate::jobs::{self, Job, Progress};
use crate::key::key;
use crate::values::Title;

/// Longest title made here, in characters.
const MAX_CHARS: usize = 60;

/// The title for a chat that begins with these parts.
pub fn first(parts: &str) -> Title {
    from_text(&first_text(parts))
}

/// The title that a text begins with: its first line, cut after a word.
pub fn from_text(text: &str) -> Title {
    let line = text
        .lines()
        .map(str::trim)
        .find(|line| !line.is_empty())
        .unwrap_or_default();
    Title::parse(&shorten(line)).unwrap_or_default()
}

fn first_text(parts: &str) -> String {
    let parts: Value = serde_json::from_str(parts).unwrap_or_default();
    parts
        .as_array()
        .into_iter()
        .flatten()
        .find_map(|part| part.get("text").and_then(Value::as_str))
        .unwrap_or_default()
        .to_owned()
}

/// The payload of a job that titles a chat.
pub fn payload(owner: &OwnerId, chat: &ChatId) -> Value {
    json!({"owner": owner.as_str(), "chat": chat.as_str()})
}

/// A chat that still has the title its first message gave it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Untitled {
    /// That title.
    pub title: String,
    /// What the visitor said first.
    pub text: String,
}

const UNTITLED: &str = concat!(
    "WITH ",
    key!(),
    "
SELECT c.title, m.parts FROM chats c JOIN messages m ON m.chat_id = c.id
WHERE c.id = (SELECT id FROM key) AND c.owner_id = $2 AND m.role = 'user' AND m.aside_since IS NULL ORDER BY m.seq LIMIT 1"
);

/// The chat, if it is there, somebody has said something in it, and it has no title of its own.
///
/// # Errors
/// Any [`Error`] but an unknown outcome.
pub async fn untitled(db: &Db, owner: &OwnerId, chat: &ChatId) -> Result<Option<Untitled>, Error> {
    let row = db
        .query_opt_idempotent(
            UNTITLED,
            &[(&chat.as_str(), Type::TEXT), (&owner.as_str(), Type::TEXT)],
        )
        .await?;
    Ok(row.and_then(|row| {
        let (title, parts): (String, &str) = (row.get("title"), row.get("parts"));
        let text = first_text(parts);
        (title == from_text(&text).as_str()).then_some(Untitled { title, text })
    }))
}

const RETITLE: &str = concat!(
    "WITH ",
    key!(),
    "
UPDATE chats SET title = $4, title_folded = $5 WHERE id = (SELECT id FROM key) AND owner_id = $2 AND title = $3"
);

/// Ends the job that titles a chat, in one transaction with the better title, if there is one:
/// `new` in place of `old`, which the chat must still have. What the payload said about a person
/// goes. Returns whether the chat got the title.
///
/// # Errors
/// [`StepError`]: the lease was lost, and nothing was written; or the database.
pub async fn finish(
    db: &Db,
    job: &Job,
    owner: &OwnerId,
    chat: &ChatId,
    change: Option<(&str, &Title)>,
) -> Result<bool, StepError> {
    db.transaction(|transaction| async move {
        let mut is_titled = false;
        if let Some((old, new)) = change {
            let changed = transaction
                .execute(
                    RETITLE,
                    &[
                        (&chat.as_str(), Type::TEXT),
                        (&owner.as_str(), Type::TEXT),
                        (&old, Type::TEXT),
                        (&new.as_str(), Type::TEXT),
                        (&new.folded(), Type::TEXT),
                    ],
                )
                .await?;
            is_titled = changed == 1;
        }
        let result = json!({"titled": is_titled}).to_string();
        let done = Progress::Done {
            payload: "{}",
            result: &result,
        };
        if jobs::progress(&transaction, job, done).await? {
            Ok(is_titled)
        } else {
            Err(StepError::LeaseLost)
        }
    })
    .await
}

/// Cut after a whole word where there is one.
fn shorten(line: &str) -> String {
    let line = line.split_whitespace().collect::<Vec<_>>().join(" ");
    let Some((end, _)) = line.char_indices().nth(MAX_CHARS) else {
        return line;
    };
    let cut = line.get(..end).unwrap_or_default();
    let cut = cut.rsplit_once(' ').map_or(cut, |(words, _)| words);
    format!("{}…", cut.trim_end_matches([',', '.', ';', ':']))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::values::DEFAULT_TITLE;

    fn title(text: &str) -> String {
        first(&json!([{"type": "text", "text": text}]).to_string())
            .as_str()
            .to_owned()
    }

    #[test]
    fn a_title_is_the_first_line_cut_after_a_word() {
        assert_eq!(title("\n  How do I  connect?\nThanks"), "How do I connect?");
        let long = title(
            "Please explain to me in detail, how a connection string for DSQL is made and used",
        );
        assert_eq!(
            long,
            "Please explain to me in detail, how a connection string for…"
        );
        assert_eq!(title(&"ä".repeat(200)).chars().count(), MAX_CHARS + 1);
    }

    #[test]
    fn without_text_the_title_is_the_usual_one() {
        assert_eq!(title("   "), DEFAULT_TITLE);
        assert_eq!(
            first(r#"[{"type":"file","url":"x"}]"#).as_str(),
            DEFAULT_TITLE
        );
    }
}
