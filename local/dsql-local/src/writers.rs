//! What of a cluster's catalogue decides how closely a statement's writes are looked at: functions
//! and cascades write rows that no command tag counts, and a key of text may be too long. Read once
//! for each version of the catalogue.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};

use dsql_dialect::Rows;
use serde::Deserialize;

use crate::postgres::Catalog;
use crate::schema::{Known, Schema};
use crate::statement::DialectFacts;

const NAMES: &str = "SELECT json_build_object(
        'writers', (SELECT coalesce(json_agg(ARRAY[how, name]), '[]') FROM pg_catalog.dsql_writers),
        'keys', (SELECT coalesce(json_agg(k), '[]') FROM pg_catalog.dsql_keys k))::text WHERE $1 = ''";

/// Names without a schema: one too many is only looked at more closely.
#[derive(Debug, Default)]
pub(crate) struct Names {
    /// Functions, and views, tables and domains that call one.
    callers: HashSet<String>,
    /// Tables whose rows take others with them.
    cascades: HashSet<String>,
    /// Tables with a key of a type without a fixed size.
    long_keys: HashSet<String>,
    /// Of each relation of a name, the columns of each of its keys.
    keys: HashMap<String, Vec<Vec<Vec<String>>>>,
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

    /// The rows that a statement changes at most, where its text and the keys tell.
    pub(crate) fn most_rows(&self, facts: &DialectFacts) -> Option<u64> {
        let (table, rows) = facts.rows.as_ref()?;
        match rows {
            Rows::AtMost(most) => Some(*most),
            Rows::Fixed(columns) => {
                let is_fixed = |key: &Vec<String>| key.iter().all(|part| columns.contains(part));
                let relations = self.keys.get(table)?;
                let all_fixed = relations.iter().all(|keys| keys.iter().any(is_fixed));
                all_fixed.then_some(1)
            }
            _ => None,
        }
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

#[derive(Debug, Default, Deserialize)]
struct Read {
    writers: Vec<(String, String)>,
    keys: Vec<Relation>,
}

#[derive(Debug, Deserialize)]
struct Relation {
    name: String,
    keys: Vec<Vec<String>>,
}

fn read(text: &str) -> Names {
    let read: Read = serde_json::from_str(text).unwrap_or_default();
    let mut names = Names::default();
    for relation in read.keys {
        let of_name = names.keys.entry(relation.name).or_default();
        of_name.push(relation.keys);
    }
    for (how, name) in read.writers {
        match how.as_str() {
            "call" => names.callers.insert(name),
            "cascade" => names.cascades.insert(name),
            _ => names.long_keys.insert(name),
        };
    }
    names
}
