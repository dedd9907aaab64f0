//! Fuzz targets: what a blog sends, its listing and its pages.

use fuzzing::{Corpus, Seen, check, prop_assert, prop_assert_eq};

use super::listing::{Listing, MAX_ENTRIES};
use super::{blog, page, passages};

const LISTINGS: [&str; 5] = [
    r#"<?xml version="1.0"?><rss version="2.0" xmlns:content="c"><channel><item><title>A &amp; B</title><link>/a</link><guid isPermaLink="false">1</guid><pubDate>d</pubDate><content:encoded><![CDATA[<p>a</p>]]></content:encoded></item></channel></rss>"#,
    r#"<feed xmlns="http://www.w3.org/2005/Atom"><entry><title>A</title><link rel="alternate" href="/a"/><updated>u</updated><content type="xhtml"><div><p>a &lt; b<br/></p></div></content></entry></feed>"#,
    r#"<!DOCTYPE urlset [<!ENTITY a "b">]><urlset><url><loc>/a&a;</loc><lastmod>2026-01-01</lastmod></url><url><loc>&#x2f;b</loc></url></urlset>"#,
    "<sitemapindex><sitemap><loc>/a.xml</loc></sitemap></sitemapindex>",
    r#"{"version":"https://jsonfeed.org/version/1.1","items":[{"url":"/a","title":"A","content_html":"<p>a</p>","date_modified":"d"},{"url":"/b","content_text":"a < b"}]}"#,
];
const TAGS: [&str; 14] = [
    "<item>",
    "</item>",
    "<url>",
    "</url>",
    "<loc>",
    "</loc>",
    "<entry>",
    "<content type=\"html\">",
    "]]>",
    "<![CDATA[",
    "&#0;",
    "&amp;",
    "<!--",
    "<?",
];

#[test]
fn a_listing_names_addresses_and_no_more_than_it_may() {
    let corpus = Corpus::new(LISTINGS).words(TAGS);
    check("a listing of a blog", corpus.bytes(), |bytes| {
        let addresses: Vec<String> = match blog::read(&bytes) {
            Err(_) => return Ok(Seen::Refused),
            Ok(Listing::Sitemaps(addresses)) => addresses,
            Ok(Listing::Posts { posts, .. }) => posts.into_iter().map(|post| post.url).collect(),
        };
        prop_assert!(addresses.len() <= MAX_ENTRIES);
        let text = String::from_utf8_lossy(&bytes);
        let said: usize = addresses.iter().map(String::len).sum();
        prop_assert!(said <= text.len(), "nothing grows");
        Ok(Seen::Accepted)
    });
}

#[test]
fn a_page_says_lines_of_words_and_each_passage_has_them() {
    let page = "<!doctype html><html><head><title>T &mdash; B</title><meta name=robots content=index></head><body><nav>n</nav>
        <main><article><h1>A <em>b</em></h1><p>One<br>two&nbsp;<b>t</b>hree</p><script>if (a < b) {}</script><ul><li>x<li>y</ul>
        </article></main><footer>f</footer></body></html>";
    let words = [
        "<article>",
        "</article>",
        "<main>",
        "</main>",
        "<nav>",
        "</nav>",
        "<h1>",
        "</h1>",
        "<script>",
        "</script>",
        "<svg/>",
        "<title>",
        "</title>",
        "&#0;",
        "&nbsp;",
        "\0",
        "<!--",
        "-->",
    ];
    let corpus = Corpus::new([page, "<p>a", "a < b & c"]).words(words);
    check("a page of a blog", corpus.text(), |html| {
        let page = page::read(&html);
        prop_assert!(!page.text.contains('\0') && !page.title.contains(['\0', '\n']));
        for line in page.text.lines() {
            prop_assert!(!line.is_empty() && line.trim() == line, "{line:?}");
        }
        let plain = |text: &str| text.split_whitespace().collect::<String>();
        prop_assert_eq!(
            plain(&passages::cut(&page.text).concat()),
            plain(&page.text)
        );
        Ok(if page.text.is_empty() {
            Seen::Refused
        } else {
            Seen::Accepted
        })
    });
}
