//! Object names as statements spell them: folded, perhaps with a schema.

use std::fmt;

use squawk_syntax::{SyntaxKind, SyntaxNode};

use crate::tree;

/// A possibly qualified name, folded as PostgreSQL folds it. `Display` quotes both parts.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Name {
    /// The schema, if the statement names one.
    pub schema: Option<String>,
    /// The object's own name.
    pub name: String,
}

impl Name {
    /// The name that `node` spells: its last two path segments.
    pub(crate) fn read(node: &SyntaxNode) -> Option<Self> {
        let mut parts: Vec<String> = tree::all(
            node,
            &[SyntaxKind::PATH_SEGMENT, SyntaxKind::PATH_SEGMENT_REF],
        )
        .filter_map(|segment| tree::identifier(&segment))
        .collect();
        let name = parts.pop()?;
        Some(Self {
            schema: parts.pop(),
            name,
        })
    }

    /// The name that a called expression spells, `f` or `s.f`.
    pub(crate) fn read_call(call: &SyntaxNode) -> Option<Self> {
        let callee = call.first_child()?;
        if !matches!(callee.kind(), SyntaxKind::NAME_REF | SyntaxKind::FIELD_EXPR) {
            return None;
        }
        let mut parts: Vec<String> = callee
            .descendants()
            .filter(|node| node.kind() == SyntaxKind::NAME_REF)
            .filter_map(|node| tree::identifier(&node))
            .collect();
        let name = parts.pop()?;
        Some(Self {
            schema: parts.pop(),
            name,
        })
    }

    /// Whether this is `name`, unqualified or in `pg_catalog`.
    pub(crate) fn is_builtin(&self) -> bool {
        self.schema.as_deref().is_none_or(|s| s == "pg_catalog")
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(schema) = &self.schema {
            write!(f, "{}.", quote(schema))?;
        }
        f.write_str(&quote(&self.name))
    }
}

/// `identifier` in double quotes, for SQL.
pub(crate) fn quote(identifier: &str) -> String {
    format!("\"{}\"", identifier.replace('"', "\"\""))
}
