//! What a page says: its title, and its text without what surrounds it. A page's own words are in
//! `<article>`, else in `<main>`, else all of it counts; navigation, forms, scripts and the like
//! are left out.

use std::convert::Infallible;

use html5gum::emitters::default::DefaultEmitter;
use html5gum::{StartTag, Token, Tokenizer};

/// Longest text that is kept, in bytes.
const MAX_TEXT_BYTES: usize = 256 * 1024;
/// Longest title, in characters.
const MAX_TITLE_CHARS: usize = 200;
/// Elements whose contents are not the page's own words.
const LEFT_OUT: [&str; 20] = [
    "aside", "audio", "button", "canvas", "dialog", "footer", "form", "head", "iframe", "nav",
    "noscript", "object", "script", "select", "style", "svg", "template", "textarea", "title",
    "video",
];
/// Elements within a line; every other one begins a line, and ends one.
const IN_LINE: [&str; 28] = [
    "a", "abbr", "b", "bdi", "bdo", "cite", "code", "data", "del", "dfn", "em", "font", "i", "img",
    "ins", "kbd", "mark", "q", "s", "samp", "small", "span", "strong", "sub", "sup", "time", "u",
    "wbr",
];

/// A page.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Page {
    /// Empty if it has none.
    pub(super) title: String,
    /// Its paragraphs, each a line.
    pub(super) text: String,
    /// Whether it asks not to be indexed.
    pub(super) is_hidden: bool,
}

/// Where in the page the reading is.
#[derive(Default)]
struct Place {
    /// The element that is left out, and how often it stands in itself.
    left_out: Option<(String, usize)>,
    article: Region,
    main: Region,
    whole: Region,
    title: Region,
    heading: Region,
    is_hidden: bool,
}

/// A part of a page, while it is read.
#[derive(Default)]
struct Region {
    /// How often its element stands in itself, where the reading is.
    depth: usize,
    text: String,
    /// Whether a space comes before the next word.
    is_apart: bool,
}

impl Region {
    fn say(&mut self, said: &str) {
        for c in said.chars() {
            if c.is_whitespace() {
                self.is_apart = true;
            } else if self.text.len() < MAX_TEXT_BYTES && c != '\0' {
                if self.is_apart && !self.text.is_empty() && !self.text.ends_with('\n') {
                    self.text.push(' ');
                }
                self.is_apart = false;
                self.text.push(c);
            }
        }
    }

    fn end_line(&mut self) {
        if !self.text.is_empty() && !self.text.ends_with('\n') {
            self.text.push('\n');
        }
    }

    fn enter(&mut self) {
        self.depth += 1;
    }

    fn leave(&mut self) {
        self.depth = self.depth.saturating_sub(1);
    }

    fn is_blank(&self) -> bool {
        self.text.trim().is_empty()
    }
}

/// Reads a page, or a piece of one.
pub(super) fn read(html: &str) -> Page {
    let mut emitter = DefaultEmitter::default();
    emitter.naively_switch_states(true); // a script's text is no tags
    let mut place = Place::default();
    for token in Tokenizer::new_with_emitter(html, emitter) {
        let token: Result<_, Infallible> = token;
        match token {
            Ok(Token::StartTag(tag)) => place.open(&tag),
            Ok(Token::EndTag(tag)) => place.close(&String::from_utf8_lossy(&tag.name)),
            Ok(Token::String(text)) => place.say(&String::from_utf8_lossy(&text)),
            Ok(_) => {}
            Err(never) => match never {},
        }
    }
    let Place {
        article,
        main,
        whole,
        title,
        heading,
        is_hidden,
        ..
    } = place;
    let titles = [heading, title].into_iter();
    let titles = titles.map(|region| region.text.replace('\n', " "));
    let mut titles = titles.map(|title| shortened(title.trim()));
    let own = [article, main]
        .into_iter()
        .find(|region| !region.is_blank());
    Page {
        title: titles.find(|title| !title.is_empty()).unwrap_or_default(),
        text: own.unwrap_or(whole).text,
        is_hidden,
    }
}

/// A title of at most this many characters.
pub(super) fn shortened(title: &str) -> String {
    title
        .chars()
        .filter(|c| *c != '\0')
        .take(MAX_TITLE_CHARS)
        .collect()
}

/// A text as HTML.
pub(super) fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('\n', "<br>")
}

impl Place {
    fn open(&mut self, tag: &StartTag<()>) {
        let name = String::from_utf8_lossy(&tag.name);
        if let Some((left_out, depth)) = &mut self.left_out {
            if *left_out == name {
                *depth += 1;
            }
            // A page without `</head>` has a body all the same.
            if *left_out == "head" && name == "body" {
                self.left_out = None;
            }
        }
        match &*name {
            "title" => self.title.enter(),
            "meta" if asks_not_to_be_indexed(tag) => self.is_hidden = true,
            "article" => self.article.enter(),
            "main" => self.main.enter(),
            "h1" if self.heading.is_blank() => self.heading.enter(),
            _ => {}
        }
        self.break_line(&name);
        let is_outer_header = name == "header" && self.article.depth + self.main.depth == 0;
        let is_left_out = LEFT_OUT.contains(&&*name) || is_outer_header;
        // Of these, only a drawing can end where it begins.
        let is_over = tag.self_closing && name == "svg";
        if self.left_out.is_none() && is_left_out && !is_over {
            self.left_out = Some((name.into_owned(), 1));
        }
    }

    fn close(&mut self, name: &str) {
        if let Some((left_out, depth)) = &mut self.left_out
            && left_out == name
        {
            *depth -= 1;
            if *depth == 0 {
                self.left_out = None;
            }
        }
        self.break_line(name);
        match name {
            "title" => self.title.leave(),
            "article" => self.article.leave(),
            "main" => self.main.leave(),
            "h1" => self.heading.leave(),
            _ => {}
        }
    }

    fn say(&mut self, said: &str) {
        // The title stands in what is left out.
        if self.title.depth > 0 {
            self.title.say(said);
        }
        if self.left_out.is_some() {
            return;
        }
        for region in self.regions() {
            region.say(said);
        }
    }

    fn break_line(&mut self, name: &str) {
        if self.left_out.is_none() && !IN_LINE.contains(&name) {
            for region in self.regions() {
                region.end_line();
            }
        }
    }

    /// The parts of the page that the reading is in.
    fn regions(&mut self) -> impl Iterator<Item = &mut Region> {
        let parts = [&mut self.article, &mut self.main, &mut self.heading];
        let parts = parts.into_iter().filter(|region| region.depth > 0);
        parts.chain(std::iter::once(&mut self.whole))
    }
}

fn asks_not_to_be_indexed(tag: &StartTag<()>) -> bool {
    let of = |name: &str| {
        let value = tag.attributes.get(name.as_bytes());
        value.map(|value| String::from_utf8_lossy(value).to_ascii_lowercase())
    };
    of("name").as_deref() == Some("robots")
        && of("content").is_some_and(|content| {
            content
                .split(',')
                .any(|word| matches!(word.trim(), "noindex" | "none"))
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_says_what_its_article_says() {
        let page = read(
            "<!doctype html><html><head><title>Post &mdash; Blog</title><style>p{}</style></head><body>
            <header><h1>Blog</h1></header><nav>Home <nav>In it</nav> About</nav>
            <main>Posts <article><header><h1>A <em>post</em></h1><time>May</time></header>
            <p>One  <b>t</b>wo\n three&nbsp;&lt;four&gt;</p><pre>let x = 1;\nlet y = 2;</pre>
            <script>if (a < b) { '</p>' }</script><ul><li>five<li>six</ul><svg><text>no</text></svg><img alt=no></article>
            <aside>Ads</aside></main><footer>Imprint</footer></body></html>",
        );
        assert_eq!(page.title, "A post");
        assert_eq!(
            page.text,
            "A post\nMay\nOne two three <four>\nlet x = 1; let y = 2;\nfive\nsix\n"
        );
        assert!(!page.is_hidden);
    }

    #[test]
    fn without_an_article_the_main_part_counts_and_without_one_all_of_it() {
        let page = read("<title>T</title><body>x<main><article></article><p>y</main>z");
        assert_eq!((page.title.as_str(), page.text.as_str()), ("T", "y\n"));
        assert_eq!(read("<p>a</p>b<br>c").text, "a\nb\nc");
        assert_eq!(read(&escaped("a < b & c\nd")).text, "a < b & c\nd");
        assert_eq!(read("<head><title>t</title><body>b").text, "b");
        assert_eq!(read("<iframe/><div/>a</nav></main>b").text, "");
    }

    #[test]
    fn a_page_may_ask_not_to_be_indexed() {
        let asks = |meta: &str| read(&format!("<head>{meta}</head>x")).is_hidden;
        assert!(asks(r#"<META NAME="Robots" content="follow, NOINDEX">"#));
        assert!(asks("<meta name=robots content=none>"));
        assert!(!asks(r#"<meta name=robots content="index, nofollow">"#));
        assert!(!asks("<meta name=description content=noindex>"));
    }

    #[test]
    fn garbage_costs_nothing_but_its_length() {
        let page = read(&format!("{}x\0y", "<div><article><p".repeat(50_000)));
        assert!(page.text.len() < 100, "{}", page.text.len());
        let page = read(&"<p>word ".repeat(100_000));
        assert!(page.text.len() <= MAX_TEXT_BYTES + 1);
        let page = read(&format!("<h1>{}</h1>", "é".repeat(1_000)));
        assert_eq!(page.title.chars().count(), MAX_TITLE_CHARS);
    }
}
