//! Owns the sample events in `events/`: finding them, and giving them a visitor's token.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::binary::workspace;

/// A file under `events/`.
#[derive(Debug, Clone)]
pub struct Sample {
    /// The folder it lies in, which names its function.
    pub function: String,
    /// File name without `.json`.
    pub name: String,
    /// The event.
    pub event: Value,
}

impl Sample {
    /// All sample events, `events/<function>/<name>.json`, in order of their paths.
    pub fn all() -> Vec<Self> {
        let mut files = Vec::new();
        collect(&workspace().join("events"), &mut files);
        files.sort();
        files.iter().map(|file| Self::read(file)).collect()
    }

    fn read(file: &Path) -> Self {
        let text = fs::read_to_string(file).expect("a listed file is readable");
        let event = serde_json::from_str(&text)
            .unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        let part = |path: Option<&std::ffi::OsStr>| {
            path.expect("a file has a name")
                .to_string_lossy()
                .into_owned()
        };
        Self {
            function: part(file.parent().and_then(Path::file_name)),
            name: part(file.file_stem()),
            event,
        }
    }

    /// The event with every bearer token in its headers replaced by `token`.
    pub fn event_for(&self, token: &str) -> Value {
        self.event_with("authorization", &format!("Bearer {token}"))
    }

    /// The event with the header `name`, where it has it, replaced by `value`.
    pub fn event_with(&self, name: &str, value: &str) -> Value {
        let mut event = self.event.clone();
        for part in ["headers", "multiValueHeaders"] {
            for (header, old) in event
                .get_mut(part)
                .and_then(Value::as_object_mut)
                .into_iter()
                .flatten()
            {
                if header.eq_ignore_ascii_case(name) {
                    *old = if old.is_array() {
                        json!([value])
                    } else {
                        json!(value)
                    };
                }
            }
        }
        event
    }
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).into_iter().flatten() {
        let path = entry.expect("a listed folder is readable").path();
        if path.is_dir() {
            collect(&path, files);
        } else if path
            .extension()
            .is_some_and(|extension| extension == "json")
        {
            files.push(path);
        }
    }
}
