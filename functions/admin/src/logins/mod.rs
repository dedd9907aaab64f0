//! Logins of the SQL-over-HTTP endpoint: a row in `sql_logins`, a database role of the same name
//! that the `sql` function's principals may connect as, and its privileges. The row is written
//! first, without a password, and gets its password last: a run that ends half way leaves nothing
//! that could be used, and the next run goes on where it ended.
//!
//! # Promises
//! 1. What a login creates belongs to its own role until it is deleted. No command makes anything
//!    the property of another role, so a view or a function can never do more than whoever wrote
//!    it.
//! 2. A dropped login leaves its row and its role, which nobody can connect as: the owner of its
//!    objects, until the login is made again or its data is deleted.
//! 3. The row's generation is another one after every change: whoever keeps sessions by it never
//!    uses one from before.

mod deletion;
mod objects;
mod privileges;
mod record;
mod removal;
mod room;
mod row;
mod session_role;

use dsql::{Db, Type};
use logins::{LoginName, Schemas};
use serde_json::{Value, json};

pub(crate) use objects::of_admin;
pub use removal::Data;
pub(crate) use removal::drop;

use row::{Login, State, all, read};

use crate::error::AdminError;
use crate::login::{Access, Password, SqlHost};
use crate::roles::{self, SQL_FUNCTION};

/// Which of two valid passwords stays valid beside a new one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keep {
    /// The one made by the last rotation.
    Current,
    /// The one from before it.
    Previous,
}

/// Creates a login, finishes one, or makes a dropped one again; a complete one is repaired and
/// keeps its password.
pub(crate) async fn create(
    db: &Db,
    name: LoginName,
    access: Access,
    schemas: Schemas,
    host: &SqlHost,
    session_roles: &[String],
) -> Result<Value, AdminError> {
    let arns = function_principals(db).await?;
    if arns.is_empty() {
        return Err(AdminError::Login(format!(
            "no IAM principal is mapped to {SQL_FUNCTION}, so nobody could use the login: run migrate with its ARN in \
             \"roles\" first"
        )));
    }
    let wanted = Login {
        name,
        access,
        schemas,
        state: State::Creating,
    };
    let name = &wanted.name;
    room::check(db, &wanted.schemas, access).await?;
    // In this order: a login's row is older than its role, also when another run is making it just
    // now.
    let has_role = privileges::exists(db, name).await?;
    let login = match read(db, name).await? {
        Some(login) if login.state == State::Dropped => revive(db, &wanted).await?,
        Some(login) => login,
        None if has_role => {
            return Err(AdminError::Login(format!(
                "a database role {name} exists already and is no login: choose another name"
            )));
        }
        None => reserve(db, &wanted).await?,
    };
    if !login.state.is_live() {
        return Err(AdminError::Login(format!(
            "the login {name} is half dropped: run drop-login again first"
        )));
    }
    if (login.access, &login.schemas) != (wanted.access, &wanted.schemas) {
        return Err(AdminError::Login(format!(
            "the login {name} exists with access {} to {}: drop it first, or choose another name",
            login.access.word(),
            login.schemas.joined()
        )));
    }

    let mut changes = Vec::new();
    if roles::create(db, name.as_str()).await? {
        changes.push("created the role".to_owned());
    }
    for arn in &arns {
        if roles::map(db, name.as_str(), arn).await? {
            changes.push(format!("mapped to {arn}"));
        }
    }
    let others = all(db).await?;
    let others: Vec<Login> = others
        .into_iter()
        .filter(|other| other.name != *name && other.state.is_live())
        .collect();
    privileges::provide(db, &login, &others, &mut changes).await?;
    if access != Access::ReadOnly {
        record::provide(db, name, &mut changes).await?;
    }
    let session_role = session_role::provide(db, name, session_roles, &mut changes).await?;
    let password = open(db, &login).await?;
    tracing::info!(login.name = %name, "login {name} is complete: {} changes", changes.len());
    let note = "the login existed and keeps its password; rotate-login makes a new one";
    Ok(json!({
        "login": name.as_str(),
        "created": password.is_some(),
        "access": access.word(),
        "schemas": login.schemas.names(),
        "sessions": session_role.is_some(),
        "changes": changes,
        "note": password.is_none().then_some(note),
        "connectionString": password.map(|password| password.connection_string(name, host)),
    }))
}

/// Makes a new password. The old one stays valid for `grace_s` seconds.
pub(crate) async fn rotate(
    db: &Db,
    name: &LoginName,
    grace_s: u32,
    keep: Option<Keep>,
    host: &SqlHost,
) -> Result<Value, AdminError> {
    let row = db
        .query_opt_idempotent(
            "SELECT state, password_hash, previous_hash, previous_until > now() FROM chats.sql_logins WHERE name = $1",
            &[(&name.as_str(), Type::TEXT)],
        )
        .await?;
    let Some(row) = row.filter(|row| row.get::<_, String>(0) == "ready") else {
        return Err(AdminError::Login(format!(
            "there is no complete login {name}: list-logins tells which there are"
        )));
    };
    let (current, previous): (String, Option<String>) = (row.get(1), row.get(2));
    let both_valid = row.get::<_, Option<bool>>(3) == Some(true);
    let stays = match (grace_s, both_valid, keep) {
        (0, _, _) => None,
        (_, false, _) | (_, true, Some(Keep::Current)) => Some(current.clone()),
        (_, true, Some(Keep::Previous)) => previous,
        (_, true, None) => {
            return Err(AdminError::Login(format!(
                "two passwords of {name} are valid, from a rotation whose grace period still runs: say which of them \
                 stays valid beside a new one, \"keep\": \"current\" (made by that rotation) or \"previous\", or end \
                 both at once with \"graceSeconds\": 0"
            )));
        }
    };
    let password = new_password()?;
    // A replay finds its own hash, and sets the same again.
    let changed = db
        .execute_idempotent(
            "UPDATE chats.sql_logins SET password_hash = $3, previous_hash = $4, rotated_at = now(),
                generation = gen_random_uuid()::text,
                previous_until = CASE WHEN $4 IS NULL THEN NULL ELSE now() + make_interval(secs => $5) END
             WHERE name = $1 AND state = 'ready' AND password_hash IN ($2, $3)",
            &[
                (&name.as_str(), Type::TEXT),
                (&current, Type::TEXT),
                (&password.hash(), Type::TEXT),
                (&stays, Type::TEXT),
                (&f64::from(grace_s), Type::FLOAT8),
            ],
        )
        .await?;
    if changed == 0 {
        return Err(AdminError::Login(format!(
            "another run rotated {name} at the same time: run it again if you need another password"
        )));
    }
    tracing::info!(login.name = %name, "rotated the password of login {name}");
    Ok(json!({
        "login": name.as_str(),
        "connectionString": password.connection_string(name, host),
        "oldPasswordValidForSeconds": stays.map_or(0, |_| grace_s),
    }))
}

/// Every login, without secrets.
pub(crate) async fn list(db: &Db) -> Result<Value, AdminError> {
    let rows = db
        .query_idempotent(
            "SELECT name, access, schemas, state,
                to_char(created_at AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"'),
                to_char(rotated_at AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"'),
                CASE WHEN previous_until > now()
                    THEN to_char(previous_until AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"') END
             FROM chats.sql_logins ORDER BY name",
            &[],
        )
        .await?;
    let mappings = roles::mappings(db).await?;
    let logins: Vec<Value> = rows
        .iter()
        .map(|row| {
            let (name, access): (String, String) = (row.get(0), row.get(1));
            let (schemas, state): (String, String) = (row.get(2), row.get(3));
            let (created, rotated): (String, Option<String>) = (row.get(4), row.get(5));
            let until: Option<String> = row.get(6);
            json!({
                "name": name,
                "access": access,
                "schemas": Schemas::from_stored(&schemas).names(),
                "state": state,
                "createdAt": created,
                "rotatedAt": rotated,
                "previousPasswordValidUntil": until,
                "mappedTo": mappings.get(&name),
            })
        })
        .collect();
    Ok(json!({ "logins": logins }))
}

/// Lets the `sql` function's principals connect as every login, after one of them changed, and
/// gives each login an IAM role of its own, while there are any.
pub(crate) async fn map_all(db: &Db, session_roles: &[String]) -> Result<Value, AdminError> {
    let arns = function_principals(db).await?;
    let mut report = serde_json::Map::new();
    for login in all(db).await? {
        if !login.state.is_live() || !privileges::exists(db, &login.name).await? {
            continue;
        }
        let mut mapped = Vec::new();
        for arn in &arns {
            if roles::map(db, login.name.as_str(), arn).await? {
                mapped.push(format!("mapped to {arn}"));
            }
        }
        session_role::provide(db, &login.name, session_roles, &mut mapped).await?;
        report.insert(login.name.to_string(), json!(mapped));
    }
    Ok(report.into())
}

async fn function_principals(db: &Db) -> Result<Vec<String>, AdminError> {
    Ok(roles::mappings(db)
        .await?
        .remove(SQL_FUNCTION)
        .unwrap_or_default())
}

/// Writes the row that says whose the role is, before there is one.
async fn reserve(db: &Db, login: &Login) -> Result<Login, AdminError> {
    db.execute_idempotent(
        "INSERT INTO chats.sql_logins (name, password_hash, created_at, access, schemas, state, generation)
         VALUES ($1, '', now(), $2, $3, 'creating', gen_random_uuid()::text) ON CONFLICT (name) DO NOTHING",
        &[
            (&login.name.as_str(), Type::TEXT),
            (&login.access.word(), Type::TEXT),
            (&login.schemas.joined(), Type::TEXT),
        ],
    )
    .await?;
    reread(db, login).await
}

/// Begins to make a dropped login again. Its role may still own what it created before, which only
/// an owner may.
async fn revive(db: &Db, login: &Login) -> Result<Login, AdminError> {
    let owned = objects::of(db, &login.name).await?;
    if login.access != Access::Owner
        && let Some(first) = owned.first()
    {
        return Err(AdminError::Login(format!(
            "the role {} still owns what it created before it was dropped, {first} and others, so it can be no {} login: \
             make it with access owner, or delete its data first (drop-login with \"data\": \"delete\")",
            login.name,
            login.access.word()
        )));
    }
    db.execute_idempotent(
        "UPDATE chats.sql_logins SET state = 'creating', access = $2, schemas = $3, created_at = now(), rotated_at = NULL,
            generation = gen_random_uuid()::text
         WHERE name = $1 AND state = 'dropped'",
        &[
            (&login.name.as_str(), Type::TEXT),
            (&login.access.word(), Type::TEXT),
            (&login.schemas.joined(), Type::TEXT),
        ],
    )
    .await?;
    reread(db, login).await
}

async fn reread(db: &Db, login: &Login) -> Result<Login, AdminError> {
    let stored = read(db, &login.name).await?;
    stored.ok_or_else(|| {
        AdminError::Login(format!(
            "the login {} was dropped while it was created: run it again",
            login.name
        ))
    })
}

/// Gives a login that has none a password; `None` if it is open already.
async fn open(db: &Db, login: &Login) -> Result<Option<Password>, AdminError> {
    let password = new_password()?;
    // A replay finds its own hash, and sets the same again.
    let changed = db
        .execute_idempotent(
            "UPDATE chats.sql_logins SET password_hash = $2, state = 'ready', created_at = now(),
                generation = gen_random_uuid()::text
             WHERE name = $1 AND (state = 'creating' OR password_hash = $2)",
            &[
                (&login.name.as_str(), Type::TEXT),
                (&password.hash(), Type::TEXT),
            ],
        )
        .await?;
    Ok((changed > 0).then_some(password))
}

fn new_password() -> Result<Password, AdminError> {
    Password::generate().map_err(|_| AdminError::NoRandomness)
}
