//! The tool that searches the blog's own posts, which `maintenance` indexes. It only reads what
//! everybody may read on the blog anyway, so a call needs no approval.

use chat_store::posts::{Found, search};
use dsql::Dsql;
use model::Tool;
use serde_json::{Map, Value, json};

use crate::draft::Source;
use crate::settings::ToolLimits;

/// What it is called. A tool of a server has a `_` in its name: the two never meet.
pub(crate) const SEARCH_POSTS: &str = "search-posts";

const DESCRIPTION: &str = "Searches the posts of this blog and gives passages of those that match best, each with its post's \
    title and address. Use it when the user asks about something the blog may have written about, and base the answer on \
    what it gives. It matches words, not meanings: give the few words that a matching passage would have, in the blog's \
    language and in their basic forms, and try others if it gives nothing.";
/// Longest question, in characters; what is longer is cut.
const MAX_QUESTION_CHARS: usize = 500;
const NO_QUESTION: &str = "the input has no text `query`";
const UNAVAILABLE: &str = "the posts cannot be searched for the moment";

/// The index of the blog's posts.
#[derive(Debug, Clone)]
pub(crate) struct Posts(pub(crate) Dsql);

/// What a model is told of the tool.
pub(crate) fn tool() -> Tool {
    Tool {
        name: SEARCH_POSTS.to_owned(),
        description: DESCRIPTION.to_owned(),
        schema: json!({
            "type": "object",
            "properties": {"query": {"type": "string", "description": "Words to look for"}},
            "required": ["query"],
            "additionalProperties": false,
        }),
    }
}

impl Posts {
    /// The passages that match best, and the posts that they are from.
    ///
    /// # Errors
    /// Why there are none, in words for a model and a person.
    pub(crate) async fn call(
        &self,
        input: &Map<String, Value>,
        limits: ToolLimits,
    ) -> Result<(Value, Vec<Source>), String> {
        let question = input.get("query").and_then(Value::as_str);
        let question = question.ok_or_else(|| NO_QUESTION.to_owned())?;
        let question: String = question.chars().take(MAX_QUESTION_CHARS).collect();
        let db = self.0.until(self.0.clock().now() + limits.time);
        let found = search(&db, &question).await.map_err(|error| {
            let cause = error.report();
            tracing::warn!(
                error.cause = cause,
                "the posts could not be searched: {cause}"
            );
            UNAVAILABLE.to_owned()
        })?;
        Ok(told(found, limits.result_bytes))
    }
}

/// What was found, without the worst of it if it would be too long, but for the best passage.
fn told(mut found: Vec<Found>, most: usize) -> (Value, Vec<Source>) {
    let output = loop {
        let passages = found.iter().map(
            |passage| json!({"title": passage.title, "url": passage.url, "text": passage.text}),
        );
        let output = json!({"passages": passages.collect::<Vec<_>>()});
        if found.len() <= 1 || output.to_string().len() <= most {
            break output;
        }
        found.pop();
    };
    let sources = found.into_iter().map(|passage| Source {
        url: passage.url,
        title: Some(passage.title).filter(|title| !title.is_empty()),
    });
    (output, sources.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_be_too_long_is_left_out_with_its_source() {
        let found: Vec<Found> = (0..5)
            .map(|n| Found {
                url: format!("https://b.example/{n}"),
                title: String::new(),
                text: "x".repeat(100),
            })
            .collect();
        let (output, sources) = told(found.clone(), 400);
        assert_eq!(output["passages"].as_array().map(Vec::len), Some(2));
        assert_eq!(sources.len(), 2);
        assert_eq!(sources[0].title, None);
        assert_eq!(told(found, 10).1.len(), 1);
        assert_eq!(told(Vec::new(), 10).0, json!({"passages": []}));
    }
}
