//! Templates: the repository's own, edited copies of it, small ones, and broken ones.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test stops at the first surprise"
)]

mod edits;
mod faults;
mod garbage;
mod intrinsics;
mod parameters;
mod repository;
mod schedules;
mod services;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use lambda_local::application::{Application, Function};
use lambda_local::template::{Inputs, Template, TemplateError};

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../template.yaml")
}

/// The text of the repository's template, with one text in it replaced.
fn edited(from: &str, to: &str) -> String {
    let text = std::fs::read_to_string(repository()).unwrap();
    assert!(text.contains(from), "the template has no {from}");
    text.replacen(from, to, 1)
}

fn owned(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs
        .iter()
        .map(|&(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}

/// What the repository's template needs.
fn inputs() -> Inputs {
    Inputs {
        parameters: owned(&[
            ("AuthJwks", r#"{"keys":[]}"#),
            ("AuthIssuer", "https://blog.example.com"),
        ]),
        attributes: owned(&[("Cluster.Endpoint", "abc.dsql.us-east-1.on.aws")]),
        ..stack()
    }
}

/// A stack without parameters.
fn stack() -> Inputs {
    Inputs {
        stack: "chat".to_owned(),
        region: "us-east-1".to_owned(),
        account: "123456789012".to_owned(),
        ..Inputs::default()
    }
}

fn resolve(text: &str, inputs: &Inputs) -> Result<Application, TemplateError> {
    Template::parse(text, Path::new(""))?.resolve(inputs)
}

/// What is wrong with a template, line by line.
fn faults(text: &str, inputs: &Inputs) -> Vec<String> {
    let error = resolve(text, inputs).unwrap_err();
    error.to_string().lines().map(str::to_owned).collect()
}

fn function<'a>(application: &'a Application, logical_id: &str) -> &'a Function {
    let mut functions = application.functions.iter();
    functions
        .find(|function| function.logical_id == logical_id)
        .unwrap_or_else(|| panic!("no function {logical_id}"))
}
