//! Data types: how a statement spells one, what PostgreSQL displays for it, and what DSQL does with
//! it (User Guide, *Supported data types*: a column type is accepted only if it is listed).

use squawk_syntax::{SyntaxKind, SyntaxNode};

use crate::{name::Name, tree};

/// What DSQL does with a built-in type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Support {
    /// Stored and indexed.
    Key,
    /// Stored, but not as part of a key.
    Column,
    /// Known while a query runs, but not storable.
    Runtime,
    /// Known in expressions only: no function takes or returns it.
    Expression,
    /// Not even known while a query runs.
    Refused,
    /// `serial` and its kin: no such type.
    Missing,
}

use Support::{Column, Expression, Key, Missing, Refused, Runtime};

/// Every built-in type by each of its names, with the name that PostgreSQL displays.
const TYPES: &[(&str, &str, Support)] = &[
    ("bool", "boolean", Key),
    ("boolean", "boolean", Key),
    ("int2", "smallint", Key),
    ("smallint", "smallint", Key),
    ("int4", "integer", Key),
    ("int", "integer", Key),
    ("integer", "integer", Key),
    ("int8", "bigint", Key),
    ("bigint", "bigint", Key),
    ("float4", "real", Key),
    ("real", "real", Key),
    ("float8", "double precision", Key),
    ("float", "double precision", Key),
    ("double precision", "double precision", Key),
    ("numeric", "numeric", Key),
    ("decimal", "numeric", Key),
    ("dec", "numeric", Key),
    ("bpchar", "character", Key),
    ("character", "character", Key),
    ("varchar", "character varying", Key),
    ("text", "text", Key),
    ("uuid", "uuid", Key),
    ("date", "date", Key),
    ("time", "time without time zone", Key),
    ("timestamp", "timestamp without time zone", Key),
    ("timestamptz", "timestamp with time zone", Key),
    ("timetz", "time with time zone", Column),
    ("interval", "interval", Column),
    ("bytea", "bytea", Column),
    ("json", "json", Column),
    ("jsonb", "jsonb", Column),
    ("inet", "inet", Runtime),
    ("oid", "oid", Runtime),
    ("name", "name", Runtime),
    ("xid", "xid", Runtime),
    ("xid8", "xid8", Runtime),
    ("cid", "cid", Runtime),
    ("tid", "tid", Runtime),
    ("jsonpath", "jsonpath", Runtime),
    ("refcursor", "refcursor", Runtime),
    ("regclass", "regclass", Runtime),
    ("regcollation", "regcollation", Runtime),
    ("regconfig", "regconfig", Runtime),
    ("regdictionary", "regdictionary", Runtime),
    ("regnamespace", "regnamespace", Runtime),
    ("regoper", "regoper", Runtime),
    ("regoperator", "regoperator", Runtime),
    ("regproc", "regproc", Runtime),
    ("regprocedure", "regprocedure", Runtime),
    ("regrole", "regrole", Runtime),
    ("regtype", "regtype", Runtime),
    ("aclitem", "aclitem", Runtime),
    ("int2vector", "int2vector", Runtime),
    ("oidvector", "oidvector", Runtime),
    ("pg_snapshot", "pg_snapshot", Runtime),
    ("txid_snapshot", "txid_snapshot", Runtime),
    ("money", "money", Expression),
    ("xml", "xml", Refused),
    ("cidr", "cidr", Expression),
    ("macaddr", "macaddr", Expression),
    ("macaddr8", "macaddr8", Expression),
    ("point", "point", Refused),
    ("line", "line", Refused),
    ("lseg", "lseg", Refused),
    ("box", "box", Refused),
    ("path", "path", Refused),
    ("polygon", "polygon", Refused),
    ("circle", "circle", Refused),
    ("tsvector", "tsvector", Expression),
    ("tsquery", "tsquery", Expression),
    ("gtsvector", "gtsvector", Expression),
    ("int4range", "int4range", Expression),
    ("int8range", "int8range", Expression),
    ("numrange", "numrange", Expression),
    ("tsrange", "tsrange", Expression),
    ("tstzrange", "tstzrange", Expression),
    ("daterange", "daterange", Expression),
    ("int4multirange", "int4multirange", Expression),
    ("int8multirange", "int8multirange", Expression),
    ("nummultirange", "nummultirange", Expression),
    ("tsmultirange", "tsmultirange", Expression),
    ("tstzmultirange", "tstzmultirange", Expression),
    ("datemultirange", "datemultirange", Expression),
    ("bit", "bit", Expression),
    ("varbit", "bit varying", Expression),
    ("pg_lsn", "pg_lsn", Expression),
    ("serial", "serial", Missing),
    ("serial2", "serial2", Missing),
    ("serial4", "serial4", Missing),
    ("serial8", "serial8", Missing),
    ("smallserial", "smallserial", Missing),
    ("bigserial", "bigserial", Missing),
];

/// The types that a column can have, by the names that PostgreSQL displays.
pub fn column_types() -> Vec<&'static str> {
    displayed(&[Key, Column])
}

/// The types that a key can have, by the names that PostgreSQL displays.
pub fn key_types() -> Vec<&'static str> {
    displayed(&[Key])
}

fn displayed(supports: &[Support]) -> Vec<&'static str> {
    let mut displayed: Vec<&str> = TYPES
        .iter()
        .filter(|(_, _, support)| supports.contains(support))
        .map(|(_, display, _)| *display)
        .collect();
    displayed.dedup();
    displayed
}

/// Node kinds that are a type.
pub(crate) const TYPE_NODES: &[SyntaxKind] = &[
    SyntaxKind::ARRAY_TYPE,
    SyntaxKind::PATH_TYPE,
    SyntaxKind::VARCHAR_TYPE,
    SyntaxKind::CHARACTER_TYPE,
    SyntaxKind::BIT_TYPE,
    SyntaxKind::BIT_VARYING_TYPE,
    SyntaxKind::DOUBLE_TYPE,
    SyntaxKind::TIME_TYPE,
    SyntaxKind::TIMESTAMP_TYPE,
    SyntaxKind::INTERVAL_TYPE,
];

/// A type as a statement uses it.
#[derive(Debug, Clone)]
pub(crate) struct TypeUse {
    /// PostgreSQL's display name without length or precision: `integer[]`, `character varying`.
    pub(crate) display: String,
    /// `None` for a type that is not built in: a domain.
    pub(crate) support: Option<Support>,
    pub(crate) array: bool,
    /// Length, or precision and scale.
    pub(crate) arguments: Vec<i64>,
    /// The quoted name of a type that is not built in.
    pub(crate) own: Option<String>,
}

impl TypeUse {
    /// The type that `owner`, a column or a cast, states.
    pub(crate) fn of(owner: &SyntaxNode) -> Option<Self> {
        Self::read(&tree::child(owner, TYPE_NODES)?)
    }

    /// The built-in type called `name`, if there is one.
    pub(crate) fn builtin(name: &str) -> Option<Self> {
        let (element, array) = name.strip_prefix('_').map_or((name, false), |n| (n, true));
        let (_, display, support) = TYPES.iter().find(|(known, ..)| *known == element)?;
        Some(Self::element(display, Some(*support), Vec::new()).in_array(array))
    }

    fn element(display: &str, support: Option<Support>, arguments: Vec<i64>) -> Self {
        Self {
            display: display.to_owned(),
            support,
            array: false,
            arguments,
            own: None,
        }
    }

    fn in_array(mut self, array: bool) -> Self {
        if array && self.support != Some(Missing) && !self.array {
            self.display.push_str("[]");
            self.array = true;
            self.support = match self.support {
                Some(known @ (Refused | Expression)) => Some(known),
                _ => Some(Runtime),
            };
        }
        self
    }

    fn read(node: &SyntaxNode) -> Option<Self> {
        if node.kind() == SyntaxKind::ARRAY_TYPE {
            return Some(Self::read(&tree::child(node, TYPE_NODES)?)?.in_array(true));
        }
        let zoned = tree::has(node, &[SyntaxKind::WITH_TIMEZONE]);
        let name = match node.kind() {
            SyntaxKind::PATH_TYPE => {
                let name = Name::read(node)?;
                let quoted_char = name.name == "char";
                if !name.is_builtin() {
                    return Some(Self::own(&name, Vec::new()));
                }
                if quoted_char {
                    return Some(Self::element("\"char\"", Some(Runtime), Vec::new()));
                }
                name.name
            }
            SyntaxKind::VARCHAR_TYPE => "varchar".to_owned(),
            SyntaxKind::CHARACTER_TYPE => "character".to_owned(),
            SyntaxKind::BIT_TYPE => "bit".to_owned(),
            SyntaxKind::BIT_VARYING_TYPE => "varbit".to_owned(),
            SyntaxKind::DOUBLE_TYPE => "float8".to_owned(),
            SyntaxKind::TIME_TYPE if zoned => "timetz".to_owned(),
            SyntaxKind::TIME_TYPE => "time".to_owned(),
            SyntaxKind::TIMESTAMP_TYPE if zoned => "timestamptz".to_owned(),
            SyntaxKind::TIMESTAMP_TYPE => "timestamp".to_owned(),
            _ => "interval".to_owned(),
        };
        let arguments: Vec<i64> = tree::child(node, &[SyntaxKind::ARG_LIST])
            .map(|list| {
                list.children()
                    .filter_map(|arg| tree::integer(&arg))
                    .collect()
            })
            .unwrap_or_default();
        let single = name == "float" && arguments.first().is_some_and(|bits| *bits <= 24);
        Some(match Self::builtin(if single { "float4" } else { &name }) {
            Some(known) => Self { arguments, ..known },
            None => Self::own(&Name { schema: None, name }, arguments),
        })
    }

    /// A domain, or whatever else is not built in.
    fn own(name: &Name, arguments: Vec<i64>) -> Self {
        Self {
            own: Some(name.to_string()),
            ..Self::element(&name.name, None, arguments)
        }
    }

    /// Whether a column can have this type.
    pub(crate) fn is_storable(&self) -> bool {
        matches!(self.support, None | Some(Key | Column | Missing))
    }

    /// Whether a function can take or return this type.
    pub(crate) fn is_parameter(&self) -> bool {
        !matches!(self.support, Some(Refused | Expression))
    }

    /// Whether a key can contain this type.
    pub(crate) fn is_key(&self) -> bool {
        self.support != Some(Column)
    }

    /// The declared number of characters of a character type.
    pub(crate) fn declared_length(&self) -> Option<i64> {
        matches!(self.display.as_str(), "character" | "character varying")
            .then(|| self.arguments.first().copied())?
    }

    /// Whether this is numeric without a precision, which DSQL takes as `numeric(18,6)`.
    pub(crate) fn lacks_precision(&self) -> bool {
        self.display == "numeric" && self.arguments.is_empty()
    }
}
