//! The PostgreSQL server behind the front: found, initialised, started and stopped here.
//!
//! 1. It listens on a Unix socket in a directory of mode 0700 and nowhere else.
//! 2. It never runs as root, wherever the data directory lies.
//! 3. It ends when this process ends, however that happens: a small supervisor holds the read end
//!    of a pipe.

mod catalog;
mod error;
mod find;
mod reach;

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use tokio::process::{Child, ChildStdin, Command};
use tokio::sync::Semaphore;

pub(crate) use catalog::{Catalog, connect};
pub use error::PostgresError;

use self::catalog::SUPERUSER;
use self::error::START_PATIENCE;
use crate::account::{is_open_to_all, unprivileged};
use crate::data_dir::ServerDir;
use crate::dialect::REPORTED;

/// Sessions that may hold a PostgreSQL backend at once.
const MAX_BACKENDS: usize = 980;
/// Sessions that may have a backend before their first statement.
const MAX_PRESTARTED: usize = 16;
const STOP_PATIENCE: Duration = Duration::from_secs(15);
const POLL: Duration = Duration::from_millis(10);
const SUPERVISOR: &str = include_str!("supervise.sh");
const BOOTSTRAP: &str = include_str!("bootstrap.sql");
const WRITES: &str = include_str!("writes.sql");

/// How sessions reach the server.
pub(crate) struct Access {
    pub(crate) socket: PathBuf,
    /// How many more sessions may attach a backend.
    pub(crate) slots: Arc<Semaphore>,
    /// How many more may have one before their first statement.
    pub(crate) prestarts: Arc<Semaphore>,
    pub(crate) catalog: Catalog,
    /// Major version of the server.
    pub(crate) major: u16,
}

/// A running server.
pub(crate) struct Postgres {
    pub(crate) access: Arc<Access>,
    supervisor: Child,
    /// Closing it stops the server.
    life_line: Option<ChildStdin>,
    scratch: PathBuf,
}

impl Postgres {
    /// Starts the server in `dir`, initialising it first if it is new. From here on the
    /// supervisor owns the scratch directory.
    pub(crate) async fn start(
        dir: ServerDir,
        named: Option<&Path>,
        further_settings: &[String],
    ) -> Result<Self, PostgresError> {
        let installation = find::find(named, data_version(&dir.cluster_dir))?;
        installation.warn_of_another_version();
        let account = unprivileged()?;
        let bin_dir = reach::bin_dir(&installation.bin_dir, account, dir.scratch.path())?;
        end_orphan(&dir.cluster_dir).await?;
        let directory = match account {
            Some(_) if !is_open_to_all(dir.cluster_dir.parent().unwrap_or(Path::new("/"))) => {
                // The account cannot walk to the directory, but it may use one that we hand it
                // open.
                if !cfg!(target_os = "linux") {
                    return Err(PostgresError::Unreachable(dir.cluster_dir));
                }
                Some(File::open(&dir.cluster_dir)?)
            }
            _ => None,
        };
        let log = File::options()
            .create(true)
            .append(true)
            .read(true)
            .open(&dir.log_file)?;
        let log_start = log.metadata()?.len();
        let socket_dir = dir.socket_dir();
        let mut command = Command::new("/bin/sh");
        command
            .arg("-c")
            .arg(SUPERVISOR)
            .arg("dsql-local-postgres")
            .arg(bin_dir);
        command.arg(if directory.is_some() {
            Path::new("/proc/self/fd/3")
        } else {
            &dir.cluster_dir
        });
        command.arg(dir.scratch.path()).arg(SUPERUSER);
        let ours = settings(&socket_dir, installation.major, dir.is_kept);
        for setting in ours.iter().chain(further_settings) {
            command.arg("-c").arg(setting);
        }
        command
            .stdin(Stdio::piped())
            .stderr(Stdio::from(log.try_clone()?));
        command.stdout(match directory {
            Some(directory) => Stdio::from(directory),
            None => Stdio::from(log.try_clone()?),
        });
        let path = std::env::var_os("PATH").unwrap_or_else(|| "/usr/bin:/bin".into());
        command
            .env_clear()
            .env("PATH", path)
            .env("LC_ALL", "C")
            .current_dir("/")
            .process_group(0);
        if let Some(account) = account {
            command.uid(account.uid).gid(account.gid);
        }
        let mut supervisor = command.spawn()?;
        let life_line = supervisor.stdin.take();
        let scratch = dir.scratch.keep();
        let socket = socket_dir.join(".s.PGSQL.5432");
        let ready = wait_until_ready(&socket, &mut supervisor, log, log_start).await;
        let catalog = match ready {
            Ok(()) => Catalog::connect(&socket)
                .await
                .map_err(PostgresError::Bootstrap),
            Err(error) => Err(error),
        };
        let catalog = match catalog {
            Ok(catalog) => catalog,
            Err(error) => {
                drop(life_line);
                let _ended = tokio::time::timeout(STOP_PATIENCE, supervisor.wait()).await;
                return Err(error);
            }
        };
        let access = Arc::new(Access {
            socket,
            slots: Arc::new(Semaphore::new(MAX_BACKENDS)),
            prestarts: Arc::new(Semaphore::new(MAX_PRESTARTED)),
            catalog,
            major: u16::try_from(installation.major).unwrap_or_default(),
        });
        let postgres = Self {
            access,
            supervisor,
            life_line,
            scratch,
        };
        postgres
            .access
            .catalog
            .run(&bootstrap())
            .await
            .map_err(PostgresError::Bootstrap)?;
        Ok(postgres)
    }

    /// Stops the server and waits until it and its files are gone.
    pub(crate) async fn stop(mut self) {
        drop(self.life_line.take());
        if tokio::time::timeout(STOP_PATIENCE, self.supervisor.wait())
            .await
            .is_err()
        {
            tracing::warn!(
                "PostgreSQL did not stop within {} s",
                STOP_PATIENCE.as_secs()
            );
        }
        let _gone = std::fs::remove_dir_all(&self.scratch);
    }
}

/// The first statements, with the dialect's lists as arrays of text.
fn bootstrap() -> String {
    let array = |values: &[&str]| format!("{{\"{}\"}}", values.join("\",\""));
    let reported: Vec<String> = REPORTED
        .iter()
        .map(|(name, value)| format!("WHEN '{name}' THEN '{value}'"))
        .collect();
    [BOOTSTRAP, WRITES]
        .concat()
        .replace("{settable}", &array(dsql_dialect::SETTABLE))
        .replace("{absent}", &array(dsql_dialect::ABSENT))
        .replace("{types}", &array(&dsql_dialect::column_types()))
        .replace("{keys}", &array(&dsql_dialect::key_types()))
        .replace("{reported}", &reported.join(" "))
        .replace(
            "{refused}",
            &dsql_dialect::REFUSED_FUNCTIONS.join("|").replace('*', ".*"),
        )
}

/// The major version that made the cluster, unless it is new or was left half made.
fn data_version(cluster_dir: &Path) -> Option<u32> {
    let text = std::fs::read_to_string(cluster_dir.join("PG_VERSION")).ok()?;
    let is_whole = cluster_dir.join("dsql-local.made").exists();
    text.trim().parse().ok().filter(|_| is_whole)
}

fn settings(socket_dir: &Path, major: u32, is_kept: bool) -> Vec<String> {
    let mut settings = vec![
        "listen_addresses=".to_owned(),
        format!("unix_socket_directories={}", socket_dir.display()),
        "unix_socket_permissions=0700".to_owned(),
        "port=5432".to_owned(),
        format!("max_connections={}", MAX_BACKENDS + 20),
        "default_transaction_isolation=repeatable read".to_owned(),
        "timezone=UTC".to_owned(),
        // What only a cluster has, as it has it.
        "dsql.disable_sync_create_index=on".to_owned(),
        "dsql.enable_batched_nestloop=on".to_owned(),
        "default_text_search_config=pg_catalog.simple".to_owned(),
        "log_timezone=UTC".to_owned(),
        "shared_buffers=64MB".to_owned(),
        "logging_collector=off".to_owned(),
        "log_checkpoints=off".to_owned(),
        "log_min_messages=fatal".to_owned(),
        "log_min_error_statement=panic".to_owned(),
        "jit=off".to_owned(),
        // Two statements that wait for each other: rare, since whoever is idle yields its locks.
        "deadlock_timeout=100ms".to_owned(),
        "max_wal_senders=0".to_owned(),
        "wal_level=minimal".to_owned(),
    ];
    if cfg!(target_os = "linux") {
        // A statement whose client is gone holds no locks for long.
        settings.push("client_connection_check_interval=500ms".to_owned());
    }
    if major >= 16 {
        settings.push("createrole_self_grant=set, inherit".to_owned());
    }
    if !is_kept {
        // Commits stay synchronous: without fsync that costs a write to memory, and asynchronous ones
        // wake another process each, which takes a processor from whoever waits.
        settings.extend(["fsync=off", "full_page_writes=off"].map(str::to_owned));
    }
    settings
}

async fn wait_until_ready(
    socket: &Path,
    supervisor: &mut Child,
    mut log: File,
    log_start: u64,
) -> Result<(), PostgresError> {
    let ready = async {
        while Catalog::connect(socket).await.is_err() {
            tokio::time::sleep(POLL).await;
        }
    };
    tokio::select! {
        () = ready => Ok(()),
        () = tokio::time::sleep(START_PATIENCE) => Err(PostgresError::NotReady),
        _ = supervisor.wait() => {
            let mut text = String::new();
            log.seek(SeekFrom::Start(log_start))?;
            log.read_to_string(&mut text)?;
            let lines: Vec<&str> = text.lines().filter(|line| line.contains("FATAL") || line.contains("error")).collect();
            let last = lines.last().copied().or(text.lines().last()).unwrap_or("no reason was given");
            Err(PostgresError::Ended(last.to_owned()))
        }
    }
}

/// Waits for, and at last ends, a server that an earlier, killed dsql-local left on this cluster.
/// The caller holds the data directory's lock, so no living dsql-local owns it.
async fn end_orphan(cluster_dir: &Path) -> Result<(), PostgresError> {
    let pid_file = cluster_dir.join("postmaster.pid");
    let Ok(text) = std::fs::read_to_string(&pid_file) else {
        return Ok(());
    };
    let pid = text
        .lines()
        .next()
        .and_then(|line| line.trim().parse::<i32>().ok());
    let Some(pid) = pid.and_then(rustix::process::Pid::from_raw) else {
        return Ok(());
    };
    // Its supervisor is stopping it at this moment, unless that was killed too.
    for attempt in 0..1000 {
        if !is_server_of(pid, cluster_dir) {
            break;
        }
        if attempt == 600 {
            rustix::process::kill_process(pid, rustix::process::Signal::QUIT)
                .map_err(std::io::Error::from)?;
        }
        tokio::time::sleep(POLL).await;
    }
    // What is left names a process that is gone, or, after a reboot, one that is no server.
    if !is_server_of(pid, cluster_dir) {
        let _absent = std::fs::remove_file(&pid_file);
    }
    Ok(())
}

/// Whether the process is a PostgreSQL server of this cluster.
fn is_server_of(pid: rustix::process::Pid, cluster_dir: &Path) -> bool {
    if rustix::process::test_kill_process(pid).is_err() {
        return false;
    }
    // Where there is no /proc a living process with this number is taken for the server.
    let cwd = format!("/proc/{}/cwd", pid.as_raw_nonzero());
    if Path::new("/proc/self").exists() {
        std::fs::read_link(cwd).is_ok_and(|cwd| cwd == cluster_dir)
    } else {
        true
    }
}
