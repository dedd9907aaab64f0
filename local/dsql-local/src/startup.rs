//! The startup message: who connects, with which settings.

use bytes::Bytes;
use dsql_dialect::{SETTABLE, SYNC_INDEX};

use crate::wire::take_text;

/// Codes in the place of a version, of what begins no session.
pub(crate) const SSL_REQUEST: u32 = 80_877_103;
pub(crate) const GSS_REQUEST: u32 = 80_877_104;
pub(crate) const CANCEL_REQUEST: u32 = 80_877_102;
/// PostgreSQL's own limit for a startup message.
pub(crate) const MAX_STARTUP_BYTES: u32 = 10_000;

/// Names the cluster where the host name cannot (`PrivateLink` without private DNS).
const CLUSTER_ID: &str = "amzn-cluster-id";
/// DSQL's own, unknown to PostgreSQL.
const OURS: [&str; 2] = [CLUSTER_ID, SYNC_INDEX];

/// How values are written as text, unless a client says otherwise.
pub(crate) const TEXT_STYLE: [(&str, &str); 3] = [
    ("DateStyle", "ISO, MDY"),
    ("IntervalStyle", "postgres"),
    ("TimeZone", "UTC"),
];

/// A startup message that is accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Startup {
    pub(crate) user: String,
    /// Settings by lower-case name, in order.
    settings: Vec<(String, String)>,
    /// Protocol options (`_pq_.…`) that the client would like.
    pub(crate) protocol_options: Vec<String>,
}

/// Why a startup message is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum StartupError {
    Malformed,
    NoUser,
    Database(String),
    Setting(String),
}

impl Startup {
    pub(crate) fn parse(mut parameters: Bytes, cluster_id: &str) -> Result<Self, StartupError> {
        let mut user = None;
        let mut database = None;
        let mut options = String::new();
        let mut settings = Vec::new();
        let mut protocol_options = Vec::new();
        loop {
            let name = take_text(&mut parameters).ok_or(StartupError::Malformed)?;
            if name.is_empty() {
                break;
            }
            let value = take_text(&mut parameters).ok_or(StartupError::Malformed)?;
            match name.as_str() {
                "user" => user = Some(value),
                "database" => database = Some(value),
                "options" => options = value,
                name if name.starts_with("_pq_.") => protocol_options.push(name.to_owned()),
                _ => settings.push((name, value)),
            }
        }
        if !parameters.is_empty() {
            return Err(StartupError::Malformed);
        }
        let user = user
            .filter(|user| !user.is_empty())
            .ok_or(StartupError::NoUser)?;
        let database = database
            .filter(|name| !name.is_empty())
            .unwrap_or_else(|| user.clone());
        if database != "postgres" {
            return Err(StartupError::Database(database));
        }
        settings.extend(parse_options(&options)?);
        for (name, value) in &mut settings {
            let lower = name.to_ascii_lowercase();
            let is_allowed = if lower == CLUSTER_ID {
                value == cluster_id
            } else {
                SETTABLE.contains(&lower.as_str())
            };
            if !is_allowed {
                return Err(StartupError::Setting(std::mem::take(name)));
            }
            *name = lower;
        }
        Ok(Self {
            user,
            settings,
            protocol_options,
        })
    }

    /// The value of a setting.
    pub(crate) fn setting(&self, name: &str) -> Option<&str> {
        self.settings
            .iter()
            .rev()
            .find(|(known, _)| known == name)
            .map(|(_, value)| value.as_str())
    }

    /// The settings that PostgreSQL knows.
    pub(crate) fn for_postgres(&self) -> impl Iterator<Item = (&str, &str)> {
        let known = self
            .settings
            .iter()
            .filter(|(name, _)| !OURS.contains(&name.as_str()));
        known.map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// Whether only PostgreSQL can tell if the settings are valid and what becomes of them.
    pub(crate) fn needs_backend(&self) -> bool {
        self.for_postgres().any(|(name, value)| match name {
            "application_name" => !value.is_ascii() || value.len() > 63,
            "client_encoding" => !value
                .trim_matches('\'')
                .replace(['-', '_'], "")
                .eq_ignore_ascii_case("utf8"),
            "search_path" => !value.split(',').all(is_plain_identifier),
            _ => !TEXT_STYLE
                .iter()
                .any(|(known, default)| known.eq_ignore_ascii_case(name) && *default == value),
        })
    }
}

/// Whether PostgreSQL takes `text` as the name that it reads as.
fn is_plain_identifier(text: &str) -> bool {
    let is_plain = |b: u8| b.is_ascii_lowercase() || b == b'_';
    text.bytes().next().is_some_and(is_plain)
        && text.len() <= 63
        && text.bytes().all(|b| is_plain(b) || b.is_ascii_digit())
}

/// `-c name=value` and `--name=value`, split at blanks that no backslash protects.
fn parse_options(options: &str) -> Result<Vec<(String, String)>, StartupError> {
    let mut words = vec![String::new()];
    let mut chars = options.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => words
                .last_mut()
                .into_iter()
                .for_each(|word| word.extend(chars.next())),
            c if c.is_whitespace() => words.push(String::new()),
            c => words.last_mut().into_iter().for_each(|word| word.push(c)),
        }
    }
    let mut words = words.into_iter().filter(|word| !word.is_empty());
    let mut settings = Vec::new();
    while let Some(word) = words.next() {
        let setting = match word.as_str() {
            "-c" => words.next().ok_or(StartupError::Malformed)?,
            word => match word.strip_prefix("--").or_else(|| word.strip_prefix("-c")) {
                Some(setting) => setting.to_owned(),
                None => return Err(StartupError::Setting(word.to_owned())),
            },
        };
        let (name, value) = setting.split_once('=').ok_or(StartupError::Malformed)?;
        // PostgreSQL reads dashes in long options as underscores; the cluster id keeps its own.
        let name = if name == CLUSTER_ID {
            name.to_owned()
        } else {
            name.replace('-', "_")
        };
        settings.push((name, value.to_owned()));
    }
    Ok(settings)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::strings;

    fn parse(parts: &[&str]) -> Result<Startup, StartupError> {
        Startup::parse(strings(parts.iter().copied().chain([""])), "abc")
    }

    #[test]
    fn allowed_settings_are_kept_and_others_refused() {
        let startup = parse(&[
            "user",
            "app",
            "database",
            "postgres",
            "TimeZone",
            "UTC",
            "options",
            "-c amzn-cluster-id=abc --search-path=a\\ b -cenable_seqscan=off",
        ])
        .unwrap();
        let settings: Vec<_> = startup.for_postgres().collect();
        assert_eq!(
            settings,
            [
                ("timezone", "UTC"),
                ("search_path", "a b"),
                ("enable_seqscan", "off")
            ]
        );
        assert!(startup.needs_backend());
        for refused in [
            "-c statement_timeout=1",
            "--role=x",
            "-c amzn-cluster-id=abd",
            "-d 5",
        ] {
            let error =
                parse(&["user", "app", "database", "postgres", "options", refused]).unwrap_err();
            assert!(matches!(error, StartupError::Setting(_)), "{refused}");
        }
        let error = parse(&["user", "app", "database", "postgres", "lc_numeric", "C"]).unwrap_err();
        assert_eq!(error, StartupError::Setting("lc_numeric".into()));
    }

    #[test]
    fn only_the_database_postgres_exists() {
        assert_eq!(
            parse(&["user", "app"]),
            Err(StartupError::Database("app".into()))
        );
        assert_eq!(parse(&["database", "postgres"]), Err(StartupError::NoUser));
        assert_eq!(
            Startup::parse(Bytes::from_static(b"user\0a"), "abc"),
            Err(StartupError::Malformed)
        );
    }

    #[test]
    fn usual_clients_need_no_backend_to_log_in() {
        let usual = [
            "user",
            "a",
            "database",
            "postgres",
            "application_name",
            "psql",
            "client_encoding",
            "'utf-8'",
        ];
        assert!(!parse(&usual).unwrap().needs_backend());
        for (path, needs_backend) in [
            ("chats", false),
            ("a,_b1", false),
            ("\"$user\"", true),
            ("", true),
        ] {
            let with_path = [&usual[..], &["search_path", path]].concat();
            assert_eq!(
                parse(&with_path).unwrap().needs_backend(),
                needs_backend,
                "{path}"
            );
        }
        for (name, value, needs_backend) in [
            ("DateStyle", "ISO, MDY", false),
            ("DateStyle", "ISO", true),
            ("IntervalStyle", "postgres", false),
            ("TimeZone", "UTC", false),
            ("TimeZone", "utc", true),
            ("extra_float_digits", "1", true),
        ] {
            let with_style = parse(&[&usual[..], &[name, value]].concat()).unwrap();
            assert_eq!(with_style.needs_backend(), needs_backend, "{name} {value}");
        }
    }
}
