//! Clients we did not write: boto3 mints the token, psycopg and psql connect with it, verify-full.

use std::process::Command;

use dsql_local::{DsqlLocal, Options};
use tests::python::{psql, python_path};

async fn python(server: &DsqlLocal, script: &'static str) -> String {
    let mut command = Command::new("python3");
    command
        .arg("-c")
        .arg(script)
        .env("PYTHONPATH", python_path())
        .envs(server.env());
    let output = tokio::task::spawn_blocking(move || command.output())
        .await
        .unwrap()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}

const MINT: &str = "
import boto3, os
client = boto3.client('dsql', region_name=os.environ['AWS_REGION'])
print(client.generate_db_connect_admin_auth_token(os.environ['DSQL_ENDPOINT'], os.environ['AWS_REGION']), end='')
";

const PSYCOPG: &str = "
import boto3, os, psycopg
host, region = os.environ['DSQL_ENDPOINT'], os.environ['AWS_REGION']
client = boto3.client('dsql', region_name=region)
def connect(user, token, **more):
    return psycopg.connect(host=host, hostaddr=os.environ['DSQL_HOSTADDR'], port=os.environ['DSQL_PORT'], user=user,
        password=token, dbname='postgres', sslmode='verify-full', sslrootcert=os.environ['DSQL_CA_FILE'], **more)
admin = client.generate_db_connect_admin_auth_token(host, region)
modes = ['postgres'] + (['direct'] if psycopg.pq.version() >= 170000 else [])
for mode in modes:
    more = {'sslnegotiation': mode} if psycopg.pq.version() >= 170000 else {}
    with connect('admin', admin, **more) as session:
        print(mode, session.execute('SELECT current_user, %s::int', (7,)).fetchone())
for user, token in [('admin', client.generate_db_connect_auth_token(host, region)), ('admin', 'a plain password')]:
    try:
        connect(user, token)
        print('accepted')
    except psycopg.OperationalError as error:
        print(' '.join(str(error).split()))
";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn psycopg_connects_with_a_token_of_boto3_and_reads_the_refusals() {
    let server = DsqlLocal::start(Options::default()).await.unwrap();
    let output = python(&server, PSYCOPG).await;
    let lines: Vec<&str> = output.lines().collect();
    assert!(lines[0].starts_with("postgres ('admin', 7)"), "{output}");
    assert!(
        lines.len() == 4 && lines[1].starts_with("direct ('admin', 7)"),
        "psycopg's own libpq knows direct TLS: {output}"
    );
    assert!(
        lines[2].contains("unable to accept connection, access denied"),
        "{output}"
    );
    assert!(
        lines[2].contains("Wrong user to action mapping. user: admin, action: DbConnect"),
        "{output}"
    );
    assert!(
        lines[3].contains("unable to accept connection, access denied"),
        "{output}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn psql_connects_with_a_token_of_boto3_under_verify_full() {
    let server = DsqlLocal::start(Options::default()).await.unwrap();
    let token = python(&server, MINT).await;
    let target = format!(
        "host={} hostaddr={} port={} user=admin dbname=postgres sslmode=verify-full sslrootcert={}",
        server.endpoint(),
        server.hostaddr(),
        server.port(),
        server.ca_file().display()
    );
    let mut psql = Command::new(psql());
    psql.args([
        "--no-psqlrc",
        "--tuples-only",
        "--no-align",
        "--command",
        "SELECT current_user",
        &target,
    ])
    .env("PGPASSWORD", token);
    let output = tokio::task::spawn_blocking(move || psql.output())
        .await
        .unwrap()
        .unwrap();
    assert_eq!(
        String::from_utf8_lossy(&output.stdout).trim(),
        "admin",
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}
