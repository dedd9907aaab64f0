//! Queries, functions and `CALL` (sources: README).

use squawk_syntax::{SyntaxKind as K, SyntaxNode};

use crate::{
    lexer::fold,
    name::Name,
    parse::Parsed,
    tree,
    types::{Support, TypeUse},
};

/// Functions refused, by whatever calls them: by name, or by a prefix ending in `*`.
pub static REFUSED_FUNCTIONS: &[&str] = &[
    "pg_advisory_*",
    "pg_try_advisory_*",
    "lastval",
    "inet_server_addr",
    "inet_server_port",
    "pg_notify",
    "pg_export_snapshot",
    "lo_*",
    "loread",
    "lowrite",
];

/// Syntax that the parser knows and PostgreSQL 16 does not, with how many tokens of it 16 still
/// reads.
const LATER: &[(K, usize)] = &[
    (K::VIRTUAL, 0),
    (K::ENFORCED, 0),
    (K::NOT_ENFORCED, 1),
    (K::WITHOUT_OVERLAPS, 0),
    (K::PERIOD_COLUMN, 1),
    (K::RETURNING_OPTION_LIST, 1),
    (K::CONFLICT_DO_SELECT, 1),
    (K::SET_EXPRESSION, 1),
    (K::FOR_PORTION_OF, 1),
    (K::JSON_TABLE_COLUMN_LIST, 0),
];

fn calls(parsed: &Parsed<'_>) -> impl Iterator<Item = (Name, SyntaxNode)> {
    parsed
        .all(&[K::CALL_EXPR])
        .filter_map(|call| Some((Name::read_call(&call)?, call)))
}

fn builtin_calls(parsed: &Parsed<'_>) -> impl Iterator<Item = (String, SyntaxNode)> {
    calls(parsed)
        .filter(|(name, _)| name.is_builtin())
        .map(|(name, call)| (name.name, call))
}

/// Where PostgreSQL places a syntax error.
pub(super) fn near(token: Option<&str>) -> String {
    token.map_or_else(
        || "end of input".to_owned(),
        |token| format!("or near \"{token}\""),
    )
}

/// PostgreSQL 16 wants an expression after `GROUP BY ALL` and complains of whatever stands there.
pub(super) fn group_by_all(parsed: &Parsed<'_>) -> Option<String> {
    let clause = parsed.all(&[K::GROUP_BY_CLAUSE]).find(|clause| {
        tree::child(clause, &[K::ALL]).is_some()
            && tree::child(clause, &[K::GROUP_BY_LIST]).is_none()
    })?;
    let end: usize = tree::tokens(&clause).last()?.text_range().end().into();
    let next = parsed.tokens.iter().find(|token| token.range.start >= end);
    Some(near(next.map(|token| token.text)))
}

pub(super) fn later_than_16(parsed: &Parsed<'_>) -> Option<String> {
    LATER.iter().find_map(|(kind, skip)| {
        let node = parsed.first(*kind)?;
        tree::tokens(&node)
            .nth(*skip)
            .map(|token| token.text().to_owned())
    })
}

/// Which column of a `LEFT JOIN LATERAL` is computed from a column of a table outside of it: the
/// service's planner fails, and names the row that it scans. Here columns that name their table;
/// the others need the catalog. What a subquery computes is its own.
pub(super) fn lateral_outer_column(parsed: &Parsed<'_>) -> Option<String> {
    left_laterals(parsed).find_map(|lateral| {
        let inside: Vec<String> =
            tree::all(&lateral.select, &[K::TABLE_ALIAS, K::RELATION_NAME_REF])
                .filter_map(|name| tree::tokens(&name).last())
                .map(|token| fold(token.text()))
                .collect();
        let shows_outer = |target: &SyntaxNode| {
            own_nodes(target, K::FIELD_EXPR)
                .filter_map(|field| tree::child(&field, &[K::NAME_REF]))
                .filter_map(|table| tree::identifier(&table))
                .any(|table| !inside.contains(&table))
        };
        let outer = lateral.targets()?.position(|target| shows_outer(&target))?;
        let row = scanned_row(&lateral.select);
        Some(format!("{} of type {row}", outer + 1))
    })
}

/// For each `LEFT JOIN LATERAL` of plain tables with columns that name no table: the tables inside,
/// those before it, these columns, their positions, and the row that is scanned.
pub(crate) fn lateral_bare_columns(parsed: &Parsed<'_>) -> Vec<[Vec<String>; 5]> {
    left_laterals(parsed)
        .filter_map(|lateral| {
            let (names, positions): (Vec<String>, Vec<String>) = lateral
                .targets()?
                .enumerate()
                .flat_map(|(place, target)| {
                    own_nodes(&target, K::NAME_REF)
                        .filter(|name| !is_part_of_name(name))
                        .filter_map(|name| tree::identifier(&name))
                        .map(|name| (name, (place + 1).to_string()))
                        .collect::<Vec<_>>()
                })
                .unzip();
            let around = lateral
                .join
                .ancestors()
                .find(|node| node.kind() == K::FROM_CLAUSE)?;
            let inside = tree::child(&lateral.select, &[K::FROM_CLAUSE]);
            let start = lateral.join.text_range().start();
            let inside =
                inside.map_or(Some(Vec::new()), |from| plain_tables(from.descendants()))?;
            let before = around.descendants();
            let before = plain_tables(before.filter(|node| node.text_range().end() <= start))?;
            let row = scanned_row(&lateral.select);
            (!names.is_empty()).then(|| [inside, before, names, positions, vec![row]])
        })
        .collect()
}

/// `LEFT JOIN LATERAL (SELECT …)`.
struct Lateral {
    join: SyntaxNode,
    select: SyntaxNode,
}

impl Lateral {
    fn targets(&self) -> Option<impl Iterator<Item = SyntaxNode> + use<>> {
        tree::child(&self.select, &[K::SELECT_CLAUSE])
            .and_then(|clause| tree::child(&clause, &[K::TARGET_LIST]))
            .map(|targets| targets.children())
    }
}

/// As many as a statement that is meant to run has.
fn left_laterals(parsed: &Parsed<'_>) -> impl Iterator<Item = Lateral> {
    const MOST: usize = 50;
    parsed
        .all(&[K::JOIN])
        .filter(|join| tree::child(join, &[K::JOIN_LEFT]).is_some())
        .filter_map(|join| {
            let item = tree::child(&join, &[K::PAREN_FROM_ITEM])
                .filter(|item| tree::has_token(item, K::LATERAL_KW))?;
            let query = tree::child(&item, &[K::PAREN_SELECT])?;
            let select = tree::child(&query, &[K::SELECT])?;
            Some(Lateral { join, select })
        })
        .take(MOST)
}

/// The nodes of this kind in `target` that no subquery has.
fn own_nodes(target: &SyntaxNode, kind: K) -> impl Iterator<Item = SyntaxNode> {
    target
        .descendants()
        .filter(move |node| node.kind() == kind)
        .filter(move |node| {
            let mut around = node.ancestors().take_while(|node| node != target);
            !around.any(|node| node.kind() == K::SELECT)
        })
}

/// Whether a name is that of a function, or has others before or behind it.
fn is_part_of_name(name: &SyntaxNode) -> bool {
    name.parent().is_some_and(|parent| match parent.kind() {
        K::FIELD_EXPR => true,
        K::CALL_EXPR => parent.first_child().as_ref() == Some(name),
        _ => false,
    })
}

/// The quoted names of tables in FROM; `None` if there is something else in it.
fn plain_tables(nodes: impl Iterator<Item = SyntaxNode>) -> Option<Vec<String>> {
    let mut tables = Vec::new();
    for node in nodes {
        match node.kind() {
            K::PAREN_FROM_ITEM | K::CALL_EXPR | K::SELECT => return None,
            K::RELATION_NAME_REF => tables.push(Name::read(&node)?.to_string()),
            _ => {}
        }
    }
    Some(tables)
}

/// The name of the row that a query scans: of its only table, or of none.
fn scanned_row(select: &SyntaxNode) -> String {
    let from = tree::child(select, &[K::FROM_CLAUSE]);
    let mut tables: Vec<Name> = from
        .iter()
        .flat_map(|from| tree::all(from, &[K::RELATION_NAME_REF]).collect::<Vec<_>>())
        .filter_map(|table| Name::read(&table))
        .collect();
    match (tables.pop(), tables.is_empty()) {
        (Some(table), true) => table.name,
        _ => "record".to_owned(),
    }
}

pub(super) fn call_subquery(parsed: &Parsed<'_>) -> Option<String> {
    parsed
        .statements_of(&[K::CALL])
        .any(|call| tree::has(&call, &[K::SELECT, K::COMPOUND_SELECT, K::VALUES, K::TABLE]))
        .then(String::new)
}

pub(super) fn procedure_in_query(parsed: &Parsed<'_>) -> Option<String> {
    calls(parsed)
        .any(|(name, _)| name.schema.as_deref() == Some("sys") && name.name == "wait_for_job")
        .then(String::new)
}

pub(super) fn refused_function(parsed: &Parsed<'_>) -> Option<String> {
    builtin_calls(parsed).map(|(name, _)| name).find(|name| {
        REFUSED_FUNCTIONS
            .iter()
            .any(|refused| match refused.strip_suffix('*') {
                Some(prefix) => name.starts_with(prefix),
                None => name == refused,
            })
    })
}

/// Types that do not exist even while a query runs, in a cast, a typed constant or a constructor.
pub(super) fn runtime_type(parsed: &Parsed<'_>) -> Option<String> {
    let is_refused = |known: &TypeUse| known.support == Some(Support::Refused);
    let cast = parsed
        .all(&[K::CAST_EXPR])
        .filter_map(|cast| TypeUse::of(&cast))
        .find(is_refused)
        .map(|known| known.display);
    let built = || {
        builtin_calls(parsed)
            .filter_map(|(name, _)| TypeUse::builtin(&name))
            .find(|known| is_refused(known) && !known.array)
            .map(|known| known.display)
    };
    let xml = || {
        let functions: &[K] = &[
            K::XML_ELEMENT_FN,
            K::XML_FOREST_FN,
            K::XML_PARSE_FN,
            K::XML_PI_FN,
            K::XML_ROOT_FN,
            K::XML_TABLE,
        ];
        parsed.all(functions).next().map(|_| "xml".to_owned())
    };
    cast.or_else(built).or_else(xml)
}
