//! The server's files, where the account that PostgreSQL runs as can reach them.
//!
//! Root's checkout may lie below a directory that is closed to all others. The packaged server in
//! it then runs from a copy in the scratch directory, and goes with it; PostgreSQL finds its own
//! files from where its programs lie. Where the file system allows it, the copy shares the files.

use std::io;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};

use crate::account::{Account, is_open_to_all};

/// Lies beside the `bin` directory of a packaged server: what is there is the server and nothing
/// else.
const MARK: &str = "pg-symlinks.json";

/// The `bin` directory to start the server from.
pub(super) fn bin_dir(
    found: &Path,
    account: Option<Account>,
    scratch: &Path,
) -> io::Result<PathBuf> {
    let found = found.canonicalize()?;
    match (account, found.parent()) {
        (Some(account), Some(root)) if root.join(MARK).exists() && !is_open_to_all(&found) => {
            let to = scratch.join("server");
            copy(root, &to, account)?;
            Ok(to.join("bin"))
        }
        _ => Ok(found),
    }
}

/// Copies a tree, of files that nobody changes. Its directories are the account's, so that its
/// supervisor can remove them.
fn copy(from: &Path, to: &Path, account: Account) -> io::Result<()> {
    std::fs::create_dir(to)?;
    std::fs::set_permissions(to, std::fs::Permissions::from_mode(0o755))?;
    chown(to, Some(account.uid), Some(account.gid))?;
    for entry in from.read_dir()? {
        let entry = entry?;
        let (kind, to) = (entry.file_type()?, to.join(entry.file_name()));
        if kind.is_dir() {
            copy(&entry.path(), &to, account)?;
        } else if kind.is_symlink() {
            symlink(entry.path().read_link()?, to)?;
        } else if std::fs::hard_link(entry.path(), &to).is_err() {
            std::fs::copy(entry.path(), to)?;
        }
    }
    Ok(())
}
