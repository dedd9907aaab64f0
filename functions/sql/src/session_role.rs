//! The IAM role as which a login, and nothing else, may connect. A token of DSQL names no database role: it opens every role
//! that its signer is mapped to. One that the function signed as itself would open all logins, and the role that reads their
//! hashes. So `admin` gives each login an IAM role of its own, and the function assumes it to sign.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use api::Lookup;
use aws_config::environment::EnvironmentVariableCredentialsProvider;
use aws_credential_types::Credentials;
use aws_credential_types::provider::ProvideCredentials as _;
use dsql::AWS_REGION;
use dsql::text::{AnswerLimits, TextRequest, TextSessions, TextStatement};

use crate::failure::Failure;
use crate::sts::{AssumeRole, Sts};

/// Another endpoint of STS, as the AWS tools name it; for `lambda-local`.
const AWS_ENDPOINT_URL_STS: &str = "AWS_ENDPOINT_URL_STS";
/// The longest that a role which a role assumed may be had for.
const SESSION_LENGTH: Duration = Duration::from_secs(3_600);
const LIMITS: AnswerLimits = AnswerLimits {
    rows: 1,
    bytes: 4_096,
};

/// An IAM principal that is mapped to this database role alone.
const READ: &str = "SELECT m.arn::text FROM sys.iam_pg_role_mappings m WHERE m.pg_role_name::text = $1 AND NOT EXISTS \
     (SELECT FROM sys.iam_pg_role_mappings o WHERE o.arn = m.arn AND o.pg_role_name <> m.pg_role_name) ORDER BY 1 LIMIT 1";

/// The IAM role that is mapped to `login` and to no other database role. Asked each time: what is mapped may change.
///
/// # Errors
/// There is none, or the database cannot be asked.
pub(crate) async fn of(
    sessions: &TextSessions,
    login: &str,
    deadline: SystemTime,
) -> Result<String, Failure> {
    let params = [login];
    let statement = TextStatement::new(READ, &params);
    let request = TextRequest::one(&statement, LIMITS).lookup();
    let answers = sessions.run(&sessions.own_role(), request, deadline).await;
    let answers = answers.map_err(Failure::unreadable_logins)?;
    let row = answers.first().and_then(|answer| answer.rows.first());
    let arn = row.and_then(|row| {
        row.values()
            .next()
            .flatten()
            .map(std::borrow::Cow::into_owned)
    });
    arn.ok_or_else(|| {
        Failure::new("0A000", "this login has no IAM role of its own, so no token is given to it")
            .hint(
                "The deployment has IAM roles for a number of logins (`SQL_SESSION_ROLES` of admin), and one of a dropped login rests for an hour. Once one is free, admin's command `migrate` gives it out.",
            )
    })
}

/// Assumes roles, and keeps their credentials while they last.
#[derive(Debug)]
pub(crate) struct SessionRoles {
    sts: Sts,
    kept: Mutex<HashMap<String, Credentials>>,
}

impl SessionRoles {
    /// Without I/O: the first token pays for the client.
    pub(crate) fn from_lookup(lookup: Lookup<'_>) -> Self {
        Self {
            sts: Sts {
                endpoint: lookup(AWS_ENDPOINT_URL_STS),
                region: lookup(AWS_REGION),
            },
            kept: Mutex::default(),
        }
    }

    /// Credentials of the role `arn` that last until then, if they can.
    ///
    /// # Errors
    /// The function has no credentials, or STS cannot be reached, or refuses.
    pub(crate) async fn credentials(
        &self,
        arn: &str,
        login: &str,
        (now, until): (SystemTime, SystemTime),
    ) -> Result<Credentials, String> {
        let kept = self.lock().get(arn).cloned();
        if let Some(credentials) = kept
            && credentials.expiry().is_some_and(|at| at >= until)
        {
            return Ok(credentials);
        }
        let caller = EnvironmentVariableCredentialsProvider::new();
        let caller = caller.provide_credentials().await;
        let caller = caller.map_err(|error| error.to_string())?;
        let session_name = format!("sql-{login}");
        let asked = AssumeRole {
            arn,
            session_name: &session_name,
            session_length: SESSION_LENGTH,
        };
        let credentials = self.sts.assume_role(asked, &caller, now).await;
        let credentials = credentials.map_err(|error| error.to_string())?;
        self.lock().insert(arn.to_owned(), credentials.clone());
        Ok(credentials)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<String, Credentials>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
