//! The threat model names the tests that hold it.

use std::collections::BTreeSet;
use std::path::Path;

use tests::binary::workspace;

/// The names of all functions in the Rust files below `folder`.
pub(crate) fn functions(folder: &Path, names: &mut BTreeSet<String>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            functions(&path, names);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = std::fs::read_to_string(&path).unwrap();
            let found = text.split("fn ").skip(1);
            names.extend(
                found.filter_map(|rest| rest.split_once('(').map(|(name, _)| name.to_owned())),
            );
        }
    }
}

#[test]
fn every_test_that_the_threat_model_names_is_there() {
    let mut known = BTreeSet::new();
    for folder in ["tests/tests", "shared", "functions", "local"] {
        functions(&workspace().join(folder), &mut known);
    }
    let text = std::fs::read_to_string(workspace().join("docs/threat-model.md")).unwrap();
    let is_test = |word: &&str| {
        let is_plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
        word.matches('_').count() >= 3 && word.chars().all(is_plain)
    };
    let named: Vec<&str> = text.split('`').skip(1).step_by(2).filter(is_test).collect();
    assert!(named.len() >= 40, "{named:?}");
    let missing: Vec<&&str> = named
        .iter()
        .filter(|name| !known.contains(**name))
        .collect();
    assert!(missing.is_empty(), "{missing:?}");
}
