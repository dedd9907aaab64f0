//! Reads which file of a crate uses which: by `use`, or by a path anywhere in the code.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::LazyLock;

use regex::Regex;

/// A comment or a text, which are left out; a word; a sign. A parser such as syn would have all
/// procedural macros built a second time, since they use it too.
static TOKEN: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(
        r#"(?s)//[^\n]*|/\*.*?\*/|r\#+".*?"\#+|"(?:\\.|[^"\\])*"|'(?:\\.[^']*|[^'\\])'|(\w+|\S)"#,
    )
    .expect("the expression is correct")
});

const TEST: [&str; 7] = ["#", "[", "cfg", "(", "test", ")", "]"];

/// A file of a crate.
pub(crate) struct Source {
    /// Below `src`.
    pub(crate) file: String,
    pub(crate) text: String,
}

impl Source {
    /// Its words and signs without comments and tests.
    pub(crate) fn tokens(&self) -> Vec<&str> {
        without_tests(&tokens(&self.text))
    }

    /// The modules that it declares under `#[cfg(test)]`.
    fn test_modules(&self) -> Vec<Vec<String>> {
        let tokens = tokens(&self.text);
        let windows = tokens.windows(TEST.len() + 3);
        windows
            .filter_map(|window| match window.strip_prefix(&TEST[..])? {
                ["mod", name, ";"] => Some([self.module(), vec![(*name).to_owned()]].concat()),
                _ => None,
            })
            .collect()
    }

    /// The path of its module.
    fn module(&self) -> Vec<String> {
        let path = self.file.strip_suffix(".rs").unwrap_or(&self.file);
        let path = path.strip_suffix("/mod").unwrap_or(path);
        if path == "lib" {
            return Vec::new();
        }
        path.split('/').map(str::to_owned).collect()
    }
}

/// All files of a library. The binary's own is left out, which uses the library from outside; so is
/// what only tests see.
pub(crate) fn sources(root: &Path) -> Vec<Source> {
    let all = files(root);
    let tests: Vec<Vec<String>> = all.iter().flat_map(Source::test_modules).collect();
    all.into_iter()
        .filter(|source| {
            let module = source.module();
            !tests.iter().any(|test| module.starts_with(test))
        })
        .collect()
}

fn files(root: &Path) -> Vec<Source> {
    let mut sources = Vec::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in folder.read_dir().unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let file = path.strip_prefix(root).unwrap().display().to_string();
                if file != "main.rs" {
                    let text = std::fs::read_to_string(&path).unwrap();
                    sources.push(Source { file, text });
                }
            }
        }
    }
    sources
}

/// The modules of a crate, with the names that each passes on from another.
struct Modules<'a> {
    files: BTreeMap<Vec<String>, &'a str>,
    passed_on: BTreeMap<Vec<String>, Vec<String>>,
}

impl<'a> Modules<'a> {
    fn of(sources: &'a [Source]) -> Self {
        let mut modules = Self {
            files: sources
                .iter()
                .map(|source| (source.module(), source.file.as_str()))
                .collect(),
            passed_on: BTreeMap::new(),
        };
        for source in sources {
            let module = source.module();
            for path in passed_on(&source.tokens()) {
                let name = path.last().cloned();
                let path = modules.absolute(&path, &module);
                if let Some((path, name)) = path.zip(name) {
                    let here = [module.as_slice(), &[name]].concat();
                    modules.passed_on.insert(here, path);
                }
            }
        }
        modules
    }

    /// A path from the crate's root; none if it leads out of the crate.
    fn absolute(&self, path: &[String], module: &[String]) -> Option<Vec<String>> {
        let (first, rest) = path.split_first()?;
        let from = match first.as_str() {
            "crate" => &[][..],
            "self" => module,
            "super" => {
                let (_, parent) = module.split_last()?;
                if rest.first().is_some_and(|next| next == "super") {
                    return self.absolute(rest, parent);
                }
                parent
            }
            _ => {
                let child = [module, std::slice::from_ref(first)].concat();
                return self
                    .files
                    .contains_key(&child)
                    .then(|| [module, path].concat());
            }
        };
        Some([from, rest].concat())
    }

    /// The file that holds what an absolute path names, wherever it was passed on.
    fn file(&self, path: &[String]) -> Option<&'a str> {
        let passed_on = (1..=path.len()).find_map(|len| {
            let (name, rest) = path.split_at_checked(len)?;
            // A module may have the name of what is passed on from it.
            let is_module = !rest.is_empty() && self.files.contains_key(name);
            let path = self.passed_on.get(name).filter(|_| !is_module)?;
            Some([path.as_slice(), rest].concat())
        });
        if let Some(path) = passed_on.filter(|onward| onward != path) {
            return self.file(&path);
        }
        (0..=path.len())
            .rev()
            .find_map(|len| self.files.get(path.get(..len)?).copied())
    }
}

/// Which file uses which.
pub(crate) struct Imports {
    arrows: BTreeSet<(String, String)>,
}

impl Imports {
    pub(crate) fn of(sources: &[Source]) -> Self {
        let modules = Modules::of(sources);
        let mut arrows = BTreeSet::new();
        for source in sources {
            let module = source.module();
            let tokens = source.tokens();
            for path in paths(&without_passed_on(&tokens)) {
                let path = modules.absolute(&path, &module);
                let used = path.and_then(|path| modules.file(&path));
                if let Some(used) = used.filter(|used| *used != source.file) {
                    arrows.insert((source.file.clone(), used.to_owned()));
                }
            }
        }
        Self { arrows }
    }

    /// User and used.
    pub(crate) fn arrows(&self) -> impl Iterator<Item = (&str, &str)> {
        self.arrows
            .iter()
            .map(|(from, to)| (from.as_str(), to.as_str()))
    }
}

/// The words and signs of a text.
fn tokens(text: &str) -> Vec<&str> {
    let tokens = TOKEN.captures_iter(text).filter_map(|found| found.get(1));
    tokens.map(|token| token.as_str()).collect()
}

/// Leaves out what stands under `#[cfg(test)]`.
fn without_tests<'a>(tokens: &[&'a str]) -> Vec<&'a str> {
    let mut kept = Vec::new();
    let mut rest = tokens;
    while let Some((first, after)) = rest.split_first() {
        let Some(mut item) = rest.strip_prefix(&TEST[..]) else {
            kept.push(*first);
            rest = after;
            continue;
        };
        let mut depth = 0;
        while let Some((token, after)) = item.split_first() {
            item = after;
            match *token {
                "{" => depth += 1,
                "}" => depth -= 1,
                _ => {}
            }
            if depth == 0 && matches!(*token, "}" | ";") {
                break;
            }
        }
        rest = item;
    }
    kept
}

/// Splits off what a module passes on, `pub use …;`: whoever uses it uses the file that has it, and
/// this one does not.
fn split_passed_on<'a>(tokens: &[&'a str]) -> (Vec<&'a str>, Vec<&'a str>) {
    let (mut kept, mut passed_on) = (Vec::new(), Vec::new());
    let mut rest = tokens;
    while let Some((first, after)) = rest.split_first() {
        let is_public = *first == "pub";
        let visibility = match after {
            ["(", _, ")", ..] if is_public => 3,
            _ => 0,
        };
        if is_public && after.get(visibility) == Some(&"use") {
            let from = after.get(visibility..).unwrap_or_default();
            let end = from.iter().position(|token| *token == ";");
            let (used, others) = from.split_at(end.map_or(from.len(), |end| end + 1));
            passed_on.extend(used);
            rest = others;
        } else {
            kept.push(*first);
            rest = after;
        }
    }
    (kept, passed_on)
}

fn without_passed_on<'a>(tokens: &[&'a str]) -> Vec<&'a str> {
    split_passed_on(tokens).0
}

fn passed_on(tokens: &[&str]) -> Vec<Vec<String>> {
    paths(&split_passed_on(tokens).1)
}

/// All paths of more than one name: one name alone is a variable, or something of this very file.
fn paths(tokens: &[&str]) -> Vec<Vec<String>> {
    let mut found = Vec::new();
    let mut rest = tokens;
    while let Some((first, after)) = rest.split_first() {
        rest = if *first == "use" {
            tree(after, &[], &mut found)
        } else {
            path(rest, &mut found)
        };
    }
    found.retain(|path| path.len() > 1);
    found
}

/// Reads one path; what comes after it.
fn path<'t, 'a>(tokens: &'t [&'a str], found: &mut Vec<Vec<String>>) -> &'t [&'a str] {
    let mut path = Vec::new();
    let mut rest = tokens;
    while let Some((name, after)) = rest.split_first() {
        path.push((*name).to_owned());
        match after {
            [":", ":", after @ ..] if after.first().is_some_and(|next| is_name(next)) => {
                rest = after;
            }
            after => {
                rest = after;
                break;
            }
        }
    }
    found.push(path);
    rest
}

/// Reads the paths of a `use`, all below `prefix`; what comes after it.
fn tree<'t, 'a>(
    tokens: &'t [&'a str],
    prefix: &[String],
    found: &mut Vec<Vec<String>>,
) -> &'t [&'a str] {
    let mut path = prefix.to_vec();
    let mut rest = tokens;
    while let Some((token, after)) = rest.split_first() {
        rest = after;
        match *token {
            "{" => rest = tree(rest, &path, found),
            "," => found.push(std::mem::replace(&mut path, prefix.to_vec())),
            "}" | ";" => break,
            "as" => rest = rest.get(1..).unwrap_or_default(),
            // `self` in braces is what stands before them.
            "self" if !path.is_empty() => {}
            name if is_name(name) => path.push(name.to_owned()),
            _ => {}
        }
    }
    found.push(path);
    rest
}

fn is_name(token: &str) -> bool {
    token.starts_with(|first: char| first.is_alphabetic() || first == '_')
}
