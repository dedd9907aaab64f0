//! The real psql, which reads certificates and tokens by itself.

use tokio::process::Command;

use crate::support::{Login, steady};

async fn psql(parameters: &str, sql: &str) -> std::process::Output {
    let dsql = steady();
    let conninfo = format!(
        "host={} hostaddr={} port={} user=admin dbname=postgres sslmode=verify-full sslrootcert={} {parameters}",
        dsql.endpoint(),
        dsql.hostaddr(),
        dsql.port(),
        dsql.ca_file().display()
    );
    Command::new("psql")
        .args(["-XAtq", "-v", "ON_ERROR_STOP=1", "-c", sql])
        .arg(conninfo)
        .env("PGPASSWORD", Login::admin(dsql).token())
        .output()
        .await
        .expect("psql comes with PostgreSQL")
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
    let version = Command::new("psql")
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
