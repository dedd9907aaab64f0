//! Owns the folder of Python packages that the tests use: clients and servers we did not write.

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
    let status = Command::new("scripts/install-tools.sh")
        .arg("clients")
        .current_dir(workspace())
        .status()
        .expect("bash starts");
    assert!(status.success(), "scripts/install-tools.sh clients failed");
    workspace().join(".tools/clients")
}
