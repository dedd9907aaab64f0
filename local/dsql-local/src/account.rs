//! The operating system's accounts: which one PostgreSQL runs as, and what every account can reach.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// An operating-system account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Account {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
}

/// There is no account that PostgreSQL could run as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NoAccount;

/// The account that PostgreSQL must run as: none but our own, unless we are root, which PostgreSQL
/// refuses.
pub(crate) fn unprivileged() -> Result<Option<Account>, NoAccount> {
    if !rustix::process::geteuid().is_root() {
        return Ok(None);
    }
    let table = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let named = |name| table.lines().find_map(|line| parse_account(line, name));
    named("postgres")
        .or_else(|| named("nobody"))
        .map(Some)
        .ok_or(NoAccount)
}

fn parse_account(line: &str, name: &str) -> Option<Account> {
    let mut fields = line.split(':');
    if fields.next()? != name {
        return None;
    }
    fields.next()?;
    let id = |text: &str| text.parse::<u32>().ok().filter(|id| *id != 0);
    Some(Account {
        uid: id(fields.next()?)?,
        gid: id(fields.next()?)?,
    })
}

/// Whether any account may reach what is inside `dir`.
pub(crate) fn is_open_to_all(dir: &Path) -> bool {
    let Ok(dir) = dir.canonicalize() else {
        return false;
    };
    dir.ancestors().all(|dir| {
        dir.metadata()
            .is_ok_and(|meta| meta.permissions().mode() & 0o001 != 0)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_passwd_line_gives_the_account_and_root_never_does() {
        let account = Account { uid: 101, gid: 104 };
        assert_eq!(
            parse_account(
                "postgres:x:101:104::/var/lib/postgresql:/bin/bash",
                "postgres"
            ),
            Some(account)
        );
        assert_eq!(parse_account("postgres:x:0:0::/:/bin/sh", "postgres"), None);
        assert_eq!(
            parse_account("postgresql:x:101:104::/:/bin/sh", "postgres"),
            None
        );
    }
}
