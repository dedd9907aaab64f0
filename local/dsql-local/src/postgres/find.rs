//! Where PostgreSQL is.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::error::PostgresError;

/// The variable that names PostgreSQL's `bin` directory.
pub(crate) const ENV_POSTGRES_BIN: &str = "DSQL_LOCAL_POSTGRES_BIN";
/// Where `scripts/install-tools.sh postgres` puts a server, in the repository that dsql-local was
/// built in.
const PINNED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../.tools/postgres/bin");
/// The major version that DSQL is compatible with.
const DSQL_MAJOR: u32 = 16;
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

impl Installation {
    /// One line for whoever has another version than the service.
    pub(crate) fn warn_of_another_version(&self) {
        if self.major != DSQL_MAJOR {
            let difference = if self.major < DSQL_MAJOR {
                "`IS JSON`, `JSON_ARRAY()`, `any_value()`, `1_000` and newer columns of the catalogue, which psql 16 asks for, are missing"
            } else {
                "newer syntax is accepted, and plans and messages may differ"
            };
            tracing::warn!(
                "statements run on PostgreSQL {}, while DSQL is PostgreSQL {DSQL_MAJOR}: {difference}",
                self.major
            );
        }
    }
}

/// Finds a server, of version `major` if that is given: the named one, the repository's, or the
/// system's.
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
    choose(pinned(), installed, major)
}

fn choose(
    pinned: Option<Installation>,
    installed: impl FnOnce() -> Vec<Installation>,
    major: Option<u32>,
) -> Result<Installation, PostgresError> {
    let fits = |found: &Installation| {
        SUPPORTED.contains(&found.major) && major.is_none_or(|major| major == found.major)
    };
    if let Some(pinned) = pinned.as_ref().filter(|pinned| fits(pinned)) {
        return Ok(pinned.clone());
    }
    let mut others = installed();
    // DSQL's version first, then the newest; the sort is stable, so PATH wins among equals.
    others.sort_by_key(|found| (found.major != DSQL_MAJOR, std::cmp::Reverse(found.major)));
    let best = pinned.or_else(|| others.first().cloned());
    others.into_iter().find(fits).ok_or(match (major, best) {
        (Some(data), Some(best)) => PostgresError::OtherVersion {
            data,
            found: best.major,
        },
        _ => PostgresError::NotFound,
    })
}

fn pinned() -> Option<Installation> {
    inspect(&Path::new(PINNED).canonicalize().ok()?)
}

/// What the system has.
fn installed() -> Vec<Installation> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(PLACES.iter().flat_map(|place| expand(place)))
        .filter_map(|dir| inspect(&dir))
        .collect()
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

#[cfg(test)]
mod tests {
    use super::*;

    fn server(dir: &str, major: u32) -> Installation {
        Installation {
            bin_dir: dir.into(),
            major,
        }
    }

    #[test]
    fn the_repositorys_server_comes_first_and_the_systems_where_the_data_needs_it() {
        let system = || vec![server("/a", 15), server("/b", 18), server("/c", 16)];
        let pinned = || Some(server("pinned", 16));
        let chosen = |pinned, major| choose(pinned, system, major).unwrap().bin_dir;
        assert_eq!(chosen(pinned(), None), Path::new("pinned"));
        assert_eq!(chosen(pinned(), Some(15)), Path::new("/a"));
        assert_eq!(chosen(None, None), Path::new("/c"));
        assert_eq!(
            choose(pinned(), system, Some(14)).unwrap_err().to_string(),
            "the data directory was made by PostgreSQL 14, but PostgreSQL 16 was found; remove the directory to start afresh, \
             or name PostgreSQL 14's bin directory in DSQL_LOCAL_POSTGRES_BIN"
        );
    }

    #[test]
    fn without_dsqls_version_the_newest_supported_one_is_taken() {
        let system = || vec![server("/a", 14), server("/b", 17), server("/c", 99)];
        assert_eq!(choose(None, system, None).unwrap().bin_dir, Path::new("/b"));
        assert!(matches!(
            choose(None, Vec::new, Some(16)),
            Err(PostgresError::NotFound)
        ));
    }

    #[test]
    fn a_pattern_expands_to_what_exists() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(dir.path().join("pgsql-16/bin")).unwrap();
        let pattern = format!("{}/pgsql-*/bin", dir.path().display());
        assert_eq!(expand(&pattern), [dir.path().join("pgsql-16/bin")]);
    }
}
