//! JSON Feed, versions 1 and 1.1.

use serde::Deserialize;

use super::listing::{Listing, MAX_ENTRIES, Post};
use super::page;
use super::site::SiteError;

const PREFIX: &str = "https://jsonfeed.org/version/";

#[derive(Deserialize)]
struct Feed {
    version: String,
    items: Vec<Item>,
}

#[derive(Deserialize)]
struct Item {
    url: Option<String>,
    title: Option<String>,
    content_html: Option<String>,
    content_text: Option<String>,
    date_modified: Option<String>,
    date_published: Option<String>,
}

pub(super) fn read(text: &str) -> Result<Listing, SiteError> {
    let not_read = SiteError::Unreadable("not a JSON Feed");
    let Ok(feed) = serde_json::from_str::<Feed>(text) else {
        return Err(not_read);
    };
    if !feed.version.starts_with(PREFIX) {
        return Err(not_read);
    }
    let posts = feed.items.into_iter().take(MAX_ENTRIES).filter_map(|item| {
        let text = item.content_text.map(|text| page::escaped(&text));
        Some(Post {
            url: item.url?,
            title: item.title.unwrap_or_default(),
            changed: item.date_modified.or(item.date_published),
            content: item.content_html.or(text),
        })
    });
    Ok(Listing::Posts {
        posts: posts.collect(),
        is_whole: false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_json_feed_has_posts_with_their_texts() {
        let feed = r#"{"version": "https://jsonfeed.org/version/1.1", "title": "b", "items": [
            {"id": "1", "url": "https://b.example/1", "title": "One", "content_html": "<p>x</p>", "date_published": "d"},
            {"id": "2", "url": "https://b.example/2", "content_text": "a < b", "date_modified": "m", "date_published": "d"},
            {"id": "3"}]}"#;
        let Listing::Posts { posts, is_whole } = read(feed).unwrap() else {
            panic!("posts")
        };
        assert!(!is_whole);
        assert_eq!(posts.len(), 2);
        assert_eq!(posts[0].content.as_deref(), Some("<p>x</p>"));
        assert_eq!(posts[1].content.as_deref(), Some("a &lt; b"));
        assert_eq!(posts[1].changed.as_deref(), Some("m"));
        for other in [r#"{"items": []}"#, r#"{"version": "1", "items": []}"#, "{"] {
            assert!(read(other).is_err(), "{other}");
        }
    }
}
