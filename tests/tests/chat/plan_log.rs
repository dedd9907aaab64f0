//! The plans that ran, as PostgreSQL notes them, and what each looked at.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};

use dsql_local::Options;
use serde_json::Value;

use crate::stack::Stack;

/// Looks for single rows by their whole key, such as whether a chat has a lock, that a statement
/// may make beside the rows it returns or writes.
const PROBES: u64 = 12;

/// Reads the plans that PostgreSQL writes into its log.
pub(crate) struct Plans {
    log: File,
}

/// For what a statement is planned. Of one that is prepared, PostgreSQL decides after its fifth
/// use; the service lets nobody say.
#[derive(Debug, Clone, Copy)]
pub(crate) enum PlannedFor {
    /// The values that it has.
    ItsValues,
    /// Any values.
    Any,
}

impl Plans {
    pub(crate) fn options(planned_for: PlannedFor) -> Options {
        let mode = match planned_for {
            PlannedFor::ItsValues => "plan_cache_mode=force_custom_plan",
            PlannedFor::Any => "plan_cache_mode=force_generic_plan",
        };
        Options {
            postgres_settings: [
                "session_preload_libraries=auto_explain",
                "auto_explain.log_min_duration=0",
                "auto_explain.log_analyze=on",
                "auto_explain.log_timing=off",
                "auto_explain.log_format=json",
                "log_min_messages=log",
                "autovacuum=off",
                // DSQL's tables are their primary keys: it has no heap, and so no bitmap scans (its
                // guide to EXPLAIN).
                "enable_bitmapscan=off",
                mode,
            ]
            .map(str::to_owned)
            .to_vec(),
            ..Options::default()
        }
    }

    pub(crate) fn of(stack: &Stack) -> Self {
        let mut log = File::open(stack.server.postgres_log()).unwrap();
        log.seek(SeekFrom::End(0)).unwrap();
        Self { log }
    }

    /// Judges the statements on the chat schema that ran since the last look, which may have looked
    /// at this many rows `beside` those they returned or wrote.
    pub(crate) fn judge(&mut self, name: &str, beside: u64) {
        let mut text = String::new();
        self.log.read_to_string(&mut text).unwrap();
        let mut judged = 0;
        for (begin, _) in text.match_indices("plan:\n") {
            let json = &text[begin + "plan:\n".len()..];
            let mut values = serde_json::Deserializer::from_str(json).into_iter::<Value>();
            let plan = values.next().unwrap().unwrap();
            let cost = Cost::of(&plan["Plan"]);
            if cost.scanned.is_empty() {
                continue; // on no table, or one of the catalog
            }
            judged += 1;
            let query = plan["Query Text"].as_str().unwrap_or_default();
            let shown = || format!("{name}: {cost:#?}\n{query}");
            assert_eq!(cost.whole_tables, Vec::<String>::new(), "{}", shown());
            assert!(!cost.throws_away, "{}", shown());
            let scanned: u64 = cost.scanned.values().sum();
            let most = cost.returned + cost.written + cost.aside + PROBES + beside;
            assert!(
                scanned <= most,
                "{scanned} rows, at most {most}: {}",
                shown()
            );
        }
        assert!(judged > 0, "{name} ran no statement: {text}");
    }
}

/// What a plan did.
#[derive(Debug, Default)]
struct Cost {
    /// Rows that the client got.
    returned: u64,
    /// Rows inserted, updated and deleted.
    written: u64,
    /// Rows that were looked at, by table.
    scanned: BTreeMap<String, u64>,
    /// Rows that were looked at and are off the path.
    aside: u64,
    /// Whether a filter took out more than the one row that a key leads to.
    throws_away: bool,
    /// Tables that were read without an index.
    whole_tables: Vec<String>,
    /// How each table was read.
    steps: Vec<String>,
}

impl Cost {
    fn of(plan: &Value) -> Self {
        let mut cost = Self {
            returned: rows(plan),
            ..Self::default()
        };
        cost.add(plan);
        cost
    }

    fn add(&mut self, node: &Value) {
        let kind = node["Node Type"].as_str().unwrap_or_default();
        let table = node["Relation Name"].as_str().unwrap_or_default();
        let inner = node["Plans"].as_array().cloned().unwrap_or_default();
        if kind == "ModifyTable" {
            let source = inner
                .iter()
                .filter(|node| node["Parent Relationship"] == "Outer");
            self.written += source.map(rows).sum::<u64>();
        } else if !table.is_empty() && !table.starts_with("pg_") {
            let each = |key: &str| {
                node[key].as_u64().unwrap_or(0) * node["Actual Loops"].as_u64().unwrap_or(0)
            };
            let thrown = each("Rows Removed by Filter") + each("Rows Removed by Index Recheck");
            *self.scanned.entry(table.to_owned()).or_default() += each("Actual Rows") + thrown;
            // What was set aside lies beside what is read.
            let filter = node["Filter"].as_str().unwrap_or_default();
            if filter.contains("aside_since IS NULL") {
                self.aside += thrown;
            } else {
                self.throws_away |= thrown > node["Actual Loops"].as_u64().unwrap_or(0);
            }
            self.steps.push(format!(
                "{kind} {table} {} {} {}: {} rows, {thrown} thrown away",
                node["Index Name"],
                node["Index Cond"],
                node["Filter"],
                each("Actual Rows")
            ));
            if kind == "Seq Scan" && node["Actual Loops"] != 0 {
                self.whole_tables.push(table.to_owned());
            }
        }
        for node in &inner {
            self.add(node);
        }
    }
}

fn rows(node: &Value) -> u64 {
    node["Actual Rows"].as_u64().unwrap_or(0) * node["Actual Loops"].as_u64().unwrap_or(0)
}
