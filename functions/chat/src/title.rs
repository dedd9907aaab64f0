//! A chat's title, taken from what the visitor says first: there at once, and free.

use chat_store::Title;
use serde_json::Value;

/// Longest title made here, in characters.
const MAX_CHARS: usize = 60;

/// The title for a chat that begins with these parts.
pub(crate) fn of(parts: &str) -> Title {
    let parts: Value = serde_json::from_str(parts).unwrap_or_default();
    let text = parts
        .as_array()
        .into_iter()
        .flatten()
        .find_map(|part| part.get("text").and_then(Value::as_str))
        .unwrap_or_default();
    let line = text
        .lines()
        .map(str::trim)
        .find(|line| !line.is_empty())
        .unwrap_or_default();
    Title::parse(&shorten(line)).unwrap_or_default()
}

/// Cut behind a whole word where there is one.
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

    fn title(text: &str) -> String {
        of(&serde_json::json!([{"type": "text", "text": text}]).to_string())
            .as_str()
            .to_owned()
    }

    #[test]
    fn a_title_is_the_first_line_cut_behind_a_word() {
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
        assert_eq!(title("   "), chat_store::DEFAULT_TITLE);
        assert_eq!(
            of(r#"[{"type":"file","url":"x"}]"#).as_str(),
            chat_store::DEFAULT_TITLE
        );
    }
}
