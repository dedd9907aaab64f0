//! Why a command failed, and what Lambda and CloudFormation are told about it.

use lambda_runtime::Diagnostic;

/// Why an event is no command.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct CommandError(pub(crate) String);

impl CommandError {
    pub(crate) fn new(text: String) -> Self {
        Self(text)
    }
}

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AdminError {
    /// The event is no command.
    #[error(transparent)]
    Command(#[from] CommandError),
    /// A migration that was applied has another text now.
    #[error(
        "migration {version} ({name}) was changed after it was applied: add a new migration instead"
    )]
    ChecksumChanged {
        /// The migration's number.
        version: i64,
        /// The migration's name.
        name: String,
    },
    /// An index could not be built.
    #[error(
        "the index of migration {version} ({name}) could not be built: {cause}. Remove what it names, then run again"
    )]
    BuildFailed {
        /// The migration's number.
        version: i64,
        /// The migration's name.
        name: &'static str,
        /// What `sys.jobs` says.
        cause: String,
    },
    /// A command about logins cannot be done as things are.
    #[error("{0}")]
    Login(String),
    /// The system has no randomness for a password.
    #[error("the system has no randomness for a password")]
    NoRandomness,
    /// CloudFormation's answer could not be delivered.
    #[error("the answer to CloudFormation could not be delivered: {0}")]
    Undeliverable(String),
    /// The database.
    #[error("{}", .0.report())]
    Database(#[from] dsql::Error),
}

impl From<AdminError> for Diagnostic {
    fn from(error: AdminError) -> Self {
        let error_type = match &error {
            AdminError::Command(_) => "InvalidCommand",
            AdminError::ChecksumChanged { .. } => "ChecksumChanged",
            AdminError::BuildFailed { .. } => "BuildFailed",
            AdminError::Login(_) => "LoginRefused",
            AdminError::NoRandomness => "NoRandomness",
            AdminError::Undeliverable(_) => "Undeliverable",
            AdminError::Database(_) => "Database",
        };
        Self {
            error_type: error_type.to_owned(),
            error_message: error.to_string(),
        }
    }
}
