//! What of a cluster's catalogue decides how closely a statement's writes are looked at: functions
//! and cascades write rows that no command tag counts, and a key of text may be too long. Read once
//! for each version of the catalogue.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

use crate::postgres::Catalog;
use crate::schema::{Known, Schema};
use crate::statement::DialectFacts;

const NAMES: &str = "SELECT coalesce(json_agg(ARRAY[how, name]), '[]')::text FROM pg_catalog.dsql_writers WHERE $1 = ''";

/// Names without a schema: one too many is only looked at more closely.
#[derive(Debug, Default)]
pub(crate) struct Names {
    /// Functions, and views, tables and domains that call one.
    callers: HashSet<String>,
    /// Tables whose rows take others with them.
    cascades: HashSet<String>,
    /// Tables with a key of a type without a fixed size.
    long_keys: HashSet<String>,
}

impl Names {
    /// Whether a statement may change rows that its command tag does not count.
    pub(crate) fn hide_writes_of(&self, facts: &DialectFacts) -> bool {
        facts.hides_writes
            || are_named(&self.callers, facts)
            || (!facts.targets.is_empty() && are_named(&self.cascades, facts))
    }

    /// Whether a statement may write a key that is too long.
    pub(crate) fn may_lengthen_keys(&self, facts: &DialectFacts) -> bool {
        are_named(&self.long_keys, facts)
    }
}

fn are_named(names: &HashSet<String>, facts: &DialectFacts) -> bool {
    !names.is_empty() && facts.identifiers.iter().any(|name| names.contains(name))
}

/// The names as of a version of the catalogue.
#[derive(Debug, Default)]
pub(crate) struct Writers {
    read: Mutex<Option<(Known, Arc<Names>)>>,
}

impl Writers {
    /// The names as the catalogue now is.
    pub(crate) async fn names(&self, schema: &Schema, catalog: &Catalog) -> Arc<Names> {
        let current = schema.current();
        let known = self
            .read
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        if let Some((version, names)) = known
            && version == current
        {
            return names;
        }
        let Ok(Some(text)) = catalog.text(NAMES, "").await else {
            return Arc::default();
        };
        let names = Arc::new(read(&text));
        *self.read.lock().unwrap_or_else(PoisonError::into_inner) = Some((current, names.clone()));
        names
    }
}

fn read(text: &str) -> Names {
    let rows: Vec<(String, String)> = serde_json::from_str(text).unwrap_or_default();
    let mut names = Names::default();
    for (how, name) in rows {
        match how.as_str() {
            "call" => names.callers.insert(name),
            "cascade" => names.cascades.insert(name),
            _ => names.long_keys.insert(name),
        };
    }
    names
}
