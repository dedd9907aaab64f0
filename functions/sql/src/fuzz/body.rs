//! A request's body has the statements that a general parser finds in it, and none that ends the
//! transaction.

use dsql_dialect::{Kind, classify, split};
use fuzzing::{Corpus, Seen, check, prop_assert, prop_assert_eq};
use serde_json::Value;

use crate::request::{Asked, Output};

const OUTPUT: Output = Output {
    raw_text: true,
    array_mode: false,
};
const CODES: [&str; 6] = ["08P01", "22021", "0A000", "2D000", "25001", "54000"];

#[test]
fn a_body_holds_the_statements_that_a_parser_of_everything_finds() {
    let corpus = Corpus::new([
        r#"{"query":"SELECT $1::int, 'x'","params":["1"],"arrayMode":true}"#,
        r#"{"queries":[{"query":"INSERT INTO t VALUES ($1, $2)","params":["a\u00e9",null]},{"query":"SELECT 1 -- c","params":[]}]}"#,
        r#"[{"query":"/* x */ UPDATE t SET a = $1","params":[[1,[2,"\"x"]],{"a":1},true,-1.50]},{"query":"SELECT '\ud83d\ude00'"}]"#,
    ])
    .words([
        "\"query\":", "\"queries\":", "\"params\":", "COMMIT", "begin", "/* ", " */", "--\\n", ";", "copy", "\"\\ud83d\"", "{\"query\":\"\"},",
    ]);
    check("the body of POST /sql", corpus.bytes(), |sent| {
        let asked = match Asked::parse(&sent, OUTPUT) {
            Ok(asked) => asked,
            Err(failure) => {
                prop_assert!(CODES.contains(&failure.code()), "{}", failure.code());
                return Ok(Seen::Refused);
            }
        };
        for statement in &asked.statements {
            let sql = statement.text.sql.as_ref();
            prop_assert!(!sql.contains('\0'));
            let first = split(sql).into_iter().find(|piece| !piece.is_empty());
            let kind = first.map_or(Kind::Empty, |piece| classify(piece.text(sql)).kind);
            let ends = matches!(
                kind,
                Kind::Begin { .. } | Kind::Commit | Kind::Rollback | Kind::Savepoint
            );
            prop_assert!(!ends && !matches!(kind, Kind::Copy(_)), "{kind:?}");
        }
        let Ok(tree) = serde_json::from_slice::<Value>(&sent) else {
            return Ok(Seen::Accepted); // halves of characters, numbers beyond all ranges
        };
        let batch = tree
            .get("queries")
            .filter(|queries| !queries.is_null())
            .unwrap_or(&tree);
        prop_assert_eq!(asked.is_batch, batch.is_array());
        let queries = batch
            .as_array()
            .map_or(std::slice::from_ref(batch), Vec::as_slice);
        prop_assert_eq!(asked.statements.len(), queries.len());
        for (statement, query) in asked.statements.iter().zip(queries) {
            prop_assert_eq!(query["query"].as_str(), Some(statement.text.sql.as_ref()));
            let params = query["params"].as_array().map_or(0, Vec::len);
            prop_assert_eq!(statement.text.params.len(), params);
        }
        Ok(Seen::Accepted)
    });
}
