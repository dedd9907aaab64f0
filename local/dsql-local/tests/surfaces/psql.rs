//! The real psql, which reads certificates and tokens by itself.

use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use tokio::process::Command;

use crate::support::{Login, steady};

/// The repository's psql, installed now if it is not there; that of the PATH where there is none
/// for this system.
static PROGRAM: LazyLock<PathBuf> = LazyLock::new(|| {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let status = std::process::Command::new("scripts/install-tools.sh")
        .arg("psql")
        .current_dir(&root)
        .status()
        .expect("bash starts");
    assert!(status.success(), "scripts/install-tools.sh psql failed");
    Some(root.join(".tools/psql/bin/psql"))
        .filter(|path| path.exists())
        .unwrap_or_else(|| "psql".into())
});

/// Every command of psql 17 that asks the server; NAMED is an object of its own for each that
/// describes one.
const META: &str = "\
    d, dS, d+, dS+, da, daS, dA, dA+, dAc, dAc+, dAf, dAf+, dAo, dAo+, dAp, dAp+, db, db+, dc, \
    dcS+, dC, dC+, dconfig, dconfig+ *, dd, ddS, dD, dDS+, ddp, dE, dES+, des, des+, det, det+, \
    deu, deu+, dew, dew+, df, dfS, df+, dfaS, dfnptwS+, dF, dF+, dFd, dFd+, dFp, dFp+, dFt, \
    dFt+, dg, dgS+, di, diS+, dl, dl+, dL, dLS+, dm, dmS+, dn, dnS+, do, doS, do+ || text, dO, \
    dOS+, dp, dpS, dP, dPn+, dPti, drds, drds admin postgres, drg, drgS, dRp, dRp+, dRs, dRs+, \
    ds, dsS+, dt, dtS+, dT, dTS+, du, duS+, dv, dvS+, dx, dx+, dX, dX+, dy, dy+, l, l+, l+ \
    postgres, z, zS, lo_list, encoding, conninfo, d NAMED, d+ NAMED, d NAMED_pkey, d+ NAMED_i, \
    d+ NAMED_v, d+ NAMED_s, dt+ NAMED, di+ NAMED*, df+ NAMED_f, sf NAMED_f, sf+ NAMED_f, sv \
    NAMED_v, sv+ NAMED_v, dv+ NAMED_v, ds+ NAMED_s, dX NAMED*, dp NAMED, dD+ NAMED_d, dd NAMED*, \
    d+ pg_class, d+ sys.jobs, d information_schema.tables";

/// What `\db+` and `\dRs+` tell whoever is no superuser, on any server.
const RESERVED: [&str; 2] = [
    "ERROR:  permission denied for tablespace pg_global",
    "ERROR:  permission denied for table pg_subscription",
];

async fn psql(parameters: &str, sql: &str) -> std::process::Output {
    psql_all(parameters, &[sql]).await
}

/// Runs commands one after the other in one session; none stops the ones after it but by
/// `ON_ERROR_STOP`.
async fn psql_all(parameters: &str, commands: &[&str]) -> std::process::Output {
    let dsql = steady();
    let conninfo = format!(
        "host={} hostaddr={} port={} user=admin dbname=postgres sslmode=verify-full sslrootcert={} {parameters}",
        dsql.endpoint(),
        dsql.hostaddr(),
        dsql.port(),
        dsql.ca_file().display()
    );
    Command::new(&*PROGRAM)
        .arg("-XAtq")
        .args(commands.iter().flat_map(|command| ["-c", command]))
        .arg(conninfo)
        .env("PGPASSWORD", Login::admin(dsql).token())
        .output()
        .await
        .expect("psql starts")
}

#[tokio::test]
async fn psql_connects_with_verify_full() {
    let output = psql("", "SELECT current_user, 6 * 7").await;
    assert_eq!(
        String::from_utf8_lossy(&output.stdout),
        "admin|42\n",
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

/// Major version of the program.
async fn major() -> u32 {
    let version = Command::new(&*PROGRAM).arg("--version").output();
    let version = String::from_utf8(version.await.unwrap().stdout).unwrap();
    let number = version.split(' ').nth(2).unwrap();
    number.split('.').next().unwrap().parse().unwrap()
}

#[tokio::test]
async fn psql_connects_directly_where_it_can() {
    let output = psql("sslnegotiation=direct", "SELECT 1").await;
    let error = String::from_utf8_lossy(&output.stderr);
    if major().await >= 17 {
        assert!(output.status.success(), "{error}");
    } else {
        assert!(error.contains("sslnegotiation"), "{error}");
    }
}

#[tokio::test]
async fn a_statement_that_fails_tells_its_own_error_alone_though_its_rows_were_to_be_counted() {
    let name = format!("f{:016x}", fastrand::u64(..));
    let made = format!("CREATE FUNCTION {name}() RETURNS int LANGUAGE sql AS 'SELECT 1'");
    let failing = format!("SELECT {name}() FROM absent");
    let several = format!("SELECT 1; {failing}; SELECT 2");
    for statements in [&[&*failing][..], &[&several], &["BEGIN", &failing]] {
        let made = psql("", &made.replace("CREATE", "CREATE OR REPLACE")).await;
        assert!(made.status.success(), "{made:?}");
        let output = psql_all("", statements).await;
        let said = String::from_utf8_lossy(&output.stderr);
        let errors: Vec<&str> = said.lines().filter(|line| line.contains("ERROR")).collect();
        let expected = "ERROR:  relation \"absent\" does not exist";
        assert_eq!(errors, [expected], "{statements:?}");
    }
}

#[tokio::test]
async fn every_command_of_psql_that_describes_the_database_is_answered() {
    let name = format!("t{:016x}", fastrand::u64(..));
    let made = [
        "CREATE TABLE NAMED (k int PRIMARY KEY, v text UNIQUE, CHECK (k > 0))",
        "CREATE INDEX ASYNC NAMED_i ON NAMED (lower(v)) WHERE k > 1",
        "CREATE VIEW NAMED_v AS SELECT k FROM NAMED",
        "CREATE SEQUENCE NAMED_s CACHE 1",
        "CREATE DOMAIN NAMED_d AS text CHECK (VALUE <> '')",
        "CREATE STATISTICS NAMED_x ON k, v FROM NAMED",
        "CREATE FUNCTION NAMED_f(a int) RETURNS int LANGUAGE sql AS 'SELECT a'",
        "COMMENT ON TABLE NAMED IS 'described'",
        "GRANT SELECT ON NAMED TO PUBLIC",
    ];
    // What is newer than the program.
    let unknown: &[&str] = if major().await < 16 { &["drg"] } else { &[] };
    let meta = META
        .split(", ")
        .filter(|command| !unknown.iter().any(|word| command.starts_with(word)));
    let commands: Vec<String> = made
        .iter()
        .map(|sql| (*sql).to_owned())
        .chain(meta.map(|command| format!("\\{command}")))
        .map(|command| command.replace("NAMED", &name))
        .collect();
    let commands: Vec<&str> = commands.iter().map(String::as_str).collect();
    let output = psql_all("", &commands).await;
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(errors.lines().collect::<Vec<_>>(), RESERVED);
    let printed = String::from_utf8_lossy(&output.stdout);
    assert!(
        printed.contains("described") && printed.contains("btree_index"),
        "{printed}"
    );
}
