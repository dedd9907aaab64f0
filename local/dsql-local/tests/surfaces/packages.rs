//! The Python and npm packages: built around this binary, installed into a fresh folder, and used
//! as their READMEs say.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;

use crate::connectors::{errors, fresh, node_packages, python_packages, repository};

const NPM: &str = "admin\n40001\n1 conflict, 0 open\nstopped\n";

/// The folder of the built packages. What a debugger reads of the program would be most of what is
/// packed and unpacked.
static BUILT: LazyLock<PathBuf> = LazyLock::new(|| {
    let folder = fresh("packages");
    let program = fresh("stripped").join("dsql-local");
    run(Command::new("strip")
        .arg("-S")
        .arg("-o")
        .arg(&program)
        .arg(env!("CARGO_BIN_EXE_dsql-local")));
    let script = repository().join("scripts/build-packages.sh");
    run(Command::new(script).arg(program).arg(&folder));
    folder
});

/// The built packages whose names end so.
fn built(end: &str) -> Vec<PathBuf> {
    let entries = BUILT.read_dir().unwrap();
    entries
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.to_str().unwrap().ends_with(end))
        .collect()
}

/// What a command prints.
fn run(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{printed}{}", errors(&output));
    printed
}

#[test]
fn the_python_package_brings_the_program_a_context_manager_and_a_fixture() {
    let folder = fresh("package-python");
    let install = ["-m", "pip", "install", "--quiet", "--no-index", "--no-deps"];
    run(Command::new("python3")
        .args(install)
        .args(["--root-user-action=ignore", "--target"])
        .arg(&folder)
        .args(built(".whl")));
    let tools = repository().join(".tools/packages");
    let path = std::env::join_paths([folder, python_packages(), tools]).unwrap();
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/packages/test_package.py");
    run(Command::new("python3")
        .args(["-m", "pytest", "--quiet", "-p", "no:cacheprovider"])
        .arg(tests)
        .env("PYTHONPATH", path)
        .env("PYTHONDONTWRITEBYTECODE", "1"));
}

#[test]
fn the_npm_package_brings_the_program_and_starts_it() {
    let folder = fresh("package-npm");
    std::fs::write(folder.join("package.json"), r#"{"private": true}"#).unwrap();
    run(Command::new("npm")
        .args([
            "install",
            "--offline",
            "--silent",
            "--no-audit",
            "--no-fund",
        ])
        .args(built(".tgz"))
        .current_dir(&folder));
    let (modules, connectors) = (folder.join("node_modules"), node_packages());
    std::fs::create_dir(modules.join("@aws-sdk")).unwrap();
    for name in ["pg", "@aws-sdk/dsql-signer"] {
        let from = connectors.join("node_modules").join(name);
        std::os::unix::fs::symlink(from, modules.join(name)).unwrap();
    }
    // Node looks for packages beside the program.
    let program = folder.join("package.mjs");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/packages/package.mjs");
    std::fs::copy(source, &program).unwrap();
    assert_eq!(run(Command::new("node").arg(program)), NPM);
    let version = run(Command::new(modules.join(".bin/dsql-local")).arg("--version"));
    assert_eq!(
        version,
        format!("dsql-local {}\n", env!("CARGO_PKG_VERSION"))
    );
}
