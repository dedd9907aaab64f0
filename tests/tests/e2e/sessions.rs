//! Sessions by a token of `POST /token` for programs outside of Node: psql as the documentation has
//! it, psycopg, asyncpg, JDBC, `SQLx`.

use std::path::Path;
use std::process::{Command, Output, Stdio};

use tests::binary::workspace;
use tests::python::{jdbc_driver, psql, python_path};

use crate::sql_clients::Site;

/// The lines of docs/sql.md, but for the address and the authority of a local cluster.
const PSQL: &str = r#"
token() { curl -sf -X POST "$API_URL/token" -H "Neon-Connection-String: $DATABASE_URL" | jq -r "$1"; }
PGPASSWORD=$(token .password) psql -XAtq -c "$SQL" "$(token '"host=\(.host) user=\(.user) dbname=\(.dbname) sslmode=verify-full '"$LOCAL"'"')"
PGPASSWORD=$(token .password) psql -XAtq -c "$SQL" service=blog
"#;

const PYTHON: &str = "
import json, os, urllib.request
import psycopg

request = urllib.request.Request(os.environ['API_URL'] + '/token', method='POST',
    headers={'Neon-Connection-String': os.environ['DATABASE_URL']})
token = json.load(urllib.request.urlopen(request))
names = ('host', 'hostaddr', 'port', 'user', 'password', 'dbname', 'sslmode', 'sslrootcert', 'options')
settings = {name: token[name] for name in names}

with psycopg.connect(**settings, autocommit=True) as session:
    print(*session.execute('SELECT current_user, current_schema()').fetchone())
    session.execute('CREATE TABLE points (id int PRIMARY KEY, n int NOT NULL)')
    session.execute('INSERT INTO points VALUES (1, 0)')
    session.cancel_safe(timeout=10)
    print('cancelled nothing')

with psycopg.connect(**settings) as ours, psycopg.connect(**settings, autocommit=True) as theirs:
    for attempt in (1, 2):
        try:
            with ours.transaction():
                n, = ours.execute('SELECT n FROM points WHERE id = 1').fetchone()
                if attempt == 1:
                    theirs.execute('UPDATE points SET n = n + 1')
                ours.execute('UPDATE points SET n = %s WHERE id = 1', (n + 10,))
            break
        except psycopg.errors.SerializationFailure as lost:
            print(lost.sqlstate)
    print(*theirs.execute('SELECT n FROM points').fetchone())
";

/// A pool whose password is asked for with each connection, in a network in which the cluster's
/// name leads to dsql-local.
const ASYNCPG: &str = "
import asyncio, json, os, socket, ssl, urllib.request
import asyncpg

def token():
    request = urllib.request.Request(os.environ['API_URL'] + '/token', method='POST',
        headers={'Neon-Connection-String': os.environ['DATABASE_URL']})
    return json.load(urllib.request.urlopen(request))

given = token()
resolve = socket.getaddrinfo
socket.getaddrinfo = lambda host, *rest, **named: resolve(given['hostaddr'] if host == given['host'] else host, *rest, **named)

async def nothing(connection):
    pass

async def main():
    pool = await asyncpg.create_pool(host=given['host'], port=given['port'], user=given['user'], database=given['database'],
        password=lambda: token()['password'], ssl=ssl.create_default_context(cafile=given['sslrootcert']),
        server_settings={'search_path': given['user']}, reset=nothing, min_size=2, max_size=3)
    async with pool.acquire() as ours, pool.acquire() as theirs:
        print(*await ours.fetchrow('SELECT current_user::text, current_schema()::text'))
        await ours.execute('CREATE TABLE totals (id int PRIMARY KEY, n int NOT NULL)')
        await ours.execute('INSERT INTO totals VALUES ($1, $2)', 1, 0)
        try:
            await theirs.execute('SELECT 1') # hears of the new table
        except asyncpg.SerializationError:
            pass
        for attempt in (1, 2):
            try:
                async with ours.transaction():
                    n = await ours.fetchval('SELECT n FROM totals WHERE id = $1', 1)
                    if attempt == 1:
                        await theirs.execute('UPDATE totals SET n = n + 1')
                    await ours.execute('UPDATE totals SET n = $1 WHERE id = 1', n + 10)
                break
            except asyncpg.SerializationError as lost:
                print(lost.sqlstate)
        print(await theirs.fetchval('SELECT n FROM totals'))
    await pool.close()

asyncio.run(main())
";

/// Lines of Java that are run as they are: a transaction with a conflict, and what tools ask of the
/// catalogue.
const JAVA: &str = r#"
import java.net.URI;
import java.net.http.*;
import java.sql.*;
import java.util.Properties;
import java.util.regex.*;

class Sessions {
    static String field(String json, String name) {
        Matcher found = Pattern.compile("\"" + name + "\":\"?([^\",}]*)").matcher(json);
        if (!found.find()) throw new IllegalStateException(name);
        return found.group(1);
    }

    static Connection open() throws Exception {
        HttpRequest request = HttpRequest.newBuilder(URI.create(System.getenv("API_URL") + "/token"))
            .header("Neon-Connection-String", System.getenv("DATABASE_URL"))
            .POST(HttpRequest.BodyPublishers.noBody()).build();
        String token = HttpClient.newHttpClient().send(request, HttpResponse.BodyHandlers.ofString()).body();
        Properties properties = new Properties();
        for (String name : new String[] {"user", "password", "sslmode", "sslrootcert", "options"})
            properties.setProperty(name, field(token, name));
        return DriverManager.getConnection("jdbc:postgresql://" + field(token, "host") + ":" + field(token, "port") + "/postgres", properties);
    }

    static int number(Connection session, String sql) throws SQLException {
        try (ResultSet rows = session.createStatement().executeQuery(sql)) {
            rows.next();
            return rows.getInt(1);
        }
    }

    public static void main(String[] arguments) throws Exception {
        try (Connection theirs = open()) {
            theirs.createStatement().execute("CREATE TABLE sums (id int PRIMARY KEY, n int NOT NULL)");
            theirs.createStatement().execute("INSERT INTO sums VALUES (1, 0)");
            try (Connection ours = open()) {
                ours.setAutoCommit(false);
                for (int attempt = 1; ; attempt++) {
                    try {
                        int n = number(ours, "SELECT n FROM sums WHERE id = 1");
                        if (attempt == 1) theirs.createStatement().execute("UPDATE sums SET n = n + 1");
                        try (PreparedStatement update = ours.prepareStatement("UPDATE sums SET n = ? WHERE id = ?")) {
                            update.setInt(1, n + 10);
                            update.setInt(2, 1);
                            update.executeUpdate();
                        }
                        ours.commit();
                        break;
                    } catch (SQLException lost) {
                        ours.rollback();
                        System.out.println(lost.getSQLState());
                    }
                }
            }
            System.out.println(number(theirs, "SELECT n FROM sums"));
            try (ResultSet columns = theirs.getMetaData().getColumns(null, "blog", "sums", null)) {
                while (columns.next()) System.out.println(columns.getString("COLUMN_NAME") + " " + columns.getString("TYPE_NAME"));
            }
        }
    }
}
"#;

fn text(output: &Output) -> String {
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    format!("{}{errors}", String::from_utf8_lossy(&output.stdout))
}

/// Runs a program with the variables of a site, its address and authority.
async fn run(site: &Site, program: &str, arguments: &[&str], folder: &Path) -> String {
    let mut path = vec![psql().parent().unwrap_or(Path::new("")).to_owned()];
    path.extend(std::env::split_paths(
        &std::env::var_os("PATH").unwrap_or_default(),
    ));
    let mut command = Command::new(program);
    command
        .args(arguments)
        .env("PATH", std::env::join_paths(path).unwrap())
        .env("PYTHONPATH", python_path())
        .env("PGSERVICEFILE", folder.join("services"))
        .envs(site.variables())
        .stdin(Stdio::null());
    let output = tokio::task::spawn_blocking(move || command.output()).await;
    text(&output.unwrap().unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn psql_connects_in_one_line_and_as_a_service() {
    let site = Site::start().await;
    let folder = tempfile::tempdir().unwrap();
    let server = &site.stack.server;
    let (host, address, port) = (server.endpoint(), server.hostaddr(), server.port());
    let authority = server.ca_file().display();
    let local = format!("hostaddr={address} port={port} sslrootcert={authority}");
    let service = format!(
        "[blog]\nhost={host}\nhostaddr={address}\nport={port}\nuser=blog\ndbname=postgres\nsslmode=verify-full\n\
         sslrootcert={authority}\noptions=-c search_path=blog\n"
    );
    std::fs::write(folder.path().join("services"), service).unwrap();
    let script = format!("LOCAL='{local}'; SQL='SELECT current_user, 6 * 7'\n{PSQL}");
    let answered = run(&site, "bash", &["-euc", &script], folder.path()).await;
    assert_eq!(answered, "blog|42\nblog|42\n");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn psycopg_holds_a_transaction_and_hears_that_its_cancel_request_arrived() {
    let site = Site::start().await;
    let folder = tempfile::tempdir().unwrap();
    let answered = run(&site, "python3", &["-c", PYTHON], folder.path()).await;
    assert_eq!(answered, "blog blog\ncancelled nothing\n40001\n11\n");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn asyncpg_holds_a_pool_and_a_transaction_with_a_conflict() {
    let site = Site::start().await;
    let folder = tempfile::tempdir().unwrap();
    let answered = run(&site, "python3", &["-c", ASYNCPG], folder.path()).await;
    assert_eq!(answered, "blog blog\n40001\n11\n");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn jdbc_holds_a_transaction_with_a_conflict_and_reads_the_catalogue() {
    let site = Site::start().await;
    let folder = tempfile::tempdir().unwrap();
    let (source, hosts) = (
        folder.path().join("Sessions.java"),
        folder.path().join("hosts"),
    );
    std::fs::write(&source, JAVA).unwrap();
    let server = &site.stack.server;
    let entry = format!(
        "{} {}\n127.0.0.1 localhost\n",
        server.hostaddr(),
        server.endpoint()
    );
    std::fs::write(&hosts, entry).unwrap();
    let by_name = format!("-Djdk.net.hosts.file={}", hosts.display());
    let (driver, source) = (jdbc_driver(), source.display().to_string());
    let driver = driver.display().to_string();
    let arguments = [by_name.as_str(), "-cp", &driver, &source];
    let answered = run(&site, "java", &arguments, folder.path()).await;
    assert_eq!(answered, "40001\n11\nid int4\nn int4\n");
}

/// The variables of libpq, which `SQLx` reads too, and a network in which the cluster's name leads to
/// dsql-local.
const SQLX: &str = r#"
TOKEN=$(curl -sf -X POST "$API_URL/token" -H "Neon-Connection-String: $DATABASE_URL")
field() { echo "$TOKEN" | jq -r ".$1"; }
PGHOST=$(field host) PGPORT=$(field port) PGUSER=$(field user) PGPASSWORD=$(field password) PGDATABASE=$(field dbname) \
  PGSSLMODE=$(field sslmode) PGSSLROOTCERT=$(field sslrootcert) PGOPTIONS=$(field options) \
  DSQL_ENDPOINT=$(field host) DSQL_HOSTADDR=$(field hostaddr) LD_PRELOAD=$PWD/hosts.so "$PROGRAM"
"#;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sqlx_holds_a_transaction_with_a_conflict() {
    let site = Site::start().await;
    let folder = tempfile::tempdir().unwrap();
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("connectors-rust");
    let connectors = workspace().join("local/dsql-local/tests/connectors");
    let mut build = Command::new(env!("CARGO"));
    build.args(["build", "--locked", "--quiet", "--bin", "session"]);
    build
        .arg("--manifest-path")
        .arg(connectors.join("rust/Cargo.toml"));
    build.arg("--target-dir").arg(&target);
    let built = tokio::task::spawn_blocking(move || build.output()).await;
    text(&built.unwrap().unwrap());
    let script = format!(
        "cd '{}'; cc -shared -fPIC -O1 -o hosts.so '{}' -ldl; PROGRAM='{}'\n{SQLX}",
        folder.path().display(),
        connectors.join("hosts_shim.c").display(),
        target.join("debug/session").display()
    );
    let answered = run(&site, "bash", &["-euc", &script], folder.path()).await;
    assert_eq!(answered, "40001\n11\n");
}
