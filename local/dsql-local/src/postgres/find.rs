//! Where PostgreSQL is, and which account it runs as.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::PostgresError;

/// The variable that names PostgreSQL's `bin` directory.
pub(crate) const ENV_POSTGRES_BIN: &str = "DSQL_LOCAL_POSTGRES_BIN";
/// Major versions that dsql-local is made for.
const SUPPORTED: std::ops::RangeInclusive<u32> = 14..=18;
/// Directories that packages use; `*` stands for one directory name or a part of it.
const PLACES: [&str; 10] = [
    "/usr/lib/postgresql/*/bin",
    "/usr/pgsql-*/bin",
    "/usr/libexec/postgresql*",
    "/usr/lib/postgresql*/bin",
    "/usr/lib64/postgresql*/bin",
    "/opt/homebrew/opt/postgresql*/bin",
    "/usr/local/opt/postgresql*/bin",
    "/usr/local/pgsql/bin",
    "/Applications/Postgres.app/Contents/Versions/*/bin",
    "/opt/local/lib/postgresql*/bin",
];

/// An installed PostgreSQL server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Installation {
    pub(crate) bin_dir: PathBuf,
    pub(crate) major: u32,
}

/// Finds a server, of version `major` if that is given.
pub(crate) fn find(
    named: Option<&Path>,
    major: Option<u32>,
) -> Result<Installation, PostgresError> {
    let variable = std::env::var_os(ENV_POSTGRES_BIN).map(PathBuf::from);
    if let Some(dir) = named.map(Path::to_owned).or(variable) {
        let found = inspect(&dir).ok_or_else(|| PostgresError::NotThere(dir))?;
        return match major {
            Some(major) if major != found.major => Err(PostgresError::OtherVersion {
                data: major,
                found: found.major,
            }),
            _ => Ok(found),
        };
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut installed: Vec<Installation> = std::env::split_paths(&path)
        .chain(PLACES.iter().flat_map(|place| expand(place)))
        .filter_map(|dir| inspect(&dir))
        .collect();
    // Newest first; the sort is stable, so PATH wins among equals.
    installed.sort_by_key(|found| std::cmp::Reverse(found.major));
    let newest = installed.first().map(|found| found.major);
    installed
        .into_iter()
        .find(|found| {
            SUPPORTED.contains(&found.major) && major.is_none_or(|major| major == found.major)
        })
        .ok_or(match (major, newest) {
            (Some(data), Some(found)) => PostgresError::OtherVersion { data, found },
            _ => PostgresError::NotFound,
        })
}

fn inspect(dir: &Path) -> Option<Installation> {
    if !dir.join("postgres").is_file() || !dir.join("initdb").is_file() {
        return None;
    }
    let output = Command::new(dir.join("postgres"))
        .arg("--version")
        .output()
        .ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    let version = text.split_once("(PostgreSQL) ")?.1;
    let digits: String = version.chars().take_while(char::is_ascii_digit).collect();
    Some(Installation {
        bin_dir: dir.to_owned(),
        major: digits.parse().ok()?,
    })
}

/// Directories that match a pattern with at most one `*` in one of its names.
fn expand(pattern: &str) -> Vec<PathBuf> {
    let Some((before, after)) = pattern.split_once('*') else {
        return vec![PathBuf::from(pattern)];
    };
    let (parent, prefix) = before.rsplit_once('/').unwrap_or(("", before));
    let rest = after.trim_start_matches('/');
    let Ok(entries) = Path::new(parent).read_dir() else {
        return Vec::new();
    };
    entries
        .filter_map(Result::ok)
        .filter(|entry| entry.file_name().to_string_lossy().starts_with(prefix))
        .map(|entry| entry.path().join(rest))
        .collect()
}

/// An operating-system account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Account {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
}

/// The account that PostgreSQL must run as: none but our own, unless we are root, which PostgreSQL refuses.
pub(crate) fn account() -> Result<Option<Account>, PostgresError> {
    if !rustix::process::geteuid().is_root() {
        return Ok(None);
    }
    let table = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let named = |name| table.lines().find_map(|line| parse_account(line, name));
    named("postgres")
        .or_else(|| named("nobody"))
        .map(Some)
        .ok_or(PostgresError::NoAccount)
}

fn parse_account(line: &str, name: &str) -> Option<Account> {
    let mut fields = line.split(':');
    if fields.next()? != name {
        return None;
    }
    fields.next()?;
    let id = |text: &str| text.parse::<u32>().ok().filter(|id| *id != 0);
    Some(Account {
        uid: id(fields.next()?)?,
        gid: id(fields.next()?)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_passwd_line_gives_the_account_and_root_never_does() {
        let account = Account { uid: 101, gid: 104 };
        assert_eq!(
            parse_account(
                "postgres:x:101:104::/var/lib/postgresql:/bin/bash",
                "postgres"
            ),
            Some(account)
        );
        assert_eq!(parse_account("postgres:x:0:0::/:/bin/sh", "postgres"), None);
        assert_eq!(
            parse_account("postgresql:x:101:104::/:/bin/sh", "postgres"),
            None
        );
    }

    #[test]
    fn a_pattern_expands_to_what_exists() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(dir.path().join("pgsql-16/bin")).unwrap();
        let pattern = format!("{}/pgsql-*/bin", dir.path().display());
        assert_eq!(expand(&pattern), [dir.path().join("pgsql-16/bin")]);
    }
}
