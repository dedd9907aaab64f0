//! What the front learns about a statement that is not refused.

use dsql_dialect::{
    Argument, Effect, Isolation, Kind, LockStrength, Session, StateRule, Verb, Verdict, classify,
    classify_in,
};

fn checks(sql: &str) -> Vec<(&'static str, Vec<String>)> {
    let needs = classify(sql).needs;
    needs
        .into_iter()
        .map(|check| (check.rule.name, check.parameters))
        .collect()
}

fn strings(values: &[&str]) -> Vec<String> {
    values.iter().map(|value| (*value).to_owned()).collect()
}

#[test]
fn effects_decide_what_may_share_a_transaction() {
    for (sql, effect) in [
        ("SELECT 1", Effect::Read),
        ("SELECT * FROM t FOR UPDATE", Effect::Read),
        ("ANALYZE t", Effect::Read),
        ("EXPLAIN DELETE FROM t", Effect::Read),
        ("EXPLAIN (ANALYZE false) DELETE FROM t", Effect::Read),
        ("EXPLAIN (ANALYZE) DELETE FROM t", Effect::Write),
        ("EXPLAIN ANALYZE VERBOSE DELETE FROM t", Effect::Write),
        ("INSERT INTO t VALUES (1)", Effect::Write),
        (
            "WITH x AS (UPDATE t SET a = 1 RETURNING a) SELECT * FROM x",
            Effect::Write,
        ),
        ("COPY t FROM stdin", Effect::Write),
        ("COPY t TO stdout", Effect::Read),
        ("CREATE TABLE t (a int)", Effect::Ddl),
        ("GRANT a TO b", Effect::Ddl),
        ("REVOKE SELECT ON t FROM b", Effect::Ddl),
        ("COMMENT ON TABLE t IS NULL", Effect::Ddl),
        (
            "AWS IAM REVOKE r FROM 'arn:aws:iam::123456789012:role/r'",
            Effect::Ddl,
        ),
        ("CREATE INDEX ASYNC ON t (a)", Effect::Ddl),
        ("ALTER TABLE ASYNC t VALIDATE CONSTRAINT c", Effect::Ddl),
        (
            "ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO r",
            Effect::Ddl,
        ),
        ("BEGIN", Effect::Transaction),
        ("SET timezone = 'UTC'", Effect::Session),
        ("SHOW timezone", Effect::Read),
    ] {
        assert_eq!(classify(sql).effect, effect, "{sql}");
    }
}

#[test]
fn an_index_build_tells_all_a_job_needs() {
    let sql = "CREATE UNIQUE INDEX ASYNC IF NOT EXISTS \"By Name\" ON App.\"Users\" (name, lower(mail)) NULLS NOT DISTINCT WHERE gone IS NULL";
    let Kind::CreateIndex(build) = classify(sql).kind else {
        panic!()
    };
    assert!(
        build.asynchronous.is_some()
            && build.unique
            && build.if_not_exists
            && build.nulls_not_distinct
            && build.partial
    );
    assert_eq!(build.index.as_deref(), Some("By Name"));
    assert_eq!(build.table.to_string(), "\"app\".\"Users\"");
    assert_eq!(build.keys, [Some("name".to_owned()), None]);
    assert_eq!(build.usual_name, "Users_name_lower_idx");
}

#[test]
fn a_plain_index_is_taken_once_the_session_allows_it() {
    let session = Session {
        sync_create_index: true,
        ..Session::default()
    };
    let statement = classify_in("CREATE INDEX i ON t (a)", &session);
    assert_eq!(statement.verdict, Verdict::Accept);
    assert!(matches!(statement.kind, Kind::CreateIndex(build) if build.asynchronous.is_none()));
}

#[test]
fn jobs_mappings_and_calls_are_read() {
    let Kind::ValidateConstraint(validation) =
        classify("ALTER TABLE ASYNC s.t VALIDATE CONSTRAINT c").kind
    else {
        panic!()
    };
    assert_eq!(
        (
            validation.table.to_string().as_str(),
            validation.constraint.as_str()
        ),
        ("\"s\".\"t\"", "c")
    );
    let Kind::AwsIam(mapping) =
        classify("AWS IAM GRANT Example TO 'arn:aws:iam::123456789012:role/x'").kind
    else {
        panic!()
    };
    assert_eq!(
        (mapping.grant, mapping.role.as_str(), mapping.arn.as_str()),
        (true, "example", "arn:aws:iam::123456789012:role/x")
    );
    for (sql, argument) in [
        (
            "CALL sys.wait_for_job('ab')",
            Argument::Text("ab".to_owned()),
        ),
        ("CALL sys.wait_for_job($1::text)", Argument::Parameter(1)),
        ("CALL sys.wait_for_job('a' || 'b')", Argument::Other),
    ] {
        assert_eq!(classify(sql).kind, Kind::WaitForJob(argument), "{sql}");
    }
    let Kind::Ddl(ddl) = classify("ALTER TABLE t ADD CONSTRAINT c UNIQUE USING INDEX i").kind
    else {
        panic!()
    };
    assert_eq!(
        (ddl.what.as_str(), ddl.adopts_index.as_deref()),
        ("ALTER TABLE", Some("i"))
    );
    assert_eq!(
        StateRule::InvalidIndex.refusal_of("i").message,
        "index \"i\" is not valid"
    );
}

#[test]
fn transactions_settings_and_locks_are_read() {
    assert_eq!(
        classify("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").kind,
        Kind::Begin {
            isolation: Some(Isolation::RepeatableRead),
            read_only: true
        }
    );
    assert_eq!(
        classify("SET LOCAL disable_sync_create_index TO off").kind,
        Kind::Set {
            local: true,
            parameter: "disable_sync_create_index".to_owned(),
            value: Some("off".to_owned())
        }
    );
    let Kind::Select(select) =
        classify("SELECT * FROM t, u FOR UPDATE OF t FOR KEY SHARE OF u").kind
    else {
        panic!()
    };
    let locks: Vec<_> = select
        .locks
        .iter()
        .map(|lock| (lock.strength, lock.of.join(",")))
        .collect();
    assert_eq!(
        locks,
        [
            (LockStrength::Update, "t".to_owned()),
            (LockStrength::KeyShare, "u".to_owned())
        ]
    );
    let Kind::Dml(dml) = classify(
        "WITH x AS (DELETE FROM ONLY s.a RETURNING *) INSERT INTO b SELECT * FROM x RETURNING 1",
    )
    .kind
    else {
        panic!()
    };
    let targets: Vec<_> = dml.targets.iter().map(|name| name.name.as_str()).collect();
    assert_eq!((dml.verb, dml.returning), (Verb::Insert, true));
    assert!(targets.contains(&"a") && targets.contains(&"b"));
    assert_eq!(classify(" ; -- x").kind, Kind::Empty);
}

#[test]
fn conditions_on_the_catalog_name_table_and_column() {
    assert!(
        checks("ALTER TABLE s.T DROP COLUMN Id")
            .contains(&("drop-key-column", strings(&["\"s\".\"t\"", "id"])))
    );
    assert!(
        checks("ALTER TABLE t DROP CONSTRAINT IF EXISTS t_pkey")
            .contains(&("drop-primary-key", strings(&["\"t\"", "t_pkey"])))
    );
    assert!(
        checks("ALTER TABLE t ALTER \"C\" ADD GENERATED ALWAYS AS IDENTITY (CACHE 1)")
            .contains(&("identity-column-type", strings(&["\"t\"", "C"])))
    );
    let index = checks("CREATE INDEX ASYNC i ON t (a, lower(b))");
    assert!(index.contains(&("index-limit", strings(&["\"t\""]))));
    assert!(index.contains(&("index-key-type", strings(&["\"t\"", "a"]))));
    assert!(
        checks("CREATE SCHEMA s")
            .iter()
            .any(|(name, _)| *name == "create-schema-by-admin")
    );
    assert!(
        checks("CREATE SCHEMA s")
            .iter()
            .any(|(name, _)| *name == "schema-limit")
    );
    assert!(
        checks("CREATE TABLE t (a int)")
            .iter()
            .any(|(name, _)| *name == "table-limit")
    );
    assert!(checks("DROP ROLE a, b").contains(&("drop-mapped-role", strings(&["b"]))));
    assert!(
        checks("ALTER TABLE t ADD a int, ADD b int")
            .contains(&("column-limit", strings(&["\"t\"", "2"])))
    );
    assert!(checks("SELECT 1").is_empty());
    let check = classify("ALTER TABLE t DROP c").needs.remove(0);
    assert_eq!(
        check.refusal("c").to_string(),
        "0A000 cannot drop primary key column c"
    );
}

#[test]
fn keys_are_asked_for_by_the_types_and_sizes_of_their_columns() {
    let index = checks("CREATE UNIQUE INDEX ASYNC ON s.t (a, \"B \"\"c\", lower(d)) INCLUDE (e)");
    assert!(index.contains(&(
        "index-key-size",
        strings(&["\"s\".\"t\"", r#"{"a","B \"c"}"#])
    )));
    let table = checks(
        "CREATE TABLE t (LIKE s.u, a int, b s.\"D\" UNIQUE, c d, PRIMARY KEY (k, a), CHECK (k > 0))",
    );
    assert!(table.contains(&("key-domain-type", strings(&["\"s\".\"D\""]))));
    assert!(!table.contains(&("key-domain-type", strings(&["\"d\""]))));
    assert!(table.contains(&("index-key-type", strings(&["\"s\".\"u\"", "k"]))));
    assert!(table.contains(&(
        "adopted-column-limit",
        strings(&["\"s\".\"u\"", "3", "key"])
    )));
}

#[test]
fn columns_that_name_no_table_are_looked_up_in_a_left_lateral_join() {
    let asked = |targets: &str, from: &str| {
        let sql = format!(
            "SELECT 1 FROM s.a x, c LEFT JOIN LATERAL (SELECT {targets} FROM {from}) z ON true"
        );
        checks(&sql)
            .into_iter()
            .find(|(name, _)| *name == "lateral-bare-column")
            .map(|(_, lists)| lists)
    };
    assert_eq!(
        asked("y.v, length(n), N + 1", "b y"),
        Some(strings(&[
            r#"{"\"b\""}"#,
            r#"{"\"s\".\"a\"","\"c\""}"#,
            r#"{"n","n"}"#,
            r#"{"2","3"}"#,
            r#"{"b"}"#,
        ]))
    );
    // What names its table is known without the catalog; what a subquery shows is not.
    assert_eq!(asked("y.v, (SELECT n FROM b)", "b y"), None);
    assert_eq!(asked("n", "(SELECT 1 AS n) y"), None);
}

#[test]
fn a_byte_order_mark_is_a_letter_as_for_postgresql() {
    assert_eq!(classify("\u{feff}COMMIT").kind, Kind::Other);
    assert!(classify("\u{feff}COMMIT").unsure);
    assert_eq!(
        classify("SELECT 1 AS \u{feff}a").kind,
        classify("SELECT 1 AS a").kind
    );
}

#[test]
fn what_writes_more_than_it_says_computes() {
    for sql in [
        "UPDATE t SET a = b",
        "UPDATE t SET a = x.b FROM x",
        "UPDATE t SET n = 1, a = (b)",
        "UPDATE t SET a = CASE WHEN n > 1 THEN b ELSE c END",
        "UPDATE t SET (a, b) = ROW (b, a)",
        "UPDATE t SET a = b::jsonb -> 'c'",
        "UPDATE t SET a = a || $1",
        "UPDATE t SET a = upper(a)",
        "INSERT INTO t VALUES ($1) ON CONFLICT (k) DO UPDATE SET a = t.b",
        "INSERT INTO t SELECT * FROM u",
    ] {
        assert!(classify(sql).computes, "{sql}");
    }
    for sql in [
        "UPDATE t SET n = n + 1, m = m - 2 * n",
        "UPDATE t SET a = $1, at = now(), b = DEFAULT, c = NULL WHERE k = b",
        "INSERT INTO t VALUES ($1) ON CONFLICT (k) DO UPDATE SET a = excluded.a",
        "DELETE FROM t WHERE a = b",
    ] {
        assert!(!classify(sql).computes, "{sql}");
    }
}
