//! What a role owns in the schemas of logins, by kind and as DDL names it, and what of others needs
//! it.

use std::fmt;

use dsql::{Db, Error, Row, Type};
use logins::LoginName;

/// A kind of object that a login can create, in the order in which they are dropped:
/// what is made of others comes before them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    View,
    Function,
    Table,
    Sequence,
    Domain,
}

impl Kind {
    /// As DDL names it.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::View => "VIEW",
            Self::Function => "FUNCTION",
            Self::Table => "TABLE",
            Self::Sequence => "SEQUENCE",
            Self::Domain => "DOMAIN",
        }
    }

    fn parse(letter: &str) -> Self {
        match letter {
            "v" => Self::View,
            "f" => Self::Function,
            "S" => Self::Sequence,
            "d" => Self::Domain,
            _ => Self::Table,
        }
    }
}

/// An object and its kind. `Display` is what DDL takes: `VIEW blog.recent`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Owned {
    pub(crate) kind: Kind,
    /// Qualified and quoted; a function with its arguments.
    pub(crate) target: String,
}

impl fmt::Display for Owned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind.word(), self.target)
    }
}

impl Owned {
    fn from_row(row: &Row) -> Self {
        Self {
            kind: Kind::parse(row.get(0)),
            target: row.get(1),
        }
    }
}

/// Every object that can be owned on its own: kind, name, schema, owner, catalog and oid. Sequences
/// of identity columns follow their table.
macro_rules! owned {
    ($select:literal) => {
        concat!(
            "WITH RECURSIVE owned(kind, target, schema, owner, classid, objid) AS (
                SELECT CASE c.relkind::text WHEN 'p' THEN 'r' ELSE c.relkind::text END,
                    quote_ident(n.nspname) || '.' || quote_ident(c.relname), n.nspname::text, c.relowner,
                    'pg_class'::regclass::oid, c.oid
                FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
                WHERE c.relkind::text IN ('r', 'p', 'v', 'S') AND NOT EXISTS (
                    SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid
                    AND d.deptype::text IN ('a', 'i') AND c.relkind::text = 'S')
                UNION ALL
                SELECT 'f', quote_ident(n.nspname) || '.' || quote_ident(p.proname)
                    || '(' || pg_get_function_identity_arguments(p.oid) || ')', n.nspname::text, p.proowner,
                    'pg_proc'::regclass::oid, p.oid
                FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
                UNION ALL
                SELECT 'd', quote_ident(n.nspname) || '.' || quote_ident(t.typname), n.nspname::text, t.typowner,
                    'pg_type'::regclass::oid, t.oid
                FROM pg_type t JOIN pg_namespace n ON n.oid = t.typnamespace WHERE t.typtype::text = 'd'
             ) ",
            $select
        )
    };
}

/// What a login's role owns, in the order in which it can be dropped: newer objects may be made of
/// older ones.
pub(super) async fn of(db: &Db, name: &LoginName) -> Result<Vec<Owned>, Error> {
    let rows = db
        .query_idempotent(
            owned!(
                "SELECT kind, target FROM owned JOIN pg_roles r ON r.oid = owner WHERE r.rolname = $1
                 ORDER BY objid DESC"
            ),
            &[(&name.as_str(), Type::TEXT)],
        )
        .await?;
    let mut owned: Vec<Owned> = rows.iter().map(Owned::from_row).collect();
    owned.sort_by_key(|object| object.kind);
    Ok(owned)
}

/// What lies in a schema of a login and belongs to the admin: a view or a function there runs with
/// the rights of the admin.
pub(crate) async fn of_admin(db: &Db) -> Result<Vec<Owned>, Error> {
    let rows = db
        .query_idempotent(
            owned!(
                "SELECT kind, target FROM owned JOIN pg_roles r ON r.oid = owner
                 WHERE r.rolname = 'admin' AND schema IN (
                    SELECT unnest(string_to_array(schemas, ',')) FROM chats.sql_logins)
                 ORDER BY target"
            ),
            &[],
        )
        .await?;
    Ok(rows.iter().map(Owned::from_row).collect())
}

/// What others own and would lose, or what would keep it from being dropped, if everything of a
/// login were: each as PostgreSQL describes it, with its owner.
pub(super) async fn needed_by_others(db: &Db, name: &LoginName) -> Result<Vec<String>, Error> {
    let rows = db
        .query_idempotent(
            owned!(
                ", needs(classid, objid) AS (
                    SELECT classid, objid FROM owned JOIN pg_roles r ON r.oid = owner WHERE r.rolname = $1
                    UNION
                    SELECT coalesce(CASE WHEN w.oid IS NOT NULL THEN 'pg_class'::regclass::oid END, d.classid),
                        coalesce(w.ev_class, d.objid)
                    FROM needs JOIN pg_depend d ON d.refclassid = needs.classid AND d.refobjid = needs.objid
                    LEFT JOIN pg_rewrite w ON d.classid = 'pg_rewrite'::regclass AND w.oid = d.objid
                 ), dependents(classid, objid, owner) AS (
                    SELECT classid, objid, c.relowner FROM needs JOIN pg_class c
                        ON classid = 'pg_class'::regclass AND c.oid = objid AND c.relkind::text IN ('r', 'p', 'v', 'S')
                    UNION ALL SELECT classid, objid, p.proowner FROM needs JOIN pg_proc p
                        ON classid = 'pg_proc'::regclass AND p.oid = objid
                    UNION ALL SELECT classid, objid, t.typowner FROM needs JOIN pg_type t
                        ON classid = 'pg_type'::regclass AND t.oid = objid AND t.typtype::text = 'd'
                    UNION ALL SELECT classid, objid, c.relowner FROM needs JOIN pg_constraint k
                        ON classid = 'pg_constraint'::regclass AND k.oid = objid AND k.contype::text = 'f' JOIN pg_class c ON c.oid = k.conrelid
                    UNION ALL SELECT classid, objid, c.relowner FROM needs JOIN pg_attrdef a
                        ON classid = 'pg_attrdef'::regclass AND a.oid = objid JOIN pg_class c ON c.oid = a.adrelid
                 )
                 SELECT pg_describe_object(classid, objid, 0) || ' of ' || r.rolname
                 FROM dependents JOIN pg_roles r ON r.oid = dependents.owner WHERE r.rolname <> $1
                 ORDER BY 1 LIMIT 10"
            ),
            &[(&name.as_str(), Type::TEXT)],
        )
        .await?;
    Ok(rows.iter().map(|row| row.get(0)).collect())
}
