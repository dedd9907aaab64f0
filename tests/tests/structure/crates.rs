//! The crates of the workspace and what each is built on, by `cargo metadata`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use serde::Deserialize;

/// What each deployed or local crate may be built on, of this repository: DESIGN's arrows, one row
/// a crate. Another crate, or another arrow, is a decision to be written here.
const ARROWS: &[(&str, &[&str])] = &[
    // What knows no other.
    ("bounded-json", &[]),
    ("dsql", &[]),
    ("https", &[]),
    ("fuzzing", &[]),
    ("dsql-dialect", &[]),
    ("logins", &[]),
    // What functions share.
    ("runtime", &["dsql"]),
    ("http-api", &["bounded-json", "dsql", "runtime"]),
    ("chat-store", &["bounded-json", "dsql"]),
    ("model", &["https"]),
    ("mcp", &["https", "runtime"]),
    ("session-roles", &["https"]),
    ("bucket", &["https", "runtime"]),
    // Functions.
    ("admin", &["dsql", "logins", "runtime"]),
    (
        "chat",
        &[
            "bounded-json",
            "bucket",
            "chat-store",
            "dsql",
            "http-api",
            "mcp",
            "model",
            "runtime",
        ],
    ),
    (
        "chats",
        &[
            "bounded-json",
            "bucket",
            "chat-store",
            "dsql",
            "http-api",
            "model",
            "runtime",
        ],
    ),
    (
        "jobs",
        &["bucket", "chat-store", "dsql", "model", "runtime"],
    ),
    (
        "maintenance",
        &[
            "bucket",
            "chat-store",
            "dsql",
            "https",
            "runtime",
            "session-roles",
        ],
    ),
    (
        "sql",
        &[
            "bounded-json",
            "dsql",
            "http-api",
            "logins",
            "runtime",
            "session-roles",
        ],
    ),
    // The laptop: never a part of what is deployed.
    ("dsql-local", &["dsql-dialect"]),
    ("lambda-local", &["dsql-local"]),
];

/// A crate below `functions`, `shared` or `local`.
pub(crate) struct Crate {
    pub(crate) name: String,
    folder: PathBuf,
    built_on: BTreeSet<String>,
}

impl Crate {
    /// Its sources.
    pub(crate) fn root(&self) -> PathBuf {
        self.folder.join("src")
    }
}

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
}

#[derive(Deserialize)]
struct Package {
    name: String,
    manifest_path: PathBuf,
    dependencies: Vec<Dependency>,
}

#[derive(Deserialize)]
struct Dependency {
    name: String,
    kind: Option<String>,
    path: Option<PathBuf>,
}

/// The repository's folder.
pub(crate) fn root() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    root.canonicalize().unwrap()
}

/// All of them.
pub(crate) fn crates() -> Vec<Crate> {
    let house = root();
    let output = Command::new(env!("CARGO"))
        .args([
            "metadata",
            "--no-deps",
            "--offline",
            "--format-version",
            "1",
        ])
        .current_dir(&house)
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    let metadata: Metadata = serde_json::from_slice(&output.stdout).unwrap();
    let storeys = ["functions", "shared", "local"].map(|storey| house.join(storey));
    let crates = metadata.packages.into_iter().filter_map(|package| {
        let folder = package.manifest_path.parent()?.to_owned();
        let is_ours = storeys.iter().any(|storey| folder.starts_with(storey));
        let built_on = package.dependencies.into_iter();
        let built_on =
            built_on.filter(|one| one.path.is_some() && one.kind.as_deref() != Some("dev"));
        is_ours.then(|| Crate {
            name: package.name,
            folder,
            built_on: built_on.map(|one| one.name).collect(),
        })
    });
    crates.collect()
}

#[test]
fn arrows_between_crates_are_those_that_were_decided() {
    let crates = crates();
    let found: BTreeMap<&str, BTreeSet<&str>> = crates
        .iter()
        .map(|one| {
            (
                one.name.as_str(),
                one.built_on.iter().map(String::as_str).collect(),
            )
        })
        .collect();
    let decided: BTreeMap<&str, BTreeSet<&str>> = ARROWS
        .iter()
        .map(|(name, built_on)| (*name, built_on.iter().copied().collect()))
        .collect();
    assert_eq!(found, decided);
}
