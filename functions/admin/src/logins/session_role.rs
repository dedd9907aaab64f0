//! The IAM role that belongs to one login alone. A token of DSQL opens every database role that its
//! signer is mapped to, so `sql` signs a login's token as an IAM role which is mapped to that login
//! and to nothing else. A token outlives its login: the IAM role of a dropped one rests until every
//! token that it signed has expired, else they would open the next login.

use std::collections::BTreeSet;

use dsql::{Db, Error, Type};
use logins::LoginName;

use crate::error::AdminError;
use crate::roles;

/// The longest life of a token, 3,600 seconds (`SQL_TOKEN_SECONDS`), and of the request that signs
/// it.
const RETIRE: &str = "\
INSERT INTO chats.sql_session_roles (arn, free_from) VALUES ($1, now() + interval '1 hour 5 minutes')
ON CONFLICT (arn) DO UPDATE SET free_from = excluded.free_from";

const RESTS: &str =
    "SELECT EXISTS (SELECT FROM chats.sql_session_roles WHERE arn = $1 AND free_from > now())";

/// Has an IAM role rest that a login gives up. Before it is unmapped, so that nobody gets it in
/// between.
pub(crate) async fn retire(db: &Db, arn: &str) -> Result<(), Error> {
    db.execute_idempotent(RETIRE, &[(&arn, Type::TEXT)])
        .await
        .map(|_| ())
}

async fn rests(db: &Db, arn: &str) -> Result<bool, Error> {
    let row = db
        .query_opt_idempotent(RESTS, &[(&arn, Type::TEXT)])
        .await?;
    Ok(row.is_some_and(|row| row.get(0)))
}

/// Gives a login one of `session_roles` that no other database role has, unless it has one. `None`
/// when none is left; a later run gives it one that a dropped login has freed, once that has
/// rested.
pub(crate) async fn provide<'a>(
    db: &Db,
    name: &LoginName,
    session_roles: &'a [String],
    changes: &mut Vec<String>,
) -> Result<Option<&'a str>, AdminError> {
    for arn in session_roles {
        let owners = owners(db, arn).await?;
        if owners.is_empty() {
            if rests(db, arn).await? {
                continue;
            }
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
