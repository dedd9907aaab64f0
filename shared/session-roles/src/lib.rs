//! The IAM role with which one login, and nothing else, may connect. A token of DSQL names no
//! database role: it opens every role that its signer is mapped to. A token that a function signs
//! with its own role would open all roles of that function. So `admin` gives each login an IAM role
//! of its own, which the database records, and a function assumes it to sign. Knows IAM and STS;
//! each function reads the record with the session that it has.

mod sts;

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use aws_config::environment::EnvironmentVariableCredentialsProvider;
use aws_credential_types::Credentials;
use aws_credential_types::provider::ProvideCredentials as _;
use aws_credential_types::provider::error::CredentialsError;

pub use crate::sts::StsError;
use crate::sts::{AssumeRole, Sts};

/// Another endpoint of STS, as the AWS tools name it; for `lambda-local`.
pub const AWS_ENDPOINT_URL_STS: &str = "AWS_ENDPOINT_URL_STS";
/// The longest that a role which a role assumed may be had for.
pub const SESSION_LENGTH: Duration = Duration::from_secs(3_600);

/// The ARN of the IAM role that is mapped to the login `$1` and to no other database role. To be
/// asked each time: what is mapped may change.
pub const ROLE_OF_LOGIN: &str = "SELECT m.arn::text FROM sys.iam_pg_role_mappings m WHERE m.pg_role_name::text = $1 AND NOT EXISTS \
     (SELECT FROM sys.iam_pg_role_mappings o WHERE o.arn = m.arn AND o.pg_role_name <> m.pg_role_name) ORDER BY 1 LIMIT 1";

/// Why a role could not be assumed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RoleError {
    /// The function has none of its own.
    #[error("the function has no credentials")]
    Caller(#[source] CredentialsError),
    /// STS could not be asked, or refused.
    #[error("the login's IAM role cannot be assumed")]
    Sts(#[source] StsError),
}

/// Assumes roles, and keeps their credentials while they last.
#[derive(Debug)]
pub struct SessionRoles {
    sts: Sts,
    kept: Mutex<HashMap<String, Credentials>>,
}

impl SessionRoles {
    /// Of a Region, and of another endpoint than AWS's where one is given. Without I/O.
    pub fn new(region: Option<String>, endpoint: Option<String>) -> Self {
        Self {
            sts: Sts { endpoint, region },
            kept: Mutex::default(),
        }
    }

    /// Credentials of the role `arn`: those that are kept if they last until then, else new ones,
    /// of [`SESSION_LENGTH`].
    ///
    /// # Errors
    /// The function has no credentials, or STS cannot be reached, or refuses.
    pub async fn credentials(
        &self,
        arn: &str,
        login: &str,
        (now, until): (SystemTime, SystemTime),
    ) -> Result<Credentials, RoleError> {
        let kept = self.lock().get(arn).cloned();
        if let Some(credentials) = kept
            && credentials.expiry().is_some_and(|at| at >= until)
        {
            return Ok(credentials);
        }
        let caller = EnvironmentVariableCredentialsProvider::new();
        let caller = caller.provide_credentials().await;
        let caller = caller.map_err(RoleError::Caller)?;
        let session_name = format!("sql-{login}");
        let asked = AssumeRole {
            arn,
            session_name: &session_name,
            session_length: SESSION_LENGTH,
        };
        let credentials = self.sts.assume_role(asked, &caller, now).await;
        let credentials = credentials.map_err(RoleError::Sts)?;
        self.lock().insert(arn.to_owned(), credentials.clone());
        Ok(credentials)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Credentials>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
