//! Owns where binaries come from: the target folder this test runs from, and the build that puts
//! them there.
//!
//! `TEST_PROFILE=release` takes the binaries as deployed when they exist; otherwise the debug build
//! is brought up to date first, once per binary and test process, so that no test runs against
//! yesterday's program.

use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{LazyLock, Mutex};

/// Selects the profile of the binaries under test: `release`, or anything else for debug.
pub const TEST_PROFILE: &str = "TEST_PROFILE";

/// The workspace's root folder.
pub fn workspace() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("the crate lies in the workspace")
}

/// Cargo's target folder: the one the running test was built into.
pub fn target_dir() -> PathBuf {
    let running = std::env::current_exe().expect("the running program has a path");
    let profile = running
        .ancestors()
        .find(|folder| {
            folder
                .file_name()
                .is_some_and(|name| name == "debug" || name == "release")
        })
        .unwrap_or_else(|| panic!("{} does not lie in a target folder", running.display()));
    profile
        .parent()
        .expect("a profile's folder has a parent")
        .to_owned()
}

/// The release binary of a package, if it was built.
pub fn release_binary(name: &str) -> Option<PathBuf> {
    Some(target_dir().join("release").join(name)).filter(|path| path.exists())
}

/// The binary of the package `name` with every feature that tests use, whatever a deployment has:
/// always the debug build.
///
/// # Panics
/// When it does not build.
pub fn full_binary(name: &str) -> PathBuf {
    static BUILT: LazyLock<Mutex<HashMap<String, PathBuf>>> = LazyLock::new(Mutex::default);
    let mut built = BUILT
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner);
    let path = built.entry(name.to_owned()).or_insert_with(|| build(name));
    path.clone()
}

/// The binary of the package `name` that tests run.
///
/// # Panics
/// When it does not build.
pub fn binary(name: &str) -> PathBuf {
    if std::env::var(TEST_PROFILE).is_ok_and(|profile| profile == "release")
        && let Some(path) = release_binary(name)
    {
        return path;
    }
    full_binary(name)
}

/// Builds by binary, not by package: a package alone has other features, and all it depends on
/// would be built once more.
fn build(name: &str) -> PathBuf {
    let target = target_dir();
    let output = cargo()
        .args(["build", "--quiet", "--bin", name, "--target-dir"])
        .arg(&target)
        .output()
        .expect("cargo runs");
    assert!(
        output.status.success(),
        "{name} does not build: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    target.join("debug").join(name)
}

/// The cargo that runs this test, in the workspace, as from a terminal: without what cargo tells a
/// test of its package. Build scripts that watch those variables would run again, and all that
/// depends on them with them, each way.
pub fn cargo() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(workspace());
    for (name, _) in std::env::vars_os() {
        let told = ["CARGO_MANIFEST_", "CARGO_PKG_"];
        if told
            .iter()
            .any(|prefix| name.as_encoded_bytes().starts_with(prefix.as_bytes()))
        {
            command.env_remove(name);
        }
    }
    command
}

/// How many crates a package's program is made of, itself and macros included.
///
/// # Panics
/// When cargo cannot tell.
pub fn crates(package: &str) -> usize {
    let arguments = "tree --locked --offline --edges normal --prefix none --package";
    let output = cargo()
        .args(arguments.split(' '))
        .arg(package)
        .output()
        .expect("cargo starts");
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    // Name and version; a mark of repetition follows.
    text.lines()
        .map(|line| line.split_whitespace().take(2).collect::<Vec<_>>())
        .collect::<BTreeSet<_>>()
        .len()
}
