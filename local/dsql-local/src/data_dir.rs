//! The files: what is kept in the data directory, what is thrown away, and whose they are.
//!
//! ```text
//! DIR/lock            held while a dsql-local uses DIR
//! DIR/identity.json   id of the default cluster, access key of the admin principal, certificate authority (mode 0600)
//! DIR/clusters.json   what the control plane knows of all clusters (mode 0600)
//! DIR/ca.pem          the authority's certificate, for clients
//! DIR/postgres/       the PostgreSQL server of the default cluster
//! DIR/postgres.log
//! DIR/clusters/ID/    the same two of each further cluster
//! ```
//!
//! Each server has a scratch directory, which holds its socket and, without a data directory, all
//! the rest. It is removed by PostgreSQL's supervisor, so that it goes even if this process is
//! killed.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::account::{Account, is_open_to_all};
use crate::tls::{Authority, TlsError};

/// Why the files cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DataDirError {
    /// Another dsql-local uses the data directory.
    #[error("another dsql-local is using {0}")]
    InUse(PathBuf),
    /// A file operation failed.
    #[error("cannot {action} {path}: {source}")]
    File {
        /// What was tried.
        action: &'static str,
        /// On which file.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// The identity file is damaged.
    #[error("{path} is damaged: {reason}")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// No certificate authority could be made.
    #[error(transparent)]
    Tls(#[from] TlsError),
}

/// What makes a stand-in the same one after a restart.
#[derive(Serialize, Deserialize)]
pub(crate) struct Identity {
    pub(crate) cluster_id: String,
    pub(crate) access_key_id: String,
    pub(crate) secret_access_key: String,
    ca_certificate_pem: String,
    ca_key_pem: String,
}

impl Identity {
    fn generate() -> Result<Self, TlsError> {
        let authority = Authority::generate()?;
        Ok(Self {
            cluster_id: new_cluster_id(),
            access_key_id: format!(
                "AKIA{}",
                random_text(b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567", 16)
            ),
            secret_access_key: random_text(
                b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/",
                40,
            ),
            ca_certificate_pem: authority.certificate_pem,
            ca_key_pem: authority.key_pem,
        })
    }

    pub(crate) fn authority(&self) -> Authority {
        Authority {
            certificate_pem: self.ca_certificate_pem.clone(),
            key_pem: self.ca_key_pem.clone(),
        }
    }
}

/// An identifier as the service makes them.
pub(crate) fn new_cluster_id() -> String {
    random_text(b"abcdefghijklmnopqrstuvwxyz0123456789", 26)
}

/// Enough for a tool that listens on loopback only; these are no AWS credentials.
fn random_text(alphabet: &[u8], length: usize) -> String {
    let mut random = fastrand::Rng::new();
    (0..length)
        .filter_map(|_| random.choice(alphabet))
        .map(|&byte| char::from(byte))
        .collect()
}

/// An opened data directory.
pub(crate) struct DataDir {
    pub(crate) identity: Identity,
    pub(crate) ca_file: PathBuf,
    /// The directory itself; `None` if all is thrown away.
    kept: Option<PathBuf>,
    account: Option<Account>,
    /// Locked for as long as it is open.
    _lock: Option<File>,
}

/// The files of one PostgreSQL server.
pub(crate) struct ServerDir {
    /// The PostgreSQL cluster's directory; exists and belongs to the account that PostgreSQL runs
    /// as.
    pub(crate) cluster_dir: PathBuf,
    /// Holds the socket; removed on stop.
    pub(crate) scratch: tempfile::TempDir,
    pub(crate) log_file: PathBuf,
    /// Whether the data outlives this process.
    pub(crate) is_kept: bool,
}

impl DataDir {
    /// Opens the data directory, or creates everything in a new scratch directory: that of the
    /// default cluster's server, whose files come with it.
    pub(crate) fn open(
        data_dir: Option<&Path>,
        account: Option<Account>,
    ) -> Result<(Self, ServerDir), DataDirError> {
        let (kept, lock) = match data_dir {
            Some(dir) => {
                std::fs::create_dir_all(dir).map_err(failed("create", dir))?;
                let dir = dir.canonicalize().map_err(failed("find", dir))?;
                let lock = lock(&dir)?;
                (Some(dir), Some(lock))
            }
            None => (None, None),
        };
        let identity = match &kept {
            Some(dir) => kept_identity(dir)?,
            None => Identity::generate()?,
        };
        let server_dir = ServerDir::open(kept.as_deref(), account)?;
        let root = kept.as_deref().unwrap_or(server_dir.scratch.path());
        let ca_file = root.join("ca.pem");
        write_file(&ca_file, identity.ca_certificate_pem.as_bytes(), 0o644)?;
        let data_dir = Self {
            identity,
            ca_file,
            kept,
            account,
            _lock: lock,
        };
        Ok((data_dir, server_dir))
    }

    /// Where the control plane keeps what it knows; `None` if that is thrown away.
    pub(crate) fn clusters_file(&self) -> Option<PathBuf> {
        Some(self.kept.as_ref()?.join("clusters.json"))
    }

    /// The files of a further cluster's server.
    pub(crate) fn server_dir(&self, cluster_id: &str) -> Result<ServerDir, DataDirError> {
        let dir = self.further(cluster_id);
        if let Some(dir) = &dir {
            std::fs::create_dir_all(dir).map_err(failed("create", dir))?;
        }
        ServerDir::open(dir.as_deref(), self.account)
    }

    /// Removes what is kept of a further cluster, whose server has stopped.
    pub(crate) fn remove_server_dir(&self, cluster_id: &str) -> Result<(), DataDirError> {
        match self.further(cluster_id) {
            Some(dir) if dir.exists() => {
                std::fs::remove_dir_all(&dir).map_err(failed("remove", &dir))
            }
            _ => Ok(()),
        }
    }

    /// The ids of the further clusters of which something is kept.
    pub(crate) fn further_clusters(&self) -> Vec<String> {
        let dir = self.kept.as_ref().map(|dir| dir.join(FURTHER));
        let entries = dir.and_then(|dir| dir.read_dir().ok());
        let names = entries.into_iter().flatten().flatten();
        names
            .filter_map(|entry| entry.file_name().into_string().ok())
            .collect()
    }

    fn further(&self, cluster_id: &str) -> Option<PathBuf> {
        Some(self.kept.as_ref()?.join(FURTHER).join(cluster_id))
    }
}

/// The folder of the further clusters.
const FURTHER: &str = "clusters";

impl ServerDir {
    /// Below `kept`, or in the scratch directory.
    fn open(kept: Option<&Path>, account: Option<Account>) -> Result<Self, DataDirError> {
        let scratch = scratch_dir(account)?;
        make_owned_dir(&scratch.path().join("socket"), account)?;
        let root = kept.unwrap_or(scratch.path());
        let cluster_dir = root.join("postgres");
        make_owned_dir(&cluster_dir, account)?;
        Ok(Self {
            cluster_dir,
            log_file: root.join("postgres.log"),
            is_kept: kept.is_some(),
            scratch,
        })
    }

    pub(crate) fn socket_dir(&self) -> PathBuf {
        self.scratch.path().join("socket")
    }
}

fn lock(dir: &Path) -> Result<File, DataDirError> {
    let path = dir.join("lock");
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .open(&path)
        .map_err(failed("open", &path))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(DataDirError::InUse(dir.to_owned())),
        Err(TryLockError::Error(source)) => Err(DataDirError::File {
            action: "lock",
            path,
            source,
        }),
    }
}

fn kept_identity(root: &Path) -> Result<Identity, DataDirError> {
    let path = root.join("identity.json");
    match std::fs::read(&path) {
        Ok(text) => serde_json::from_slice(&text).map_err(|error| DataDirError::Damaged {
            path,
            reason: error.to_string(),
        }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let identity = Identity::generate()?;
            let text = serde_json::to_vec_pretty(&identity).expect("strings always serialise");
            write_file(&path, &text, 0o600)?;
            Ok(identity)
        }
        Err(source) => Err(DataDirError::File {
            action: "read",
            path,
            source,
        }),
    }
}

/// Writes a file so that nobody ever sees a part of it.
pub(crate) fn write_file(path: &Path, content: &[u8], mode: u32) -> Result<(), DataDirError> {
    let dir = path
        .parent()
        .filter(|dir| !dir.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    let failed = |source| DataDirError::File {
        action: "write",
        path: path.to_owned(),
        source,
    };
    let mut file = tempfile::Builder::new()
        .prefix(".dsql-local-")
        .permissions(std::fs::Permissions::from_mode(mode))
        .tempfile_in(dir)
        .map_err(failed)?;
    // The umask may have taken bits away.
    file.as_file()
        .set_permissions(std::fs::Permissions::from_mode(mode))
        .map_err(failed)?;
    file.write_all(content).map_err(failed)?;
    file.persist(path).map_err(|error| failed(error.error))?;
    Ok(())
}

fn scratch_dir(account: Option<Account>) -> Result<tempfile::TempDir, DataDirError> {
    // A socket's path is limited to about 100 bytes, and another account must be able to reach it.
    let candidates = [
        std::env::temp_dir(),
        "/tmp".into(),
        "/var/tmp".into(),
        "/dev/shm".into(),
    ];
    let usable = |dir: &&PathBuf| {
        dir.is_dir() && dir.as_os_str().len() <= 50 && (account.is_none() || is_open_to_all(dir))
    };
    let dir = candidates.iter().find(usable).unwrap_or(&candidates[1]);
    let scratch = tempfile::Builder::new()
        .prefix("dsql-local-")
        .tempdir_in(dir)
        .map_err(failed("create a directory in", dir))?;
    let path = scratch.path();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755))
        .map_err(failed("set the mode of", path))?;
    give(path, account)?;
    Ok(scratch)
}

fn make_owned_dir(dir: &Path, account: Option<Account>) -> Result<(), DataDirError> {
    match std::fs::create_dir(dir) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            return Err(failed("create", dir)(error));
        }
        _ => {}
    }
    std::fs::set_permissions(dir, std::fs::Permissions::from_mode(0o700))
        .map_err(failed("set the mode of", dir))?;
    give(dir, account)
}

fn give(path: &Path, account: Option<Account>) -> Result<(), DataDirError> {
    let Some(account) = account else {
        return Ok(());
    };
    std::os::unix::fs::chown(path, Some(account.uid), Some(account.gid))
        .map_err(failed("give away", path))
}

fn failed(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> DataDirError {
    let path = path.to_owned();
    move |source| DataDirError::File {
        action,
        path,
        source,
    }
}
