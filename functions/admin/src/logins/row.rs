//! A row of `chats.sql_logins`: what is known of a login, without its hashes.

use dsql::{Db, Row, Type};
use logins::{LoginName, Schemas};

use crate::error::AdminError;
use crate::login::Access;

/// How far a login is made or taken away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// It has no password yet.
    Creating,
    /// It can be used.
    Ready,
    /// Its passwords are void.
    Dropping,
    /// Its role can do nothing but own what it created.
    Dropped,
    /// What it created is being deleted.
    Deleting,
}

impl State {
    const WORDS: &[(&str, Self)] = &[
        ("creating", Self::Creating),
        ("ready", Self::Ready),
        ("dropping", Self::Dropping),
        ("dropped", Self::Dropped),
        ("deleting", Self::Deleting),
    ];

    fn parse(text: &str) -> Result<Self, String> {
        let found = Self::WORDS.iter().find(|(word, _)| *word == text);
        found
            .map(|(_, state)| *state)
            .ok_or_else(|| format!("unknown state {text:?}"))
    }

    /// Whether the login is there, or on its way.
    pub(super) fn is_live(self) -> bool {
        matches!(self, Self::Creating | Self::Ready)
    }
}

/// A row of `sql_logins`, without its hashes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Login {
    pub(super) name: LoginName,
    pub(super) access: Access,
    pub(super) schemas: Schemas,
    pub(super) state: State,
}

impl Login {
    fn from_row(row: &Row) -> Result<Self, AdminError> {
        let foreign =
            |what| AdminError::Login(format!("sql_logins holds a row not made here: {what}"));
        Ok(Self {
            name: LoginName::parse(row.get(0)).map_err(foreign)?,
            access: Access::parse(row.get(1)).map_err(foreign)?,
            schemas: Schemas::from_stored(row.get(2)),
            state: State::parse(row.get(3)).map_err(foreign)?,
        })
    }
}

pub(super) async fn read(db: &Db, name: &LoginName) -> Result<Option<Login>, AdminError> {
    let row = db
        .query_opt_idempotent(
            "SELECT name, access, schemas, state FROM chats.sql_logins WHERE name = $1",
            &[(&name.as_str(), Type::TEXT)],
        )
        .await?;
    row.as_ref().map(Login::from_row).transpose()
}

pub(super) async fn all(db: &Db) -> Result<Vec<Login>, AdminError> {
    let rows = db
        .query_idempotent(
            "SELECT name, access, schemas, state FROM chats.sql_logins ORDER BY name",
            &[],
        )
        .await?;
    rows.iter().map(Login::from_row).collect()
}
