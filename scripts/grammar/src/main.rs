//! Says of each statement of the corpus that `dsql-lint` carries what AWS's grammar of DSQL and its
//! linter say of it: one JSON object a line, `{"file", "line", "sql", "grammar", "lint"}`, where
//! `grammar` tells whether it accepts, and `lint` has the rules that object.

use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use dsql_lint::grammar::{Grammar, split_statements};
use dsql_lint::lint_sql;
use serde_json::{Value, json};

fn main() -> Result<(), Box<dyn Error>> {
    let folder = sources_of("dsql-lint")?;
    let grammar = Grammar::load(&folder.join("grammar/dsql_grammar.json"))?;
    let corpus = folder.join("tests/grammar_corpus");
    for file in files(&corpus)? {
        let text = fs::read_to_string(&file)?;
        let name = file.strip_prefix(&corpus)?.display().to_string();
        let statements = match split_statements(&text) {
            Ok(statements) => statements,
            Err(error) => {
                eprintln!("{name} is left out: {error}");
                continue;
            }
        };
        for statement in statements {
            let sql = statement.raw.as_str();
            let rules: Vec<String> = lint_sql(sql)
                .iter()
                .map(|diagnostic| format!("{:?}", diagnostic.rule))
                .collect();
            let said = json!({
                "file": name, "line": statement.line, "sql": sql,
                "grammar": grammar.accepts(sql).ok(), "lint": rules,
            });
            println!("{said}");
        }
    }
    Ok(())
}

/// Where Cargo keeps the sources of a package that this program is built from.
fn sources_of(package: &str) -> Result<PathBuf, Box<dyn Error>> {
    let told = Command::new(std::env::var("CARGO")?)
        .args(["metadata", "--format-version", "1", "--locked"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()?;
    let told: Value = serde_json::from_slice(&told.stdout)?;
    let packages = told["packages"].as_array().ok_or("no packages")?;
    let found = packages.iter().find(|one| one["name"] == package);
    let manifest = found.and_then(|one| one["manifest_path"].as_str());
    let manifest = Path::new(manifest.ok_or("the package is not there")?);
    Ok(manifest.parent().ok_or("no folder")?.to_owned())
}

/// All files of SQL below `folder`, in order.
fn files(folder: &Path) -> Result<Vec<PathBuf>, Box<dyn Error>> {
    let mut found = Vec::new();
    let mut entries: Vec<PathBuf> = fs::read_dir(folder)?
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<Result<_, _>>()?;
    entries.sort();
    for entry in entries {
        if entry.is_dir() {
            found.extend(files(&entry)?);
        } else if entry.extension().is_some_and(|extension| extension == "sql") {
            found.push(entry);
        }
    }
    Ok(found)
}
