//! Every row of the tables in docs/sql.md has a test that runs it.

use std::collections::BTreeSet;
use std::fs::read_to_string;

use tests::binary::workspace;

use crate::threats::functions;

/// Rows by their first cell, or its beginning, and their tests: a function of Rust, or `file: name`
/// of tests/clients/sql.
const ROWS: &[(&str, &[&str])] = &[
    (
        "`` sql`…` ``, `sql.query()`",
        &[
            "driver: template parameters are numbered, composed, and come back as they went",
            "driver: types of a query are used, and what DSQL lacks is refused in its words",
            "driver: arrayMode ",
        ],
    ),
    (
        "`Pool.query()` with",
        &["driver: Pool.query goes over HTTP when it may"],
    ),
    (
        "`sql.transaction([…])`",
        &["driver: a batch that fails leaves nothing behind and names the statement"],
    ),
    (
        "options of a transaction",
        &[
            "driver: a batch is one transaction with the options of the call, then of the client",
            "serializable_is_refused_or_taken_for_what_there_is",
        ],
    ),
    (
        "errors",
        &["driver: an error is node-postgres\\'s in every property"],
    ),
    (
        "half a surrogate pair",
        &[
            "driver: half a surrogate pair arrives as node-postgres sends it, and a missing query is told",
        ],
    ),
    (
        "interactive transactions, `Pool`",
        &[
            "what_is_refused_here_has_a_code_of_its_own",
            "statements_that_would_hold_the_connection_do_not",
            "settings_blocks_and_prepared_statements_end_with_their_request",
        ],
    ),
    (
        "drizzle-orm, `neon-http`",
        &["orm: drizzle inserts, reads, relates, batches, and refuses what HTTP cannot do"],
    ),
    (
        "kysely-neon",
        &["orm: kysely counts what it changes and maps what it reads"],
    ),
    (
        "Prisma, `PrismaNeonHttp`",
        &["orm: Prisma\\'s HTTP adapter reads, writes, and passes errors on"],
    ),
    (
        "other languages",
        &["protocol: parameters of clients that send JSON values"],
    ),
    (
        "node-postgres (in Node and in a Worker), postgres.js",
        &[
            "sessions: node-postgres",
            "sessions: node-postgres in workerd, over a socket of its own",
            "sessions: postgres.js",
            "sessions: the Neon driver over WebSocket, pipelineConnect ",
            "sessions: the Neon driver in workerd, with nothing but the connection string",
            "psql_connects_in_one_line_and_as_a_service",
            "jdbc_holds_a_transaction_with_a_conflict_and_reads_the_catalogue",
            "psycopg_holds_a_transaction_and_hears_that_its_cancel_request_arrived",
            "sqlx_holds_a_transaction_with_a_conflict",
        ],
    ),
    (
        "asyncpg",
        &["asyncpg_holds_a_pool_and_a_transaction_with_a_conflict"],
    ),
    (
        "PgBouncer, in transaction mode",
        &[
            "no_query_fails_in_hours_of_rotations_under_load",
            "sessions_that_the_service_ended_are_replaced_without_a_failed_query",
        ],
    ),
    (
        "drizzle (`node-postgres`, `neon-serverless`)",
        &["sessions: drizzle's transactions over "],
    ),
    (
        "kysely",
        &["sessions: kysely's migrations and transactions"],
    ),
    (
        "Prisma (`@prisma/adapter-pg`",
        &["prisma: models, relations, upsert and errors work as Prisma has them"],
    ),
    (
        "Prisma Migrate",
        &[
            "prisma: a schema becomes tables and an index, once",
            "prisma: a new column is a migration of its own",
            "prisma: a migration that DSQL refuses is told",
        ],
    ),
    (
        "drizzle-kit",
        &[
            "migrations: push makes tables, adds columns, and has nothing to do when all is there",
            "migrations: pull reads what is there",
            "migrations: generate writes SQL, of which DSQL takes one statement at a time",
            "migrations: migrate, and an index, are refused by DSQL",
        ],
    ),
    (
        "request body",
        &["bodies_of_megabytes_and_without_end_are_refused"],
    ),
    (
        "answer",
        &["an_answer_too_large_for_lambda_is_told_and_packed_it_fits"],
    ),
    (
        "rows of an answer",
        &[
            "an_answer_too_large_for_memory_is_told_and_the_connection_kept",
            "no_answer_takes_more_memory_than_a_function_has",
        ],
    ),
    (
        "answer as JSON, before packing",
        &["no_answer_takes_more_memory_than_a_function_has"],
    ),
    (
        "one row or message",
        &["no_answer_takes_more_memory_than_a_function_has"],
    ),
    (
        "queries of a batch",
        &["bodies_of_megabytes_and_without_end_are_refused"],
    ),
    (
        "parameters of a query",
        &["bodies_of_megabytes_and_without_end_are_refused"],
    ),
    (
        "dimensions of an array",
        &["an_array_of_arrays_without_end_is_refused"],
    ),
    (
        "values in a body",
        &[
            "a_body_of_too_many_values_is_refused_before_it_is_read",
            "bodies_of_megabytes_and_without_end_are_refused",
        ],
    ),
    (
        "`Neon-Connection-String`",
        &["protocol: a request without the driver\\'s headers is told so"],
    ),
    (
        "`Neon-Raw-Text-Output: true`",
        &["protocol: rows are arrays or objects, and raw text or JSON values"],
    ),
    (
        "`Neon-Array-Mode: true`",
        &["protocol: a query of a batch may have its own array mode"],
    ),
    (
        "`Neon-Batch-Read-Only`",
        &["protocol: batch headers are understood and echoed as understood"],
    ),
    (
        "`Idempotency-Key`",
        &["a_batch_sent_again_with_its_key_gets_the_first_answer"],
    ),
    (
        "`28P01`",
        &["an_unknown_login_and_a_wrong_password_look_the_same"],
    ),
    (
        "`28000`",
        &["a_forged_token_and_one_of_another_login_are_refused_alike"],
    ),
    ("`08001`", &["what_is_refused_here_has_a_code_of_its_own"]),
    ("`3D000`", &["what_is_refused_here_has_a_code_of_its_own"]),
    ("`08P01`", &["what_is_refused_here_has_a_code_of_its_own"]),
    (
        "`2D000`, `25001`",
        &[
            "transaction_control_does_not_get_into_a_batch",
            "what_is_refused_here_has_a_code_of_its_own",
        ],
    ),
    ("`0A000`", &["what_is_refused_here_has_a_code_of_its_own"]),
    (
        "`40001`",
        &["conflicts_are_retried_unseen_alone_and_in_a_batch"],
    ),
    (
        "`57014`",
        &["a_statement_over_its_time_is_cancelled_and_a_write_unknown"],
    ),
    (
        "`08007`",
        &["a_lost_answer_of_a_write_is_an_unknown_outcome_and_never_repeated"],
    ),
    (
        "`08006`, `53300`",
        &["refused_connections_have_their_codes_and_tell_nothing_of_the_account"],
    ),
    (
        "`54000`",
        &["bodies_of_megabytes_and_without_end_are_refused"],
    ),
    ("`22021`", &["a_nul_anywhere_is_refused"]),
    (
        "`DSQL_ROLE`",
        &["the_function_reads_the_logins_and_nothing_else"],
    ),
    (
        "`SQL_CONNECT_AHEAD`",
        &["the_only_login_and_those_that_are_named_are_connected_before_the_first_request"],
    ),
    (
        "`SQL_MAX_SESSIONS`",
        &["a_container_keeps_few_sessions_and_closes_the_one_unused_for_longest"],
    ),
    (
        "`SQL_TOKENS`",
        &["tokens_are_off_where_the_deployment_says_so"],
    ),
    (
        "`SQL_TOKEN_SECONDS`",
        &["the_lifetime_is_what_was_asked_for_within_what_is_allowed"],
    ),
    (
        "`SQL_SERIALIZABLE`",
        &["serializable_is_refused_or_taken_for_what_there_is"],
    ),
];

/// The first cells of all rows of the page's tables: not of their heads.
fn first_cells(page: &str) -> Vec<&str> {
    let lines: Vec<&str> = page.lines().collect();
    let is_head = |place: usize| {
        lines
            .get(place + 1)
            .is_some_and(|next| next.starts_with("|--"))
    };
    let rows = lines.iter().enumerate().filter(|(place, line)| {
        line.starts_with("| ") && !line.starts_with("|--") && !is_head(*place)
    });
    rows.filter_map(|(_, line)| line.strip_prefix("| ")?.split(" | ").next())
        .collect()
}

/// Whether a file of the clients' tests has one of this name, or of this beginning, and is run.
fn is_run_by_a_client(test: &str) -> bool {
    let Some((file, name)) = test.split_once(": ") else {
        return false;
    };
    let file = format!("{file}.test.mjs");
    let text = read_to_string(workspace().join("tests/clients/sql").join(&file));
    let runner = read_to_string(workspace().join("tests/tests/e2e/sql_clients.rs"));
    let is_there = ['\'', '"', '`'].iter().any(|quote| {
        let text = text.as_ref().map_or("", String::as_str);
        text.contains(&format!("test({quote}{name}"))
    });
    is_there && runner.unwrap().contains(&format!("run(\"{file}\""))
}

#[test]
fn every_row_of_the_sql_page_has_a_test_that_runs_it() {
    let mut known = BTreeSet::new();
    for folder in ["tests/tests", "functions/sql/src"] {
        functions(&workspace().join(folder), &mut known);
    }
    let page = read_to_string(workspace().join("docs/sql.md")).unwrap();
    let cells = first_cells(&page);
    assert!(cells.len() >= 45, "{cells:?}");
    // The longest beginning that fits, since one may begin as another does.
    let tests_of = |cell: &str| {
        let fitting = ROWS.iter().filter(|(begin, _)| cell.starts_with(begin));
        fitting.max_by_key(|(begin, _)| begin.len())
    };
    let without: Vec<&&str> = cells
        .iter()
        .filter(|cell| tests_of(cell).is_none())
        .collect();
    assert!(without.is_empty(), "rows without a test: {without:?}");
    let used: BTreeSet<&str> = cells
        .iter()
        .filter_map(|cell| tests_of(cell))
        .map(|(begin, _)| *begin)
        .collect();
    for (begin, tests) in ROWS {
        assert!(used.contains(begin), "there is no row {begin}");
        assert!(!tests.is_empty(), "{begin} has no test");
        for test in *tests {
            assert!(
                known.contains(*test) || is_run_by_a_client(test),
                "there is no test {test:?}"
            );
        }
    }
}
