//! RSS 2.0, Atom, sitemaps and indexes of sitemaps. Read event by event, so that depth costs
//! nothing; entities that a document declares itself are left out, so none grows; a document that
//! breaks off is refused whole.

use std::fmt::Write as _;

use quick_xml::Reader;
use quick_xml::escape::{resolve_predefined_entity, unescape};
use quick_xml::events::{BytesRef, BytesStart, Event};

use super::listing::{Listing, MAX_ENTRIES, Post};
use super::page;
use super::site::SiteError;

const NOT_XML: SiteError = SiteError::Unreadable("not well-formed XML");
const UNKNOWN: SiteError = SiteError::Unreadable("no RSS, Atom, sitemap or JSON Feed");

/// What kind of document it is, by its root.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Rss,
    Atom,
    Sitemap,
    Index,
}

impl Kind {
    fn of(root: &str) -> Option<Self> {
        match root {
            "rss" | "RDF" => Some(Self::Rss),
            "feed" => Some(Self::Atom),
            "urlset" => Some(Self::Sitemap),
            "sitemapindex" => Some(Self::Index),
            _ => None,
        }
    }

    /// What holds one entry.
    fn entry(self) -> &'static str {
        match self {
            Self::Rss => "item",
            Self::Atom => "entry",
            Self::Sitemap => "url",
            Self::Index => "sitemap",
        }
    }
}

/// A part of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Field {
    Url,
    /// An address, unless it says that it is not one.
    Guid,
    Title,
    Changed,
    /// When it was published, which stands for when it was changed.
    Published,
    /// HTML as a text.
    Html,
    /// A text that is none, or XHTML.
    Plain,
}

impl Field {
    fn is_content(self) -> bool {
        matches!(self, Self::Html | Self::Plain)
    }
}

/// The entry that is being read.
#[derive(Default)]
struct Entry {
    post: Post,
    guid: Option<String>,
    published: Option<String>,
    content: Option<String>,
}

impl Entry {
    fn set(&mut self, field: Field, text: &str) {
        let text = text.trim().to_owned();
        if text.is_empty() {
            return;
        }
        match field {
            Field::Url => self.post.url = text,
            Field::Guid => self.guid = Some(text),
            Field::Title => self.post.title = text,
            Field::Changed => self.post.changed = Some(text),
            Field::Published => self.published = Some(text),
            Field::Html | Field::Plain => self.content = Some(text),
        }
    }

    fn finish(self) -> Option<Post> {
        let mut post = self.post;
        if post.url.is_empty() {
            post.url = self.guid.unwrap_or_default();
        }
        post.changed = post.changed.or(self.published);
        post.content = self.content;
        (!post.url.is_empty()).then_some(post)
    }
}

/// Where in the document the reading is.
struct Place {
    kind: Kind,
    depth: usize,
    /// The entry, with its depth.
    entry: Option<(Entry, usize)>,
    /// The field, with its depth, and its text so far.
    field: Option<(Field, usize, String)>,
    posts: Vec<Post>,
}

pub(super) fn read(text: &str) -> Result<Listing, SiteError> {
    let mut reader = Reader::from_str(text);
    let mut place: Option<Place> = None;
    loop {
        let event = reader.read_event().map_err(|_| NOT_XML)?;
        let Some(place) = &mut place else {
            match event {
                Event::Start(root) => {
                    let kind = Kind::of(local(&root)).ok_or(UNKNOWN)?;
                    place = Some(Place {
                        kind,
                        depth: 1,
                        entry: None,
                        field: None,
                        posts: Vec::new(),
                    });
                }
                Event::Eof | Event::Empty(_) => return Err(UNKNOWN),
                _ => {}
            }
            continue;
        };
        match event {
            Event::Start(start) => place.open(&start),
            Event::Empty(start) => {
                place.open(&start);
                place.close(local(&start));
            }
            Event::End(end) => {
                let name = end.local_name();
                place.close(name.as_ref());
            }
            Event::Text(text) => place.say(&text.xml10_content()),
            Event::CData(text) => place.say(&text.xml10_content()),
            Event::GeneralRef(reference) => place.say(&resolved(&reference)),
            Event::Eof => break,
            _ => {}
        }
        if place.depth == 0 || place.posts.len() >= MAX_ENTRIES {
            break;
        }
    }
    let place = place.filter(|place| place.depth == 0 || place.posts.len() >= MAX_ENTRIES);
    let Place { kind, posts, .. } = place.ok_or(NOT_XML)?;
    let is_cut = posts.len() >= MAX_ENTRIES;
    Ok(match kind {
        Kind::Index => Listing::Sitemaps(posts.into_iter().map(|post| post.url).collect()),
        _ => Listing::Posts {
            posts,
            is_whole: kind == Kind::Sitemap && !is_cut,
        },
    })
}

impl Place {
    fn open(&mut self, start: &BytesStart<'_>) {
        self.depth += 1;
        if let Some((field, _, text)) = &mut self.field {
            // Marks that stand in the document itself are read with the text.
            if field.is_content() {
                let _ = write!(text, "<{}>", local(start)); // a String takes everything
            }
            return;
        }
        match &mut self.entry {
            None if local(start) == self.kind.entry() => {
                self.entry = Some((Entry::default(), self.depth));
            }
            Some((entry, depth)) if *depth + 1 == self.depth => {
                if let Some(field) = field(self.kind, start, entry) {
                    self.field = Some((field, self.depth, String::new()));
                }
            }
            _ => {}
        }
    }

    fn close(&mut self, name: &str) {
        match self.field.take() {
            Some((field, depth, text)) if depth == self.depth => {
                if let Some((entry, _)) = &mut self.entry {
                    entry.set(field, &text);
                }
            }
            Some((field, depth, mut text)) => {
                if field.is_content() {
                    let _ = write!(text, "</{name}>"); // a String takes everything
                }
                self.field = Some((field, depth, text));
            }
            None => {}
        }
        if let Some((_, depth)) = &self.entry
            && *depth == self.depth
            && let Some((entry, _)) = self.entry.take()
        {
            self.posts.extend(entry.finish());
        }
        self.depth -= 1;
    }

    fn say(&mut self, said: &str) {
        if let Some((field, _, text)) = &mut self.field {
            if *field == Field::Plain {
                text.push_str(&page::escaped(said));
            } else {
                text.push_str(said);
            }
        }
    }
}

/// A name without its prefix.
fn local<'a>(start: &'a BytesStart<'_>) -> &'a str {
    let name = start.name().into_inner();
    name.rsplit(':').next().unwrap_or(name)
}

/// Which part of an entry an element is; an Atom link says it by an attribute alone.
fn field(kind: Kind, start: &BytesStart<'_>, entry: &mut Entry) -> Option<Field> {
    let name = start.name();
    Some(match (kind, name.as_ref()) {
        (Kind::Sitemap | Kind::Index, name) => match name.rsplit(':').next()? {
            "loc" => Field::Url,
            "lastmod" => Field::Changed,
            _ => return None,
        },
        (Kind::Rss, "link") => Field::Url,
        (Kind::Rss, "guid") if attribute(start, "isPermaLink").as_deref() != Some("false") => {
            Field::Guid
        }
        (Kind::Rss | Kind::Atom, "title" | "atom:title") => Field::Title,
        (Kind::Rss, "pubDate" | "dc:date") => Field::Published,
        (Kind::Rss, "content:encoded") => Field::Html,
        (Kind::Atom, "updated") | (_, "atom:updated") => Field::Changed,
        (Kind::Atom, "content" | "atom:content") if attribute(start, "src").is_none() => {
            match attribute(start, "type").as_deref() {
                Some("html" | "text/html") => Field::Html,
                None | Some("text" | "text/plain" | "xhtml") => Field::Plain,
                Some(_) => return None,
            }
        }
        (Kind::Atom, "link" | "atom:link") => {
            let relation = attribute(start, "rel");
            if relation.is_none_or(|relation| relation == "alternate") {
                entry.set(Field::Url, &attribute(start, "href").unwrap_or_default());
            }
            return None;
        }
        _ => return None,
    })
}

fn attribute(start: &BytesStart<'_>, name: &str) -> Option<String> {
    let attribute = start.try_get_attribute(name).ok()??;
    let value = unescape(&attribute.value).ok()?;
    Some(value.into_owned())
}

/// What a reference means; one that the document declares itself means nothing.
fn resolved(reference: &BytesRef<'_>) -> String {
    if let Ok(Some(sign)) = reference.resolve_char_ref() {
        return sign.to_string();
    }
    let name = reference.xml10_content();
    resolve_predefined_entity(&name).unwrap_or(" ").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn posts(text: &str) -> (Vec<Post>, bool) {
        let Listing::Posts { posts, is_whole } = read(text).unwrap() else {
            panic!("posts")
        };
        (posts, is_whole)
    }

    fn post(url: &str, title: &str, changed: Option<&str>, content: Option<&str>) -> Post {
        Post {
            url: url.to_owned(),
            title: title.to_owned(),
            changed: changed.map(str::to_owned),
            content: content.map(str::to_owned),
        }
    }

    #[test]
    fn an_rss_feed_has_links_titles_dates_and_perhaps_texts() {
        let (posts, is_whole) = posts(
            r#"<?xml version="1.0"?><!DOCTYPE rss><rss version="2.0" xmlns:atom="a" xmlns:content="c" xmlns:media="m">
            <channel><title>Blog</title><link>https://b.example/</link><atom:link href="x" rel="self"/>
            <item><title>A &amp; B &#x2014; &bomb;c</title><link> https://b.example/a </link><media:title>no</media:title>
              <pubDate>Mon</pubDate><description>short</description><atom:link href="no"/>
              <content:encoded><![CDATA[<p>a &lt; b</p>]]></content:encoded></item>
            <item><guid isPermaLink="true">https://b.example/g</guid></item>
            <item><guid isPermaLink="false">tag:1</guid><title>nowhere</title></item>
            </channel></rss>"#,
        );
        assert!(!is_whole);
        assert_eq!(
            posts,
            [
                post(
                    "https://b.example/a",
                    "A & B \u{2014}  c",
                    Some("Mon"),
                    Some("<p>a &lt; b</p>")
                ),
                post("https://b.example/g", "", None, None),
            ]
        );
    }

    #[test]
    fn an_atom_feed_has_texts_in_three_forms() {
        let (posts, _) = posts(
            r#"<feed xmlns="http://www.w3.org/2005/Atom"><title>Blog</title><link href="https://b.example/"/>
            <entry><title>H</title><link rel="edit" href="no"/><link rel="alternate" href="/h?a=1&amp;b=2"/>
              <updated>U</updated><content type="html">&lt;p&gt;a &amp;lt; b&lt;/p&gt;</content></entry>
            <entry><link href="/x"/><content type="xhtml"><div xmlns="x"><p>a &lt; b<br/></p></div></content></entry>
            <entry><link href="/t"/><content>a &lt; b</content></entry>
            <entry><link href="/s"/><content src="/other" type="text/html"/><summary>no</summary></entry></feed>"#,
        );
        assert_eq!(
            posts,
            [
                post("/h?a=1&b=2", "H", Some("U"), Some("<p>a &lt; b</p>")),
                post("/x", "", None, Some("<div><p>a &lt; b<br></br></p></div>")),
                post("/t", "", None, Some("a &lt; b")),
                post("/s", "", None, None),
            ]
        );
    }

    #[test]
    fn a_sitemap_is_whole_and_an_index_names_others() {
        let (posts, is_whole) = posts(
            r#"<urlset xmlns="s" xmlns:image="i"><url><loc>https://b.example/a</loc><lastmod>2026-01-01</lastmod>
            <image:image><image:loc>https://b.example/a.png</image:loc></image:image></url></urlset>"#,
        );
        assert!(is_whole);
        assert_eq!(
            posts,
            [post("https://b.example/a", "", Some("2026-01-01"), None)]
        );
        let index = "<s:sitemapindex xmlns:s='s'><s:sitemap><s:loc>https://b.example/1.xml</s:loc></s:sitemap></s:sitemapindex>";
        assert_eq!(
            read(index).unwrap(),
            Listing::Sitemaps(vec!["https://b.example/1.xml".to_owned()])
        );
    }

    #[test]
    fn what_is_no_listing_or_breaks_off_is_refused_and_a_bomb_stays_small() {
        for text in [
            "",
            "x",
            "<html></html>",
            "<urlset>",
            "<urlset><url><loc>https://b.example/a</loc></url>",
            "<urlset><url></urlset>",
            "<urlset><url><loc>a</url></loc></urlset>",
            "<urlset/>",
        ] {
            assert!(read(text).is_err(), "{text}");
        }
        let (posts, _) = posts(
            r#"<!DOCTYPE urlset [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;"><!ENTITY x SYSTEM "file:///etc/passwd">]>
            <urlset><url><loc>/&b;&x;z</loc></url></urlset>"#,
        );
        assert_eq!(posts[0].url, "/  z");
        let deep = format!(
            "<urlset>{}{}</urlset>",
            "<a>".repeat(200_000),
            "</a>".repeat(200_000)
        );
        assert!(read(&deep).is_ok());
        let long = "<url><loc>/a</loc></url>".repeat(MAX_ENTRIES + 1);
        let Ok(Listing::Posts { posts, is_whole }) = read(&format!("<urlset>{long}</urlset>"))
        else {
            panic!("posts")
        };
        assert_eq!((posts.len(), is_whole), (MAX_ENTRIES, false));
    }
}
