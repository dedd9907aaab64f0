//! What is refused of tables, their columns, indexes and sequences.

use crate::refusals::{answer, refused, refused_by};

#[test]
fn tables_are_refused_by_their_unsupported_parts() {
    refused(&[
        (
            "CREATE TEMP TABLE t (a int)",
            "0A000 TEMPORARY or TEMP table not supported for CREATE TABLE",
        ),
        (
            "CREATE LOCAL TEMPORARY TABLE t (a int) ON COMMIT DROP",
            "0A000 TEMPORARY or TEMP table not supported for CREATE TABLE",
        ),
        (
            "CREATE UNLOGGED TABLE t (a int)",
            "0A000 UNLOGGED table not supported for CREATE TABLE",
        ),
        (
            "CREATE TABLE t (a int) PARTITION BY HASH (a)",
            "0A000 PARTITION BY clause not supported for CREATE TABLE",
        ),
    ]);
    refused_by(&[
        (
            "CREATE TABLE t PARTITION OF u FOR VALUES IN (1)",
            "table-clause",
        ),
        ("CREATE TABLE t (a int) INHERITS (u)", "table-clause"),
        (
            "CREATE TABLE t (a int) WITH (fillfactor = 70)",
            "table-clause",
        ),
        ("CREATE TABLE t (a int) TABLESPACE s", "table-clause"),
        (
            "CREATE TABLE t (a int, EXCLUDE USING gist (a WITH =))",
            "table-clause",
        ),
        (
            "CREATE TABLE t (a text COLLATE \"de_DE\")",
            "column-collation",
        ),
        (
            "CREATE SCHEMA s CREATE UNLOGGED TABLE t (a int)",
            "unlogged-table",
        ),
    ]);
    let columns = |count: usize, key: &str| {
        let list: Vec<_> = (1..count).map(|n| format!("c{n} int")).collect();
        format!("CREATE TABLE t (a int{key}, {})", list.join(", "))
    };
    for (count, key, expected) in [
        (256, " PRIMARY KEY", "accepted"),
        (257, "", "54011 tables can have at most 255 columns"),
        (
            257,
            " PRIMARY KEY",
            "54011 cannot use more than 256 columns in an index",
        ),
    ] {
        assert_eq!(answer(&columns(count, key)), expected, "{count}{key}");
    }
    let keys: Vec<_> = (0..25).map(|n| format!("c{n} int UNIQUE")).collect();
    assert_eq!(
        answer(&format!("CREATE TABLE t ({})", keys.join(", "))),
        "54000 more than 24 indexes per table are not allowed"
    );
}

#[test]
fn alter_table_is_refused_form_by_form() {
    let constraint = "0A000 ALTER TABLE ADD COLUMN with constraint not supported";
    let add = "0A000 unsupported ALTER TABLE ADD CONSTRAINT statement";
    refused(&[
        ("ALTER TABLE t ADD COLUMN c int DEFAULT 1", constraint),
        ("ALTER TABLE t ADD c int NOT NULL", constraint),
        ("ALTER TABLE t ADD c int CHECK (c > 0)", constraint),
        ("ALTER TABLE t ADD c int REFERENCES u (a)", constraint),
        (
            "ALTER TABLE t ADD c bigint GENERATED ALWAYS AS IDENTITY (CACHE 1)",
            constraint,
        ),
        (
            "ALTER TABLE t ADD d text, ADD c int PRIMARY KEY",
            constraint,
        ),
        (
            "ALTER TABLE t ALTER COLUMN a SET DATA TYPE bigint",
            "0A000 unsupported ALTER TABLE ALTER COLUMN ... SET DATA TYPE statement",
        ),
        (
            "ALTER TABLE t ALTER a TYPE bigint USING a::bigint",
            "0A000 unsupported ALTER TABLE ALTER COLUMN ... SET DATA TYPE statement",
        ),
        (
            "ALTER TABLE t ALTER COLUMN a SET STATISTICS 10",
            "0A000 unsupported ALTER TABLE ALTER COLUMN ... SET STATISTICS statement",
        ),
        ("ALTER TABLE t ADD PRIMARY KEY (a)", add),
        ("ALTER TABLE t ADD UNIQUE (a)", add),
        (
            "ALTER TABLE t ADD CONSTRAINT c PRIMARY KEY USING INDEX i",
            add,
        ),
        ("ALTER TABLE t ADD CONSTRAINT c CHECK (a > 0)", add),
        ("ALTER TABLE t ADD FOREIGN KEY (a) REFERENCES u", add),
        (
            "ALTER TABLE s.t VALIDATE CONSTRAINT c",
            "0A000 unsupported ALTER TABLE VALIDATE CONSTRAINT statement",
        ),
        (
            "ALTER TABLE ASYNC t ADD COLUMN c int",
            "42601 syntax error at or near \"ASYNC\"",
        ),
        (
            "ALTER TABLE t ALTER a ADD GENERATED ALWAYS AS IDENTITY",
            "0A000 identity column is not supported without an explicit cache size. please define CACHE greater than or equal to 65536 or equal to 1",
        ),
    ]);
    refused_by(&[
        ("ALTER TABLE t ALTER COLUMN a SET NOT NULL", "alter-column"),
        (
            "ALTER TABLE t ALTER COLUMN a SET COMPRESSION lz4",
            "alter-column",
        ),
        ("ALTER TABLE t ENABLE ROW LEVEL SECURITY", "alter-table"),
        ("ALTER TABLE t CLUSTER ON i", "alter-table"),
        ("ALTER TABLE t SET (fillfactor = 70)", "alter-table"),
        ("ALTER TABLE t REPLICA IDENTITY FULL", "alter-table"),
        ("ALTER TABLE t ATTACH PARTITION u DEFAULT", "alter-table"),
        ("ALTER TABLE t ENABLE ALWAYS TRIGGER g", "alter-table"),
    ]);
}

#[test]
fn indexes_are_refused_by_their_unsupported_parts() {
    refused(&[
        (
            "CREATE UNIQUE INDEX ON t (a)",
            "0A000 unsupported mode. please use CREATE INDEX ASYNC.",
        ),
        (
            "CREATE INDEX CONCURRENTLY i ON t (a)",
            "0A000 CONCURRENTLY not supported for CREATE INDEX",
        ),
        (
            "CREATE INDEX ASYNC i ON t (a DESC)",
            "0A000 specifying sort order not supported for index keys",
        ),
        (
            "CREATE INDEX ASYNC i ON t (a ASC NULLS FIRST)",
            "0A000 specifying sort order not supported for index keys",
        ),
        (
            "CREATE INDEX ASYNC i ON t (a text_pattern_ops)",
            "0A000 opclass not supported for index keys",
        ),
        (
            "CREATE INDEX ASYNC s.i ON t (a)",
            "42601 syntax error at or near \".\"",
        ),
        (
            "CREATE INDEX ASYNC i ON t (a, b, c, d, e, f, g, h, i)",
            "54011 more than 8 column keys in an index are not supported",
        ),
        (
            "CREATE TABLE t (a int, b int, c int, d int, e int, f int, g int, h int, i int, PRIMARY KEY (a, b, c, d, e, f, g, h, i))",
            "54011 more than 8 column keys in an index are not supported",
        ),
        (
            "CREATE TABLE t (a jsonb PRIMARY KEY)",
            "0A000 datatype jsonb is not supported in a key",
        ),
        (
            "CREATE TABLE t (a int, b bytea, UNIQUE (a, b))",
            "0A000 datatype bytea is not supported in a key",
        ),
        (
            "CREATE TABLE t (a varchar(1500), b varchar(501), PRIMARY KEY (a, b))",
            "54000 key size greater than 2000 bytes not supported",
        ),
    ]);
    assert_eq!(
        answer("DROP INDEX CONCURRENTLY i"),
        "0A000 DROP INDEX CONCURRENTLY must be first action in transaction"
    );
    refused_by(&[
        ("CREATE INDEX ASYNC i ON t USING btree (a)", "index-clause"),
        ("CREATE INDEX ASYNC i ON ONLY t (a)", "index-clause"),
        ("CREATE INDEX ASYNC i ON t (a) TABLESPACE s", "index-clause"),
        ("ALTER INDEX i SET (fillfactor = 70)", "alter-index"),
    ]);
}

#[test]
fn column_types_are_refused_by_their_display_name() {
    for (written, displayed) in [
        ("int[]", "integer[]"),
        ("int4 ARRAY", "integer[]"),
        ("_text", "text[]"),
        ("varchar(3)[][]", "character varying[]"),
        ("float(24)[]", "real[]"),
        ("float(25)[]", "double precision[]"),
        ("timestamptz[]", "timestamp with time zone[]"),
        ("money", "money"),
        ("xml", "xml"),
        ("bit(3)", "bit"),
        ("bit varying(3)", "bit varying"),
        ("varbit", "bit varying"),
        ("pg_catalog.inet", "inet"),
        ("macaddr8", "macaddr8"),
        ("tsquery", "tsquery"),
        ("tstzmultirange", "tstzmultirange"),
        ("pg_lsn", "pg_lsn"),
        ("oid", "oid"),
        ("\"char\"", "\"char\""),
        ("LSEG", "lseg"),
        ("polygon", "polygon"),
    ] {
        let refusal = format!("0A000 datatype {displayed} not supported");
        assert_eq!(
            answer(&format!("CREATE TABLE t (a int, v {written})")),
            refusal
        );
        assert_eq!(
            answer(&format!("ALTER TABLE t ADD COLUMN v {written}")),
            refusal
        );
        assert_eq!(answer(&format!("CREATE DOMAIN d AS {written}")), refusal);
    }
    for serial in ["serial", "bigserial", "smallserial", "serial8"] {
        assert_eq!(
            answer(&format!("CREATE TABLE t (id {serial} PRIMARY KEY)")),
            format!("42704 type \"{serial}\" does not exist")
        );
    }
}

#[test]
fn declared_sizes_are_limited() {
    refused(&[
        (
            "CREATE TABLE t (a char(4097))",
            "54000 Datatype limit greater than 4096 bytes not supported for char",
        ),
        (
            "CREATE TABLE t (a character varying(65536))",
            "54000 Datatype limit greater than 65535 bytes not supported for varchar",
        ),
        (
            "ALTER TABLE t ADD a varchar(70000)",
            "54000 Datatype limit greater than 65535 bytes not supported for varchar",
        ),
        (
            "CREATE TABLE t (a numeric(1001, 2))",
            "22023 NUMERIC precision 1001 must be between 1 and 1000",
        ),
        (
            "CREATE TABLE t (a char(4096), b varchar(65535), c numeric(1000, 2))",
            "accepted",
        ),
    ]);
}

#[test]
fn sequences_and_identities_need_a_cache_of_one_or_many() {
    let sequence = "0A000 CREATE SEQUENCE is not supported without an explicit cache size. please define CACHE greater than or equal to 65536 or equal to 1";
    let identity = "0A000 identity column is not supported without an explicit cache size. please define CACHE greater than or equal to 65536 or equal to 1";
    let size = |size: &str| {
        format!("22023 CACHE ({size}) must be greater than or equal to 65536 or equal to 1")
    };
    refused(&[
        ("CREATE SEQUENCE s", sequence),
        ("CREATE SEQUENCE s INCREMENT BY 2", sequence),
        ("CREATE SEQUENCE s CACHE 100", &size("100")),
        ("ALTER SEQUENCE s CACHE 65535", &size("65535")),
        ("ALTER SEQUENCE s NO CYCLE CACHE 0", &size("0")),
        ("ALTER TABLE t ALTER a SET CACHE 20", &size("20")),
        (
            "CREATE TABLE t (a bigint GENERATED BY DEFAULT AS IDENTITY (START 10))",
            identity,
        ),
        (
            "CREATE TABLE t (a bigint GENERATED BY DEFAULT AS IDENTITY (CACHE 2))",
            &size("2"),
        ),
        (
            "ALTER TABLE t ALTER a ADD GENERATED ALWAYS AS IDENTITY (CACHE -1)",
            &size("-1"),
        ),
        (
            "CREATE TABLE t (a int GENERATED ALWAYS AS IDENTITY (CACHE 65536))",
            "0A000 datatype integer not supported, identity column type must be bigint",
        ),
    ]);
    refused_by(&[
        ("CREATE SEQUENCE s AS integer CACHE 1", "sequence-type"),
        ("CREATE TEMP SEQUENCE s CACHE 1", "sequence-kind"),
    ]);
}
