//! The real psql, which reads certificates and tokens by itself.

use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use tokio::process::Command;

use crate::support::{Login, steady};

/// The repository's psql, installed now if it is not there; that of the PATH where there is none for this system.
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

async fn psql(parameters: &str, sql: &str) -> std::process::Output {
    let dsql = steady();
    let conninfo = format!(
        "host={} hostaddr={} port={} user=admin dbname=postgres sslmode=verify-full sslrootcert={} {parameters}",
        dsql.endpoint(),
        dsql.hostaddr(),
        dsql.port(),
        dsql.ca_file().display()
    );
    Command::new(&*PROGRAM)
        .args(["-XAtq", "-v", "ON_ERROR_STOP=1", "-c", sql])
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

#[tokio::test]
async fn psql_connects_directly_where_it_can() {
    let version = Command::new(&*PROGRAM)
        .arg("--version")
        .output()
        .await
        .unwrap();
    let version = String::from_utf8(version.stdout).unwrap();
    let major: u32 = version
        .split(' ')
        .nth(2)
        .unwrap()
        .split('.')
        .next()
        .unwrap()
        .parse()
        .unwrap();
    let output = psql("sslnegotiation=direct", "SELECT 1").await;
    let error = String::from_utf8_lossy(&output.stderr);
    if major >= 17 {
        assert!(output.status.success(), "{error}");
    } else {
        assert!(error.contains("sslnegotiation"), "{error}");
    }
}
