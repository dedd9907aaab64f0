//! What the reading of a statement depends on, besides its text.

/// What the session has set that changes how a statement is read.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Session {
    /// `SET disable_sync_create_index = off` was given: a plain `CREATE INDEX` is allowed, on an
    /// empty table.
    pub sync_create_index: bool,
    /// The major version of the PostgreSQL that will run the statement, 14 to 18.
    pub postgres_major: u16,
}

impl Default for Session {
    fn default() -> Self {
        Self {
            sync_create_index: false,
            postgres_major: 16,
        }
    }
}
