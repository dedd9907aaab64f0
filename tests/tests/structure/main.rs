//! How the house is cut: which crate uses which, read from `cargo metadata`, and which file of a
//! crate uses which, read from its imports.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test stops at the first surprise"
)]

mod crates;
mod imports;

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use petgraph::algo::tarjan_scc;
use petgraph::graphmap::DiGraphMap;

use crate::crates::{crates, root};
use crate::imports::{Imports, Source, sources};

/// Lines that a file may have. No file is excepted.
const MAX_LINES: usize = 500;
/// Endings of files to which that applies. It does not apply to what is generated or listed: lock
/// files, snapshots, pinned requirements, `template.yaml` and `openapi.yaml`.
const CODE: &[&str] = &[
    "rs", "js", "mjs", "ts", "vue", "css", "html", "py", "sh", "sql", "c", "java", "php", "rb",
];
/// Fields that a part of a session may have.
const MAX_FIELDS: usize = 12;

/// Files that use each other and may, with the reason: two halves of one subject.
const ALLOWED_CIRCLES: &[(&str, &[&str], &str)] = &[(
    "lambda-local",
    &["template/fields.rs", "template/scope.rs"],
    "a scope reduces a value to what is read of it, and reading it reduces what is in it",
)];

fn circles(sources: &[Source]) -> BTreeSet<Vec<String>> {
    let imports = Imports::of(sources);
    let mut graph = DiGraphMap::<&str, ()>::new();
    for (from, to) in imports.arrows() {
        graph.add_edge(from, to, ());
    }
    tarjan_scc(&graph)
        .into_iter()
        .filter(|files| files.len() > 1)
        .map(|files| {
            let mut files: Vec<String> = files.into_iter().map(str::to_owned).collect();
            files.sort();
            files
        })
        .collect()
}

#[test]
fn no_files_use_each_other_but_those_that_may() {
    let (mut found, mut arrows) = (BTreeSet::new(), Vec::new());
    for one in crates() {
        let sources = sources(&one.root());
        for files in circles(&sources) {
            for (from, to) in Imports::of(&sources).arrows() {
                if files.iter().any(|file| file == from) && files.iter().any(|file| file == to) {
                    arrows.push(format!("{}: {from} uses {to}", one.name));
                }
            }
            found.insert((one.name.clone(), files));
        }
    }
    let allowed: BTreeSet<(String, Vec<String>)> = ALLOWED_CIRCLES
        .iter()
        .map(|(of, files, _)| {
            let files = files.iter().map(|&file| file.to_owned()).collect();
            ((*of).to_owned(), files)
        })
        .collect();
    assert_eq!(found, allowed, "{arrows:#?}");
}

#[test]
fn no_file_is_longer_than_its_reader_is_patient() {
    let files = code_files();
    assert!(files.iter().any(|(name, _)| name.ends_with("main.rs")));
    let too_long: Vec<String> = files
        .iter()
        .map(|(name, text)| (name, text.lines().count()))
        .filter(|(_, lines)| *lines > MAX_LINES)
        .map(|(name, lines)| format!("{name} has {lines} lines"))
        .collect();
    assert!(too_long.is_empty(), "{too_long:#?}");
}

/// Everything that people write as code, tests and scripts included: each file's path and text.
fn code_files() -> Vec<(String, String)> {
    let root = root();
    let output = Command::new("git")
        .args(["ls-files", "-z", "--cached", "--others"])
        .arg("--exclude-standard")
        .current_dir(&root)
        .output()
        .unwrap();
    assert!(output.status.success(), "git lists the files");
    let names = String::from_utf8(output.stdout).unwrap();
    names
        .split_terminator('\0')
        .filter(|name| is_code(name))
        .filter_map(|name| {
            // One that was removed and not yet from the index is not read.
            let text = std::fs::read_to_string(root.join(name)).ok()?;
            Some((name.to_owned(), text))
        })
        .collect()
}

fn is_code(name: &str) -> bool {
    let path = Path::new(name);
    let ending = path.extension().and_then(|ending| ending.to_str());
    ending.is_some_and(|ending| CODE.contains(&ending)) || ["Makefile", ".ci/run"].contains(&name)
}

#[test]
fn no_part_of_a_session_owns_everything() {
    let crates = crates();
    let stand_in = crates.iter().find(|one| one.name == "dsql-local").unwrap();
    let sources = sources(&stand_in.root());
    let of_session = sources
        .iter()
        .filter(|source| source.file.starts_with("session/"));
    let mut seen = 0;
    for source in of_session {
        for (name, fields) in structs(&source.tokens()) {
            assert!(fields <= MAX_FIELDS, "{name} has {fields}");
            seen += 1;
        }
    }
    assert!(seen > 0, "the session has moved");
}

/// Each struct with the number of its named fields.
fn structs<'a>(tokens: &[&'a str]) -> Vec<(&'a str, usize)> {
    let starts = tokens.iter().enumerate();
    let starts = starts.filter(|(_, token)| **token == "struct");
    starts
        .filter_map(|(at, _)| {
            let (name, rest) = tokens.get(at + 1..)?.split_first()?;
            let start = rest.iter().position(|token| matches!(*token, "{" | ";"))?;
            let end = rest.iter().position(|token| matches!(*token, "}" | ";"))?;
            let body = rest.get(start..end)?;
            // A field's name stands before a colon that is no part of a path.
            let fields = body.windows(3).filter(
                |window| matches!(window, [before, ":", after] if *before != ":" && *after != ":"),
            );
            Some((*name, fields.count()))
        })
        .collect()
}

#[test]
fn a_circle_is_found_however_its_imports_are_written() {
    let source = |file: &str, text: &str| Source {
        file: file.to_owned(),
        text: text.to_owned(),
    };
    let inline = [
        source("lib.rs", "mod a; mod b;"),
        source("a.rs", "use crate::b::B; pub struct A;"),
        source(
            "b.rs",
            "pub struct B; fn f() -> super::a::A { super::a::A }",
        ),
    ];
    let circle = vec!["a.rs".to_owned(), "b.rs".to_owned()];
    assert_eq!(circles(&inline), BTreeSet::from([circle.clone()]));
    let in_a_macro = [
        source("a.rs", "use crate::{b::{self as other, B}};"),
        source("b.rs", "fn f() { vec![crate::a::A] }"),
    ];
    assert_eq!(circles(&in_a_macro), BTreeSet::from([circle]));
    let parent = [
        source("a/mod.rs", "mod b; use b::B;"),
        source("a/b.rs", "use super::A;"),
    ];
    let circle = vec!["a/b.rs".to_owned(), "a/mod.rs".to_owned()];
    assert_eq!(circles(&parent), BTreeSet::from([circle]));
    let passed_on = [
        source("lib.rs", "mod a; mod b; pub use a::A; pub use b::B;"),
        source("a.rs", "use crate::B; pub struct A;"),
        source("b.rs", "use crate::A; pub struct B;"),
    ];
    let circle = vec!["a.rs".to_owned(), "b.rs".to_owned()];
    assert_eq!(circles(&passed_on), BTreeSet::from([circle]));
    let only_in_tests = [
        source("a.rs", "use crate::b::B;"),
        source("b.rs", "#[cfg(test)] mod tests { use crate::a::A; }"),
    ];
    assert_eq!(circles(&only_in_tests), BTreeSet::new());
}

/// What a reader of docs.rs looks for first.
#[test]
fn every_public_function_of_dsql_has_an_example() {
    let crates = crates();
    let dsql = crates.iter().find(|one| one.name == "dsql").unwrap();
    let (mut seen, mut without) = (0, Vec::new());
    for source in sources(&dsql.root()) {
        let lines: Vec<&str> = source.text.lines().map(str::trim_start).collect();
        for (at, line) in lines.iter().enumerate() {
            if !["pub fn ", "pub async fn "]
                .iter()
                .any(|start| line.starts_with(start))
            {
                continue;
            }
            seen += 1;
            let above = lines.iter().take(at).rev();
            let mut docs =
                above.take_while(|line| line.starts_with("///") || line.starts_with("#["));
            if !docs.any(|line| line.starts_with("/// ```")) {
                without.push(format!("{}: {line}", source.file));
            }
        }
    }
    assert!(seen > 50, "the crate has moved");
    assert!(without.is_empty(), "{without:#?}");
}
