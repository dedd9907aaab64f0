//! Owns a `PgBouncer` in transaction mode between clients and `dsql-local`: its configuration, its
//! hosts file, by which the cluster's name leads to `dsql-local`, and its account, since it refuses
//! to be root.

use std::fs::{self, File, Permissions};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use dsql_local::DsqlLocal;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};

use crate::background::{self, Task};
use crate::clock::WallClock;
use crate::preload;
use crate::python::pgbouncer;
use crate::wait;

const HOSTS_SHIM: &str = include_str!("../hosts_shim.c");
/// The account `nobody` of most systems.
const NOBODY: u32 = 65_534;
const LIMIT: Duration = Duration::from_secs(60);
/// Longer than any test moves its clock.
const NEVER: Duration = Duration::from_secs(30 * 86_400);
/// What it logs when it reads its files again.
const RELOADED: &str = "re-reading config";
/// Sessions that it holds for a database, at most.
pub const POOL: usize = 4;

/// A running `PgBouncer`.
#[derive(Debug)]
pub struct Pooler {
    folder: TempDir,
    clock: WallClock,
    port: u16,
    process: Child,
    log: Arc<Mutex<Vec<String>>>,
    _reader: Task,
}

impl Pooler {
    /// Starts it under a clock, with an origin as Hyperdrive is given it. It replaces sessions at
    /// `max_age`.
    ///
    /// # Panics
    /// When it does not come up.
    pub async fn start(
        server: &DsqlLocal,
        clock: &WallClock,
        origin: &Value,
        max_age: Duration,
    ) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        readable(folder.path(), 0o755);
        let authority = folder.path().join("authority.pem");
        fs::copy(server.ca_file(), &authority).expect("the authority can be read");
        readable(&authority, 0o644);
        let hosts = format!("{} {}\n", server.hostaddr(), server.endpoint());
        write(folder.path(), "hosts", &hosts);
        let port = free_port();
        write(
            folder.path(),
            "pgbouncer.ini",
            &settings(folder.path(), port, origin, max_age),
        );

        write(folder.path(), "passwords", &passwords(origin));
        let (program, libraries) = pgbouncer();
        let [(preloaded, clock_shim), clock_file] = clock.env();
        readable(Path::new(&clock_file.1), 0o644);
        let hosts_shim = preload::library("hosts_shim", HOSTS_SHIM);
        let both = format!("{clock_shim}:{}", hosts_shim.display());
        let mut command = Command::new(program);
        command
            .arg(folder.path().join("pgbouncer.ini"))
            .env_clear()
            .env("LD_LIBRARY_PATH", libraries)
            .envs([(preloaded, both), clock_file])
            .env("HOSTS_SHIM_FILE", folder.path().join("hosts"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        if rustix::process::geteuid().is_root() {
            command.uid(NOBODY).gid(NOBODY);
        }
        let log = Arc::new(Mutex::new(Vec::new()));
        let (mut process, kept) = (
            background::run(async move { command.spawn() }).await,
            Arc::clone(&log),
        );
        let stderr = process
            .as_mut()
            .ok()
            .and_then(|process| process.stderr.take());
        let mut lines = BufReader::new(stderr.expect("PgBouncer starts")).lines();
        let reader = background::spawn(async move {
            while let Ok(Some(line)) = lines.next_line().await {
                kept.lock().expect("no holder panics").push(line);
            }
        });
        let pooler = Self {
            folder,
            clock: clock.clone(),
            port,
            process: process.expect("PgBouncer starts"),
            log,
            _reader: reader,
        };
        pooler.wait_for_lines("process up", 1).await;
        pooler
    }

    /// Gives it another password: it replaces the sessions it has, each when it is in nobody's use.
    pub async fn set_password(&self, origin: &Value) {
        let reloads = self.lines_with(RELOADED);
        write(self.folder.path(), "passwords", &passwords(origin));
        // It reads a file again that is younger, in whole seconds, than the one it has read.
        let written = File::options()
            .append(true)
            .open(self.folder.path().join("passwords"));
        let written = written.and_then(|file| file.set_modified(self.clock.now()));
        written.expect("the folder is writable");
        let pid = self
            .process
            .id()
            .and_then(|id| Pid::from_raw(id.try_into().ok()?));
        kill_process(pid.expect("it runs"), Signal::HUP).expect("it can be told");
        self.wait_for_lines(RELOADED, reloads + 1).await;
    }

    /// Where clients connect, in clear and without a password.
    pub fn client_settings(&self) -> tokio_postgres::Config {
        let mut config = tokio_postgres::Config::new();
        config
            .host("127.0.0.1")
            .port(self.port)
            .user("blog")
            .dbname("postgres");
        config
    }

    /// Lines of its log that hold a text.
    pub fn lines_with(&self, text: &str) -> usize {
        let log = self.log.lock().expect("no holder panics");
        log.iter().filter(|line| line.contains(text)).count()
    }

    /// Its log.
    pub fn log(&self) -> String {
        self.log.lock().expect("no holder panics").join("\n")
    }

    /// Waits until that many lines of its log hold a text.
    pub async fn wait_for_lines(&self, text: &str, count: usize) {
        let is_there = || (self.lines_with(text) >= count).then_some(());
        let waited = wait::until(text, 2 * LIMIT, is_there);
        let waited = tokio::time::timeout(LIMIT, waited).await;
        waited.unwrap_or_else(|_| panic!("no {text}:\n{}", self.log()));
    }
}

/// Everything but the password. What waits does so without a limit: the clock that is moved would
/// cut it short.
fn settings(folder: &Path, port: u16, origin: &Value, max_age: Duration) -> String {
    let text = |name: &str| origin[name].as_str().expect("a text").to_owned();
    let origin_port = origin["port"].as_u64().expect("a port");
    let (folder, max_age) = (folder.display(), max_age.as_secs());
    format!(
        "[databases]\n{database} = host={host} port={origin_port}\n[pgbouncer]\n\
         listen_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\n\
         auth_type = trust\nauth_file = {folder}/passwords\npool_mode = transaction\ndefault_pool_size = {POOL}\n\
         server_tls_sslmode = verify-full\nserver_tls_ca_file = {folder}/authority.pem\n\
         server_lifetime = {max_age}\nserver_idle_timeout = 0\nignore_startup_parameters = extra_float_digits\n\
         server_connect_timeout = {never}\nquery_wait_timeout = {never}\nclient_login_timeout = {never}\n",
        database = text("database"),
        host = text("host"),
        never = NEVER.as_secs(),
    )
}

/// The password.
fn passwords(origin: &Value) -> String {
    let quoted = |name: &str| origin[name].as_str().expect("a text").replace('"', "\"\"");
    format!("\"{}\" \"{}\"\n", quoted("user"), quoted("password"))
}

fn write(folder: &Path, name: &str, text: &str) {
    let file = folder.join(name);
    fs::write(&file, text).expect("the folder is writable");
    readable(&file, 0o644);
}

fn readable(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).expect("it is the test's own");
}

fn free_port() -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
    listener.local_addr().expect("it is bound").port()
}
