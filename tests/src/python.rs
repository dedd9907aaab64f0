//! Owns the programs that the tests use and that we did not write: Python packages, psql, a pooler,
//! JDBC.

use std::path::PathBuf;
use std::process::Command;

use crate::binary::workspace;

/// The folder with the Python packages: `TEST_CLIENTS`, or made now.
///
/// # Panics
/// When they cannot be installed.
pub fn python_path() -> PathBuf {
    if let Some(folder) = std::env::var_os("TEST_CLIENTS") {
        return folder.into();
    }
    install("clients");
    workspace().join(".tools/clients")
}

/// The repository's psql, or that of the PATH where there is none for this system; installed now if
/// it is missing.
///
/// # Panics
/// When it cannot be installed.
pub fn psql() -> PathBuf {
    install("psql");
    Some(workspace().join(".tools/psql/bin/psql"))
        .filter(|path| path.exists())
        .unwrap_or_else(|| "psql".into())
}

/// `PgBouncer`, and the folder of the libraries that come with it; installed now if it is missing.
///
/// # Panics
/// When it cannot be installed.
pub fn pgbouncer() -> (PathBuf, PathBuf) {
    install("pgbouncer");
    let folder = workspace().join(".tools/pgbouncer/usr");
    let program = Some(folder.join("sbin/pgbouncer")).filter(|path| path.exists());
    let multiarch = format!("lib/{}-linux-gnu", std::env::consts::ARCH);
    (
        program.unwrap_or_else(|| "pgbouncer".into()),
        folder.join(multiarch),
    )
}

/// PostgreSQL's JDBC driver; installed now if it is missing.
///
/// # Panics
/// When it cannot be installed.
pub fn jdbc_driver() -> PathBuf {
    install("jdbc");
    let unpacked = workspace().join(".tools/jdbc/usr/share/java/postgresql.jar");
    std::env::var_os("JDBC_DRIVER").map_or(unpacked, PathBuf::from)
}

fn install(part: &str) {
    let status = Command::new("scripts/install-tools.sh")
        .arg(part)
        .current_dir(workspace())
        .status()
        .expect("bash starts");
    assert!(status.success(), "scripts/install-tools.sh {part} failed");
}
