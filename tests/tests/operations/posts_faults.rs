//! The index of the blog's posts when the blog, a run or its configuration is at fault.

use tests::blog::Blog;
use tests::wait;

use crate::posts::{RUN, STRAY, Site, counts, index, indexed, paths};
use crate::support::{number, sample};

#[tokio::test]
async fn what_is_wrong_with_a_listing_is_told_and_the_index_stays() {
    let site = Site::start().await;
    let blog = Blog::with_posts(2).await;
    let elsewhere = Blog::with_posts(2).await;
    let function = site.launch(&blog.url("/sitemap.xml")).start().await;
    index(&function).await;
    let bomb = format!(
        r#"<!DOCTYPE urlset [<!ENTITY a "{}"><!ENTITY b "{}">]><urlset><url><loc>&b;</loc></url></urlset>"#,
        "x".repeat(1_000),
        "&a;".repeat(1_000)
    );
    for (body, told) in [
        (
            "<urlset><url><loc>/posts/0</loc>".to_owned(),
            "not well-formed XML",
        ),
        (
            "<html><body>We are back soon</body></html>".to_owned(),
            "no RSS",
        ),
        ("{\"items\": []}".to_owned(), "not a JSON Feed"),
        (bomb, "no post of this host"),
        (" ".repeat(5 * 1024 * 1024), "longer than"),
    ] {
        blog.put("/sitemap.xml", "application/xml", body);
        let report = index(&function).await;
        let unread = report["unread"].as_str().unwrap();
        assert!(unread.contains(told), "{unread}");
    }
    for target in [
        elsewhere.url("/sitemap.xml"),
        "http://169.254.169.254/latest/meta-data/".to_owned(),
        "https://127.0.0.1/".to_owned(),
    ] {
        blog.redirect("/sitemap.xml", &target);
        let report = index(&function).await;
        let unread = report["unread"].as_str().unwrap();
        assert!(unread.contains("another host"), "{unread}");
    }
    blog.redirect("/sitemap.xml", "/sitemap.xml");
    let report = index(&function).await;
    assert!(report["unread"].as_str().unwrap().contains("redirects"));
    blog.fail("/sitemap.xml", 503);
    let report = index(&function).await;
    assert!(report["unread"].as_str().unwrap().contains("503"));
    assert!(elsewhere.requests().is_empty(), "nobody asked it");
    assert_eq!(paths(&site.reader(), "subject1").await, ["posts/1"]);
    let line = function.line_with("listing was not read").await;
    assert!(line.contains("\"level\":\"ERROR\""), "{line}");
    assert_eq!(
        indexed(&function).await,
        [[1].as_slice(), &[0; 10]].concat()
    );
}

#[tokio::test]
async fn a_post_that_cannot_be_read_keeps_its_text_and_holds_up_no_other() {
    let site = Site::start().await;
    let blog = Blog::with_posts(6).await;
    let function = site.launch(&blog.url("/sitemap.xml")).start().await;
    index(&function).await;
    let elsewhere = Blog::with_posts(1).await;
    let huge = format!("<article>{}</article>", "<p>word ".repeat(400_000));
    blog.put("/posts/0", "text/html", huge);
    blog.redirect("/posts/1", &elsewhere.url("/posts/0"));
    blog.fail("/posts/2", 500);
    blog.put("/posts/3", "application/pdf", "%PDF");
    blog.put("/posts/4", "text/html", "<article><p".repeat(100_000));
    blog.put_post(5, "Post", "Novelty.");
    blog.put_sitemap(0..6, "2026-03-03");
    let report = index(&function).await;
    assert_eq!(counts(&report), [2, 0, 0, 4], "{report}");
    let reader = site.reader();
    for n in 0..4 {
        let question = format!("subject{n}");
        assert_eq!(paths(&reader, &question).await, [format!("posts/{n}")]);
    }
    assert!(
        paths(&reader, "subject4").await.is_empty(),
        "it says nothing now"
    );
    assert_eq!(paths(&reader, "novelty").await, ["posts/5"]);
    assert!(elsewhere.requests().is_empty(), "nobody asked it");
    // It is not asked about again at once, and once it is mended that is seen.
    blog.put_post(2, "Post", "It is mended.");
    blog.requests();
    index(&function).await;
    assert_eq!(blog.requests(), ["/sitemap.xml 304"]);
    site.age("7 hours").await;
    let report = index(&function).await;
    assert_eq!(counts(&report), [1, 0, 0, 3], "{report}");
    assert_eq!(paths(&reader, "mended").await, ["posts/2"]);
}

#[tokio::test]
async fn a_run_that_dies_leaves_nothing_that_is_found_and_the_next_one_goes_on() {
    let site = Site::start().await;
    let blog = Blog::with_posts(40).await;
    let admin = site.admin();
    assert_eq!(number(&admin, STRAY).await, 0);
    let own = site.sessions();
    let function = site.launch(&blog.url("/sitemap.xml")).start().await;
    let event = sample("maintenance", "index-posts").to_string();
    let run = function.begin(event, RUN);
    let some = "SELECT count(*) > 0 FROM posts WHERE leftover_id IS NOT NULL";
    wait::until_true(&admin, "a text that is being written", RUN, some).await;
    function.kill().await;
    drop(run);
    // What it had sent may still be written.
    let is_gone = || (site.sessions() == own).then_some(());
    wait::until("the end of the dead run's sessions", RUN, is_gone).await;
    // Whoever comes before the dead run's time is up finds it under way.
    let function = site.launch(&blog.url("/sitemap.xml")).start().await;
    assert_eq!(index(&function).await["busy"], true);
    site.age("3 minutes").await;
    let function = site.launch(&blog.url("/sitemap.xml")).start().await;
    let second = site.launch(&blog.url("/sitemap.xml")).start().await;
    let (one, two) = tokio::join!(index(&function), index(&second));
    assert!(one["busy"] == true || two["busy"] == true, "{one} {two}");
    assert_eq!(number(&admin, STRAY).await, 0);
    assert_eq!(
        number(
            &admin,
            "SELECT count(*) FROM posts WHERE text_id IS NOT NULL"
        )
        .await,
        40
    );
    let sums = "SELECT count(*) FROM post_listings WHERE passages = 40 AND words > 400";
    assert_eq!(number(&admin, sums).await, 1);
}

#[tokio::test]
async fn a_wrong_address_stops_the_start_and_names_the_variable() {
    let site = Site::start().await;
    for address in [
        "http://blog.example.com/feed",
        "https://me:s3cret@blog.example.com/",
        "feed.xml",
    ] {
        let error = site.launch(address).try_start().await.unwrap_err();
        let written = error.output.join("\n");
        assert!(written.contains("BLOG_FEED"), "{written}");
        assert!(!written.contains("s3cret"), "{written}");
    }
}
