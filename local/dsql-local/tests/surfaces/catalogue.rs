//! What a client sees of the cluster in its catalogue and settings: what DSQL shows, and nothing of
//! this stand-in.

use tokio_postgres::Client;

use crate::support::{Login, admin, sqlstate, steady, table, told};

async fn texts(client: &Client, sql: &str) -> Vec<String> {
    let rows = client.query(sql, &[]).await.unwrap();
    rows.iter().map(|row| row.get(0)).collect()
}

#[tokio::test]
async fn nothing_of_the_stand_in_is_to_be_seen() {
    let client = admin(steady()).await;
    for sql in [
        "SELECT nspname::text FROM pg_namespace WHERE nspname LIKE '%dsql%'",
        "SELECT rolname::text FROM pg_roles WHERE rolname LIKE '%dsql%'",
        "SELECT usename::text FROM pg_user WHERE usename <> 'admin' AND usesuper",
        "SELECT name::text FROM pg_available_extensions",
        "SELECT table_name::text FROM information_schema.tables WHERE table_name LIKE '%dsql%'",
        "SELECT routine_name::text FROM information_schema.routines \
         WHERE routine_schema NOT IN ('pg_catalog', 'information_schema', 'sys', 'public')",
    ] {
        assert_eq!(texts(&client, sql).await, Vec::<String>::new(), "{sql}");
    }
    let routines =
        "SELECT routine_name::text FROM information_schema.routines WHERE routine_schema = 'sys'";
    assert!(
        texts(&client, routines)
            .await
            .contains(&"supported_datatypes".to_owned())
    );
    let types = texts(&client, "SELECT sys.supported_datatypes()").await;
    assert!(types.contains(&"jsonb".to_owned()) && !types.contains(&"money".to_owned()));
    assert_eq!(
        sqlstate(client.query("SELECT dsql_internal.x()", &[]).await),
        "3F000"
    );
}

#[tokio::test]
async fn every_owner_is_a_role_that_can_be_looked_up_as_pg_dump_does() {
    let client = admin(steady()).await;
    let owners = "SELECT DISTINCT owner::text FROM (SELECT nspowner FROM pg_namespace \
         UNION SELECT relowner FROM pg_class UNION SELECT proowner FROM pg_proc \
         UNION SELECT typowner FROM pg_type UNION SELECT datdba FROM pg_database) o (owner) \
         WHERE owner NOT IN (SELECT oid FROM pg_roles)";
    assert_eq!(texts(&client, owners).await, Vec::<String>::new());
}

#[tokio::test]
async fn privileges_of_the_systems_functions_and_tables_are_those_that_no_dump_repeats() {
    let client = admin(steady()).await;
    let granted = "SELECT o.name FROM (\
             SELECT tableoid, oid, oid::regprocedure::text, proacl FROM pg_proc \
             WHERE pronamespace = 'pg_catalog'::regnamespace \
             UNION ALL SELECT tableoid, oid, oid::regclass::text, relacl FROM pg_class \
             WHERE relnamespace = 'pg_catalog'::regnamespace\
         ) o (class, oid, name, acl) \
         LEFT JOIN pg_init_privs p ON p.classoid = o.class AND p.objoid = o.oid AND p.objsubid = 0 \
         WHERE o.acl IS DISTINCT FROM p.initprivs";
    assert_eq!(texts(&client, granted).await, Vec::<String>::new());
}

#[tokio::test]
async fn a_primary_key_includes_the_other_columns_in_a_btree_index() {
    let client = admin(steady()).await;
    let name = format!("t{:016x}", fastrand::u64(..));
    client
        .batch_execute(&format!(
            "CREATE TABLE {name} (k int PRIMARY KEY, \"V w\" text, u int UNIQUE)"
        ))
        .await
        .unwrap();
    let definitions = texts(
        &client,
        &format!("SELECT indexdef FROM pg_indexes WHERE tablename = '{name}' ORDER BY indexname"),
    )
    .await;
    assert_eq!(
        definitions,
        [
            format!(
                "CREATE UNIQUE INDEX {name}_pkey ON public.{name} USING btree_index (k) INCLUDE (\"V w\", u)"
            ),
            format!("CREATE UNIQUE INDEX {name}_u_key ON public.{name} USING btree_index (u)"),
        ]
    );
    let methods = format!(
        "SELECT DISTINCT amname::text FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid \
         JOIN pg_am a ON a.oid = c.relam WHERE i.indrelid = '{name}'::regclass"
    );
    assert_eq!(texts(&client, &methods).await, ["btree_index"]);
}

#[tokio::test]
async fn text_search_has_one_configuration() {
    let client = admin(steady()).await;
    assert_eq!(
        texts(&client, "SELECT cfgname::text FROM pg_ts_config").await,
        ["simple"]
    );
    let found = client
        .query_one(
            "SELECT to_tsvector('simple', 'a cat') @@ to_tsquery('simple', 'cat'), to_tsvector('cats')::text",
            &[],
        )
        .await
        .unwrap();
    assert_eq!((found.get(0), found.get(1)), (true, "'cats':1"));
    assert_eq!(
        told(
            client
                .query("SELECT to_tsvector('english', 'x')", &[])
                .await
        ),
        "42704 text search configuration \"english\" does not exist"
    );
}

#[tokio::test]
async fn types_of_expressions_work_in_expressions() {
    let client = admin(steady()).await;
    for sql in [
        "SELECT (int4range(1, 5) @> 3)::text",
        "SELECT 'a'::tsvector::text",
        "SELECT ('1.5'::money + '2'::money)::text",
        "SELECT ('0/10'::pg_lsn - '0/0'::pg_lsn)::text",
        "SELECT (B'101' | B'010')::text",
        "SELECT trunc('08:00:2b:01:02:03'::macaddr)::text",
        "SELECT ('{[1,2)}'::int4multirange)::text",
        "SELECT ('10.1.0.0/16'::cidr >> '10.1.2.3'::inet)::text",
    ] {
        assert_eq!(texts(&client, sql).await.len(), 1, "{sql}");
    }
}

#[tokio::test]
async fn the_syntax_of_postgresql_16_works() {
    let client = admin(steady()).await;
    for sql in [
        "SELECT ('{}' IS JSON)::text",
        "SELECT JSON_ARRAY(1, 'a')::text",
        "SELECT JSON_OBJECT('a': 1)::text",
        "SELECT JSON_ARRAYAGG(v ORDER BY v)::text FROM generate_series(1, 2) v",
        "SELECT (1_000 + 0x1F + 0b11)::text",
        "SELECT any_value(v)::text FROM generate_series(1, 2) v",
        "SELECT x::text FROM (SELECT 1 AS x)",
    ] {
        assert_eq!(texts(&client, sql).await.len(), 1, "{sql}");
    }
}

#[tokio::test]
async fn settings_are_those_of_one_list_by_whatever_way() {
    let client = admin(steady()).await;
    let refused =
        |name: &str| format!("0A000 setting configuration parameter \"{name}\" not supported");
    for (sql, name) in [
        (
            "SELECT set_config('response.headers', '[]', true)",
            "response.headers",
        ),
        (
            "SELECT pg_catalog.set_config('statement_timeout', '1', false)",
            "statement_timeout",
        ),
        ("SET LOCAL ROLE admin", "role"),
    ] {
        assert_eq!(told(client.query(sql, &[]).await), refused(name), "{sql}");
    }
    let function = format!("f{:016x}", fastrand::u64(..));
    client
        .batch_execute(&format!(
            "CREATE FUNCTION {function}() RETURNS text LANGUAGE sql AS $$SELECT set_config('jit', 'off', false)$$"
        ))
        .await
        .unwrap();
    assert_eq!(
        told(client.query(&format!("SELECT {function}()"), &[]).await),
        refused("jit")
    );
    let set = "SELECT set_config('search_path', 'pg_catalog', false)";
    assert_eq!(texts(&client, set).await, ["pg_catalog"]);
    assert_eq!(
        texts(&client, "SELECT current_setting('search_path')").await,
        ["pg_catalog"]
    );
    // As psql's \dconfig asks.
    let all = "SELECT pg_catalog.current_setting(name) FROM pg_catalog.pg_settings";
    assert!(texts(&client, all).await.len() > 100);
    // As a driver asks before it switches it off: there is none.
    let jit = "SELECT current_setting('jit') AS cur, set_config('jit', 'off', false) AS new";
    assert_eq!(sqlstate(client.query(jit, &[]).await), "42704");
    client
        .batch_execute("SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY")
        .await
        .unwrap();
    assert_eq!(
        sqlstate(client.batch_execute("CREATE TABLE read_only (a int)").await),
        "25006"
    );
    let login = Login {
        options: "-c jit=off".to_owned(),
        ..Login::admin(steady())
    };
    assert!(
        login
            .refusal(steady())
            .await
            .message()
            .contains("\"jit\" not supported")
    );
}

#[tokio::test]
async fn the_view_of_settings_sets_no_other_than_the_list_has() {
    let client = admin(steady()).await;
    let update = |name: &str, value: &str| {
        format!("UPDATE pg_settings SET setting = '{value}' WHERE name = '{name}'")
    };
    let refused = "0A000 setting configuration parameter \"statement_timeout\" not supported";
    assert_eq!(
        told(
            client
                .batch_execute(&update("statement_timeout", "1"))
                .await
        ),
        refused
    );
    client
        .batch_execute(&update("application_name", "x"))
        .await
        .unwrap();
    let name = "SELECT current_setting('application_name')";
    assert_eq!(texts(&client, name).await, ["x"]);
}

#[tokio::test]
async fn what_a_cluster_reports_of_itself_is_the_same_by_whatever_way() {
    let client = admin(steady()).await;
    for (name, value) in [
        ("server_version", "16.15"),
        ("server_version_num", "160015"),
        ("max_connections", "20"),
        ("default_toast_compression", "lz4"),
    ] {
        for sql in [
            format!("SHOW {name}"),
            format!("SELECT current_setting('{name}')"),
            format!("SELECT setting FROM pg_settings WHERE name = '{name}'"),
        ] {
            assert_eq!(texts(&client, &sql).await, [value], "{sql}");
        }
        let all = client.query("SHOW ALL", &[]).await.unwrap();
        let shown = all.iter().find(|row| row.get::<_, &str>(0) == name);
        assert_eq!(shown.unwrap().get::<_, &str>(1), value);
    }
    let own = "SELECT current_setting('disable_sync_create_index')";
    assert_eq!(texts(&client, own).await, ["on"]);
    let sequences = "SELECT sequencename::text FROM pg_sequences WHERE schemaname = 'pg_catalog'";
    assert_eq!(texts(&client, sequences).await, Vec::<String>::new());
}

#[tokio::test]
async fn a_left_lateral_join_fails_at_a_column_from_outside_that_names_no_table() {
    let client = admin(steady()).await;
    let name = table(&client).await;
    client
        .batch_execute(&format!(
            "CREATE TABLE {name}_b (pk int PRIMARY KEY, v int)"
        ))
        .await
        .unwrap();
    let join = |targets: &str| {
        format!("SELECT 1 FROM {name} LEFT JOIN LATERAL (SELECT {targets} FROM {name}_b) z ON true")
    };
    let failure = format!("42804 attribute 2 of type {name}_b has wrong type");
    for targets in ["v, n", "pk, abs(n) AS a"] {
        let sql = join(targets);
        assert_eq!(told(client.query(&sql, &[]).await), failure, "{sql}");
        assert_eq!(told(client.batch_execute(&sql).await), failure, "{sql}");
    }
    client.query(&join("v, count(pk)"), &[]).await.unwrap_err(); // PostgreSQL's: no GROUP BY
    client.query(&join("v, pk + 1"), &[]).await.unwrap();
}

#[tokio::test]
async fn a_column_takes_the_storage_clause_of_postgresql_16() {
    let client = admin(steady()).await;
    let name = table(&client).await;
    let sql = format!("ALTER TABLE {name} ADD COLUMN s text STORAGE DEFAULT");
    client.batch_execute(&sql).await.unwrap();
}

#[tokio::test]
async fn tables_take_what_dump_tools_say_of_triggers_and_keep_their_key() {
    let client = admin(steady()).await;
    let name = table(&client).await;
    for sql in [
        format!("ALTER TABLE {name} DISABLE TRIGGER ALL"),
        format!("ALTER TABLE {name} ENABLE TRIGGER ALL"),
        format!("DROP TRIGGER IF EXISTS x ON {name}"),
        format!("CREATE TABLE {name}_k (k int PRIMARY KEY, r int REFERENCES {name}_k)"),
        format!("ALTER TABLE {name}_k ENABLE TRIGGER ALL"),
    ] {
        client.batch_execute(&sql).await.unwrap();
    }
    let drop = format!("ALTER TABLE {name}_k DROP CONSTRAINT {name}_k_pkey CASCADE");
    assert_eq!(sqlstate(client.batch_execute(&drop).await), "0A000");
}
