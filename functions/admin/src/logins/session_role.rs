//! The IAM role that is a login's alone. A token of DSQL opens every database role that its signer is mapped to, so `sql`
//! signs a login's token as an IAM role which is mapped to that login and to nothing else.

use std::collections::BTreeSet;

use dsql::Db;

use crate::AdminError;
use crate::login::LoginName;
use crate::roles;

/// Gives a login one of `session_roles` that no other database role has, unless it has one. `None` when none is left; a
/// later run gives it one that a dropped login has freed.
pub(crate) async fn provide<'a>(
    db: &Db,
    name: &LoginName,
    session_roles: &'a [String],
    changes: &mut Vec<String>,
) -> Result<Option<&'a str>, AdminError> {
    for arn in session_roles {
        let owners = owners(db, arn).await?;
        if owners.is_empty() {
            roles::map(db, name.as_str(), arn).await?;
            // Another run may have chosen the same one meanwhile. Then neither keeps it.
            if is_alone(&self::owners(db, arn).await?, name) {
                changes.push(format!("mapped to {arn}, for sessions"));
                return Ok(Some(arn));
            }
            roles::unmap(db, name.as_str(), arn).await?;
        } else if is_alone(&owners, name) {
            return Ok(Some(arn));
        }
    }
    Ok(None)
}

fn is_alone(owners: &BTreeSet<String>, name: &LoginName) -> bool {
    owners.len() == 1 && owners.contains(name.as_str())
}

/// The database roles that an IAM role is mapped to.
async fn owners(db: &Db, arn: &str) -> Result<BTreeSet<String>, AdminError> {
    let mappings = roles::mappings(db).await?;
    let owners = mappings
        .into_iter()
        .filter(|(_, arns)| arns.iter().any(|of| of == arn));
    Ok(owners.map(|(role, _)| role).collect())
}
