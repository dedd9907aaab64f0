//! The index of the blog's posts: the real `maintenance`, against a blog on loopback.

use std::time::Duration;

use chat_store::posts::{Found, MAX_FOUND, search};
use dsql::{Db, ErrorKind, Param, Type};
use serde_json::{Value, json};
use tests::blog::Blog;
use tests::function::{Function, Launch};
use tests::template::application_with;

use crate::stack::Stack;
use crate::support::{database, number, sample};

/// What a run may take here.
pub(crate) const RUN: Duration = Duration::from_secs(120);
/// Words whose text is not a post's, passages too, and texts that nobody clears.
pub(crate) const STRAY: &str = "\
SELECT (SELECT count(*) FROM post_words w WHERE NOT EXISTS (SELECT FROM posts p WHERE p.text_id = w.text_id))
    + (SELECT count(*) FROM post_passages s WHERE NOT EXISTS (SELECT FROM posts p WHERE p.text_id = s.text_id))
    + (SELECT count(*) FROM posts WHERE leftover_id IS NOT NULL)";

/// A database with the functions' tables.
pub(crate) struct Site {
    stack: Stack,
}

impl Site {
    pub(crate) async fn start() -> Self {
        Self {
            stack: Stack::start().await,
        }
    }

    /// Makes it so much later for the index.
    pub(crate) async fn age(&self, by: &'static str) {
        for sql in [
            "UPDATE posts SET check_at = check_at - $1::text::interval",
            "UPDATE post_listings SET lease_until = lease_until - $1::text::interval",
        ] {
            let params: [Param<'_>; 1] = [(&by, Type::TEXT)];
            self.admin().execute(sql, &params).await.unwrap();
        }
    }

    /// How many sessions there are.
    pub(crate) fn sessions(&self) -> u64 {
        self.stack.server.stats().connections_open
    }

    pub(crate) fn launch(&self, listing: &str) -> Launch {
        self.stack.launch("maintenance").env("BLOG_FEED", listing)
    }

    /// The database as those see it who search.
    pub(crate) fn reader(&self) -> Db {
        self.stack.database("chat")
    }

    pub(crate) fn admin(&self) -> Db {
        database(&self.stack.server)
    }
}

pub(crate) async fn index(function: &Function) -> Value {
    let event = sample("maintenance", "index-posts").to_string();
    let report = function.invoke(event, RUN).await.response();
    serde_json::from_slice(&report).unwrap()
}

/// What a run did: posts written, unchanged, removed, failed.
pub(crate) fn counts(report: &Value) -> [u64; 4] {
    ["written", "unchanged", "removed", "failed"].map(|name| report[name].as_u64().unwrap())
}

async fn found(db: &Db, question: &str) -> Vec<Found> {
    search(db, question).await.unwrap()
}

/// The paths of what was found.
pub(crate) async fn paths(db: &Db, question: &str) -> Vec<String> {
    let found = found(db, question).await;
    let path = |post: &Found| post.url.splitn(4, '/').nth(3).unwrap().to_owned();
    found.iter().map(path).collect()
}

/// What the metrics of each run say, in order.
pub(crate) async fn indexed(function: &Function) -> Vec<u64> {
    let lines = function.end().await;
    let lines = lines.iter().map(|line| serde_json::from_str(line).unwrap());
    lines
        .filter_map(|line: Value| line["PostsIndexed"].as_u64())
        .collect()
}

#[tokio::test]
async fn the_posts_of_a_sitemap_are_indexed_in_several_runs_and_then_only_asked_about() {
    let site = Site::start().await;
    let blog = Blog::with_posts(200).await;
    let function = site.launch(&blog.url("/sitemap.xml")).start().await;
    let first = index(&function).await;
    assert_eq!(counts(&first), [100, 0, 0, 0], "{first}");
    assert_eq!(
        (&first["listed"], &first["complete"]),
        (&json!(200), &json!(false))
    );
    let second = index(&function).await;
    assert_eq!(counts(&second), [100, 0, 0, 0], "{second}");
    assert_eq!(second["complete"], true);

    let reader = site.reader();
    let [post] = &*found(&reader, "SUBJECT123?").await else {
        panic!("one post")
    };
    assert_eq!(post.url, blog.url("/posts/123"));
    assert_eq!(post.title, "Post number 123");
    assert_eq!(
        post.text,
        "Post number 123\nThis is about subject123 and nothing else. Every post has these words."
    );
    assert_eq!(found(&reader, "every").await.len(), MAX_FOUND);
    for unsaid in ["navigation", "imprint", "script", "nowhere", "", "…"] {
        assert!(found(&reader, unsaid).await.is_empty(), "{unsaid}");
    }

    blog.requests();
    let third = index(&function).await;
    assert_eq!(counts(&third), [0, 0, 0, 0], "{third}");
    assert_eq!(blog.requests(), ["/sitemap.xml 304"]);
    // After a week each is asked about, and says that it is the same.
    site.age("8 days").await;
    let fourth = index(&function).await;
    assert_eq!(counts(&fourth), [0, 100, 0, 0], "{fourth}");
    let requests = blog.requests();
    assert!(
        requests.iter().all(|line| line.ends_with(" 304")),
        "{requests:?}"
    );
    assert_eq!(number(&site.admin(), STRAY).await, 0);
    assert_eq!(indexed(&function).await, [1, 1, 1, 1]);
}

#[tokio::test]
async fn a_changed_post_is_indexed_again_and_one_that_is_gone_is_forgotten() {
    let site = Site::start().await;
    let blog = Blog::with_posts(10).await;
    let function = site.launch(&blog.url("/sitemap.xml")).start().await;
    index(&function).await;
    let (reader, admin) = (site.reader(), site.admin());
    blog.put_post(3, "Another title", "It is about a novelty.");
    blog.remove("/posts/6");
    let hidden =
        "<html><head><meta name='robots' content='noindex'></head><body>subject7</body></html>";
    blog.put("/posts/7", "text/html", hidden);
    blog.put_sitemap((0..10).filter(|n| *n != 5), "2026-02-02");
    let report = index(&function).await;
    // Listed no more, not there, and not to be indexed.
    assert_eq!(counts(&report), [1, 6, 3, 0], "{report}");
    assert_eq!(paths(&reader, "novelty").await, ["posts/3"]);
    assert_eq!(paths(&reader, "another title").await, ["posts/3"]);
    for gone in ["subject3", "subject5", "subject6", "subject7"] {
        assert!(paths(&reader, gone).await.is_empty(), "{gone}");
    }
    assert_eq!(number(&admin, STRAY).await, 0);

    // A host that lists nothing is one that fails.
    blog.put_sitemap([], "2026-02-02");
    let report = index(&function).await;
    assert_eq!(report["unread"], "no post of this host is listed");
    assert_eq!(paths(&reader, "novelty").await, ["posts/3"]);
    // Another blog has other posts.
    let other = Blog::with_posts(1).await;
    let function = site.launch(&other.url("/sitemap.xml")).start().await;
    let report = index(&function).await;
    assert_eq!(report["written"], 1, "{report}");
    assert!(paths(&reader, "novelty").await.is_empty());
    let [post] = &*found(&reader, "subject0").await else {
        panic!("one post")
    };
    assert_eq!(post.url, other.url("/posts/0"));
    assert_eq!(number(&admin, "SELECT count(*) FROM posts").await, 1);
    assert_eq!(number(&admin, STRAY).await, 0);
}

/// An RSS feed with these items.
fn feed(items: &str) -> String {
    format!(
        r#"<rss version="2.0" xmlns:content="http://purl.org/rss/1.0/modules/content/"><channel>{items}</channel></rss>"#
    )
}

#[tokio::test]
async fn a_feed_says_nothing_of_posts_that_it_lists_no_more() {
    let site = Site::start().await;
    let blog = Blog::with_posts(3).await;
    let item = |n: usize, content: &str| {
        let url = blog.url(&format!("/posts/{n}"));
        format!("<item><title>Item {n}</title><link>{url}</link>{content}</item>")
    };
    let whole =
        "<content:encoded><![CDATA[<p>All of it: <b>porcelain</b>.</p>]]></content:encoded>";
    blog.put(
        "/feed",
        "application/rss+xml",
        // A NUL, which PostgreSQL's texts cannot hold, and a date without end.
        feed(
            &[
                item(0, whole),
                item(1, &format!("<pubDate>\0{}</pubDate>", "x".repeat(9_999))),
            ]
            .concat(),
        ),
    );
    let function = site.launch(&blog.url("/feed")).start().await;
    let report = index(&function).await;
    assert_eq!(counts(&report), [2, 0, 0, 0], "{report}");
    assert_eq!(
        blog.requests(),
        ["/feed 200", "/posts/1 200"],
        "the rest is in the feed"
    );
    let reader = site.reader();
    let [post] = &*found(&reader, "porcelain").await else {
        panic!("one post")
    };
    assert_eq!(
        (post.title.as_str(), post.text.as_str()),
        ("Item 0", "All of it: porcelain.")
    );

    blog.put("/feed", "application/rss+xml", feed(&item(2, "")));
    let report = index(&function).await;
    assert_eq!(counts(&report), [1, 0, 0, 0], "{report}");
    assert_eq!(paths(&reader, "subject1").await, ["posts/1"]);
    // What is gone is seen when its turn comes.
    blog.remove("/posts/1");
    site.age("8 days").await;
    let report = index(&function).await;
    assert_eq!(counts(&report), [1, 1, 1, 0], "{report}");
    assert_eq!(
        paths(&reader, "subject0").await,
        ["posts/0"],
        "from its page now"
    );
    assert!(paths(&reader, "subject1").await.is_empty());
    assert_eq!(number(&site.admin(), STRAY).await, 0);
}

#[tokio::test]
async fn every_form_of_a_listing_is_read_and_nothing_of_another_host() {
    let site = Site::start().await;
    let blog = Blog::with_posts(6).await;
    let elsewhere = Blog::with_posts(1).await;
    let post = |n: usize| blog.url(&format!("/posts/{n}"));
    let foreign = elsewhere.url("/posts/0");
    blog.put(
        "/atom",
        "application/atom+xml",
        format!(
            r#"<feed xmlns="http://www.w3.org/2005/Atom"><entry><title>A</title><link href="/posts/0"/></entry>
            <entry><title>B</title><link href="{foreign}"/></entry></feed>"#
        ),
    );
    let items = json!([{"url": post(1), "content_text": "In JSON."}, {"url": foreign}]);
    let json = json!({"version": "https://jsonfeed.org/version/1.1", "title": "b", "items": items});
    blog.put("/json", "application/feed+json", json.to_string());
    blog.put(
        "/rss",
        "text/xml",
        feed(&format!("<item><link>{}#top</link></item>", post(2))),
    );
    let urlset = |n: usize| format!("<urlset><url><loc>{}</loc></url></urlset>", post(n));
    blog.put("/one.xml", "application/xml", urlset(3));
    blog.put("/two.xml", "application/xml", urlset(4));
    let sitemaps = [
        blog.url("/one.xml"),
        elsewhere.url("/sitemap.xml"),
        blog.url("/two.xml"),
    ];
    let sitemaps = sitemaps
        .map(|url| format!("<sitemap><loc>{url}</loc></sitemap>"))
        .concat();
    blog.put(
        "/index.xml",
        "application/xml",
        format!("<sitemapindex>{sitemaps}</sitemapindex>"),
    );
    blog.redirect("/moved", "/rss");
    for (path, listed) in [
        ("/atom", 1),
        ("/json", 1),
        ("/rss", 1),
        ("/index.xml", 2),
        ("/moved", 1),
    ] {
        let report = index(&site.launch(&blog.url(path)).start().await).await;
        assert_eq!(report["listed"], listed, "{path}: {report}");
        assert_eq!(report["failed"], 0, "{path}: {report}");
    }
    let reader = site.reader();
    assert_eq!(paths(&reader, "json").await, ["posts/1"]);
    for n in [0, 2, 3, 4] {
        let question = format!("subject{n}");
        assert_eq!(paths(&reader, &question).await, [format!("posts/{n}")]);
    }
    assert!(elsewhere.requests().is_empty(), "nobody asked it");
}

#[tokio::test]
async fn the_best_passages_come_first_and_no_post_fills_the_answer() {
    let site = Site::start().await;
    let blog = Blog::with_posts(30).await;
    let paragraph = format!("<p>Some words about lanterns. {}</p>", "filler ".repeat(60));
    let long = paragraph.repeat(60);
    blog.put_post(0, "A long post", &long);
    blog.put_post(1, "Lanterns", "How to make them of paper.");
    blog.put_post(
        2,
        "Other things",
        "A lantern, and then many other words that are not about it at all, so many.",
    );
    blog.put_post(3, "Straße", "Über die ΟΔΟΣ,東京 и Привет.");
    let function = site.launch(&blog.url("/sitemap.xml")).start().await;
    assert_eq!(index(&function).await["written"], 30);
    let reader = site.reader();
    let best = paths(&reader, "paper lanterns").await;
    assert_eq!(best[0], "posts/1");
    assert_eq!(
        best.iter().filter(|path| *path == "posts/0").count(),
        2,
        "{best:?}"
    );
    // A word stands for those that begin with it, if it is not short.
    let stem = paths(&reader, "lantern").await;
    assert!(
        ["posts/0", "posts/1", "posts/2"]
            .iter()
            .all(|path| stem.iter().any(|of| of == path))
    );
    assert!(paths(&reader, "lan").await.is_empty());
    for question in ["STRASSE", "οδος", "京", "ПРИВЕТ"] {
        assert_eq!(paths(&reader, question).await, ["posts/3"], "{question}");
    }
    // What is rare says more than what every post has.
    assert_eq!(
        paths(&reader, "every post about subject17").await[0],
        "posts/17"
    );
    let most = number(&site.admin(), "SELECT max(passages)::bigint FROM posts").await;
    assert!(most <= 40, "{most}");
}

#[tokio::test]
async fn who_searches_may_not_write_and_nobody_else_may_read() {
    let site = Site::start().await;
    let of = |role: &'static str| site.stack.database(role);
    for (role, sql) in [
        (
            "chat",
            "INSERT INTO posts (id, url, title, passages, words, check_at) VALUES ('x', 'x', 'x', 0, 0, now())",
        ),
        ("chat", "UPDATE post_listings SET words = 0"),
        ("chat", "DELETE FROM post_words WHERE word = $1"),
        ("chats", "SELECT FROM posts WHERE url = $1"),
        ("jobs", "SELECT FROM post_passages WHERE text = $1"),
        (
            "sql_function",
            "SELECT FROM chats.post_words WHERE word = $1",
        ),
    ] {
        let word: [Param<'_>; 1] = [(&"x", Type::TEXT)];
        let params = if sql.contains("$1") { &word[..] } else { &[] };
        let error = of(role).query(sql, params).await.unwrap_err();
        assert!(
            error.report().contains("permission denied"),
            "{role}: {}",
            error.report()
        );
        assert_ne!(error.kind(), ErrorKind::Conflict);
    }
}

#[test]
fn the_template_runs_the_task_only_with_a_listing() {
    let public = "https://blog.example.com/sitemap.xml";
    let local = "http://127.0.0.1:3000/feed.xml";
    for (listing, is_on) in [(public, true), (local, true), ("", false)] {
        let application = application_with(&[("BlogFeed", listing)], &[]);
        let of = |name: &str| {
            let found = application.functions.iter().find(|f| f.logical_id == name);
            found.unwrap()
        };
        let schedules = of("MaintenanceFunction").schedules.iter();
        let schedule = schedules.filter(|schedule| schedule.name == "IndexPosts");
        assert!(schedule.map(|schedule| schedule.is_enabled).eq([is_on]));
        for name in ["MaintenanceFunction", "ChatFunction"] {
            let given = of(name).environment.get("BLOG_FEED");
            assert_eq!(given.map(String::as_str), Some(listing));
        }
    }
}
