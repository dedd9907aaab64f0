//! A connection string names who a parser of URLs finds in it, wherever both read it.

use fuzzing::{Corpus, Seen, TestCaseError, check, prop_assert, prop_assert_eq};
use percent_encoding::percent_decode_str;
use url::Url;

use crate::connection_string::{ConnectionString, Password};

/// Decoded once; `None` if that is no text for PostgreSQL.
fn decoded(text: &str) -> Option<String> {
    let text = percent_decode_str(text).decode_utf8().ok()?;
    (!text.contains('\0')).then(|| text.into_owned())
}

/// What the URL says, if it is one that both readers take alike: of a browser's parser blanks are
/// no part of a name, and a backslash ends the host.
fn as_url(text: &str) -> Option<Url> {
    let is_changed = text.contains(|c: char| c.is_control() || c == '\\');
    let url = Url::parse(text).ok()?;
    let is_ours = matches!(url.scheme(), "postgres" | "postgresql") && url.has_authority();
    (is_ours && !is_changed && text.trim() == text).then_some(url)
}

fn agree(read: &ConnectionString, url: &Url) -> Result<(), TestCaseError> {
    prop_assert_eq!(Some(read.user.clone()), decoded(url.username()));
    let password = url
        .password()
        .and_then(decoded)
        .filter(|text| !text.is_empty());
    prop_assert_eq!(
        read.password.as_ref().map(Password::expose),
        password.as_deref()
    );
    // A URL's parser resolves `..`, also where dots are encoded.
    let path = url.path().strip_prefix('/').unwrap_or(url.path());
    if !read.database.contains('.') && url.as_str().contains(path) && !path.is_empty() {
        prop_assert_eq!(Some(read.database.clone()), decoded(path));
    }
    Ok(())
}

#[test]
fn a_connection_string_names_whom_a_parser_of_urls_finds_in_it() {
    let corpus = Corpus::new([
        "postgresql://alice:s3cr%2Ft@db.example.test:5432/appdb?sslmode=require&application_name=x",
        "postgres://u:tok%3Aen%2Fwith%3Fa%3Db&c%2Fd%20e+f%zz@db.example.test/app%20db?x",
        "POSTGRES://u@h/db#f",
        "postgres://u:@[::1]:5432/db",
        "postgres://\u{e9}:a@b@h/d%C3%A9?application_name=pkg%3Anpm%2F%40neondatabase",
    ])
    .words([
        "://",
        "@",
        ":",
        "%40",
        "%3A",
        "..",
        "%2e",
        "application_name=",
        "&",
        "mysql",
        "%C3",
        "%",
    ]);
    check("a connection string", corpus.text(), |text| {
        let url = as_url(&text);
        let Ok(read) = ConnectionString::parse(&text) else {
            let user = url.as_ref().and_then(|url| decoded(url.username()));
            let rest = url.map(|url| {
                let password = url.password().is_none_or(|text| decoded(text).is_some());
                password && decoded(url.path()).is_some()
            });
            let names_one = user.is_some_and(|user| !user.is_empty());
            prop_assert!(
                !(names_one && rest == Some(true)),
                "refused, though it is complete"
            );
            return Ok(Seen::Refused);
        };
        prop_assert!(!read.user.is_empty() && !read.user.contains('\0'));
        prop_assert!(!read.database.is_empty() && !read.database.contains('\0'));
        prop_assert!(
            read.password
                .as_ref()
                .is_none_or(|it| !it.expose().is_empty())
        );
        let application = read.application.as_deref().unwrap_or("x");
        prop_assert!((1..=64).contains(&application.chars().count()));
        prop_assert!(!application.contains(char::is_control));
        if let Some(url) = url {
            agree(&read, &url)?;
        }
        Ok(Seen::Accepted)
    });
}
