//! The connection string of a request: which login, with which password. Host, port and parameters
//! decide nothing: the gateway chose this function, and clients send parameters that only they
//! understand.

use std::fmt;

use percent_encoding::percent_decode_str;

/// Longest application name that is logged.
const MAX_APPLICATION_CHARS: usize = 64;

/// A password. It has no `Display`, and `Debug` does not show it.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Password(String);

impl Password {
    pub(crate) fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password(…)")
    }
}

/// A connection string, decoded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ConnectionString {
    pub(crate) user: String,
    pub(crate) password: Option<Password>,
    pub(crate) database: String,
    /// What the client calls itself, without control characters.
    pub(crate) application: Option<String>,
}

/// Why it cannot be used. The text quotes nothing of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Malformed {
    #[error("the connection string must begin with postgresql:// or postgres://")]
    Scheme,
    #[error("the connection string names no user")]
    NoUser,
    #[error("the connection string holds a NUL character or bytes that are not UTF-8")]
    Text,
}

impl ConnectionString {
    /// User, password and database are percent-decoded once and never form-decoded (`+` is a plus);
    /// a `%` without two hexadecimal digits stays. Parameters are form-decoded.
    pub(crate) fn parse(text: &str) -> Result<Self, Malformed> {
        let (scheme, rest) = text.trim().split_once("://").ok_or(Malformed::Scheme)?;
        if !["postgres", "postgresql"]
            .iter()
            .any(|known| scheme.eq_ignore_ascii_case(known))
        {
            return Err(Malformed::Scheme);
        }
        let rest = rest.split_once('#').map_or(rest, |(before, _)| before);
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        let (credentials, _host) = authority.rsplit_once('@').ok_or(Malformed::NoUser)?;
        let (user, password) = match credentials.split_once(':') {
            Some((user, password)) => (user, Some(password)),
            None => (credentials, None),
        };
        let user = decode(user)?;
        if user.is_empty() {
            return Err(Malformed::NoUser);
        }
        let password = password.map(decode).transpose()?;
        let database = decode(path)?;
        Ok(Self {
            user,
            password: password.filter(|text| !text.is_empty()).map(Password),
            database: if database.is_empty() {
                "postgres".to_owned()
            } else {
                database
            },
            application: application(query),
        })
    }
}

fn decode(text: &str) -> Result<String, Malformed> {
    let decoded = percent_decode_str(text)
        .decode_utf8()
        .map_err(|_| Malformed::Text)?;
    if decoded.contains('\0') {
        return Err(Malformed::Text);
    }
    Ok(decoded.into_owned())
}

fn application(query: &str) -> Option<String> {
    let value = query
        .split('&')
        .find_map(|pair| pair.strip_prefix("application_name="))?;
    let value = value.replace('+', " ");
    let decoded = percent_decode_str(&value).decode_utf8_lossy();
    let name: String = decoded
        .chars()
        .filter(|c| !c.is_control())
        .take(MAX_APPLICATION_CHARS)
        .collect();
    (!name.is_empty()).then_some(name)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parts(text: &str) -> (String, Option<String>, String) {
        let parsed = ConnectionString::parse(text).unwrap();
        let password = parsed.password.map(|password| password.0);
        (parsed.user, password, parsed.database)
    }

    fn of(user: &str, password: Option<&str>, database: &str) -> (String, Option<String>, String) {
        (
            user.to_owned(),
            password.map(str::to_owned),
            database.to_owned(),
        )
    }

    #[test]
    fn captured_strings_are_read_as_the_clients_mean_them() {
        let cases = [
            (
                "postgresql://alice:s3cr%2Ft@db.example.test:5432/appdb?sslmode=require&application_name=x",
                of("alice", Some("s3cr/t"), "appdb"),
            ),
            (
                "postgres://u:tok%3Aen%2Fwith%3Fa%3Db&c%2Fd%20e+f%zz@db.example.test/app%20db?x",
                of("u", Some("tok:en/with?a=b&c/d e+f%zz"), "app db"),
            ),
            (
                "postgresql://http+auth$$:%25+$%5E&*%40!@host/postgres",
                of("http+auth$$", Some("%+$^&*@!"), "postgres"),
            ),
            ("POSTGRES://u:p@h", of("u", Some("p"), "postgres")),
            ("postgres://u:p@h/", of("u", Some("p"), "postgres")),
            ("postgres://u@h/db", of("u", None, "db")),
            ("postgres://u:@[::1]:5432/db#f", of("u", None, "db")),
            ("postgres://u:a@b@h1,h2/db", of("u", Some("a@b"), "db")),
            ("postgres://u:a:b@-/db", of("u", Some("a:b"), "db")),
        ];
        for (text, expected) in cases {
            assert_eq!(parts(text), expected, "{text}");
        }
    }

    #[test]
    fn what_names_no_user_or_hides_a_nul_is_refused() {
        for (text, why) in [
            ("", Malformed::Scheme),
            ("mysql://u:p@h/db", Malformed::Scheme),
            ("postgres:u:p@h/db", Malformed::Scheme),
            ("postgres://h/db", Malformed::NoUser),
            ("postgres://:p@h/db", Malformed::NoUser),
            ("postgres://@h/db", Malformed::NoUser),
            ("postgres://u%00:p@h/db", Malformed::Text),
            ("postgres://u:p%00@h/db", Malformed::Text),
            ("postgres://u:p@h/db%00x", Malformed::Text),
            ("postgres://u%ff:p@h/db", Malformed::Text),
        ] {
            assert_eq!(ConnectionString::parse(text), Err(why), "{text}");
        }
    }

    #[test]
    fn the_application_is_named_by_its_decoded_parameter() {
        let parse = |query: &str| {
            ConnectionString::parse(&format!("postgres://u:p@h/db?{query}"))
                .unwrap()
                .application
        };
        assert_eq!(
            parse("sslmode=require&application_name=pkg%3Anpm%2F%2540neondatabase%2Fserverless%401.2.0").as_deref(),
            Some("pkg:npm/%40neondatabase/serverless@1.2.0")
        );
        assert_eq!(parse("application_name=a+b%0Ac").as_deref(), Some("a bc"));
        assert_eq!(parse("application_name="), None);
        assert_eq!(parse("application_name=%00"), None);
        assert_eq!(parse(""), None);
        assert_eq!(
            parse(&format!("application_name={}", "x".repeat(999)))
                .unwrap()
                .len(),
            64
        );
    }

    #[test]
    fn debug_does_not_show_the_password() {
        let parsed = ConnectionString::parse("postgres://u:hunter2@h/db").unwrap();
        assert!(!format!("{parsed:?}").contains("hunter2"));
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "\\PC{0,80}") {
            let _either = ConnectionString::parse(&text);
            let _either = ConnectionString::parse(&format!("postgres://{text}"));
        }

        #[test]
        fn what_was_encoded_comes_back(user in "[^\0]{1,20}", password in "[^\0]{1,20}") {
            let encode = |text: &str| percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string();
            let text = format!("postgresql://{}:{}@h/db", encode(&user), encode(&password));
            prop_assert_eq!(parts(&text), of(&user, Some(&password), "db"));
        }
    }
}
