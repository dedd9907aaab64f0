//! The IAM role as which a login, and nothing else, may connect. A token of DSQL names no database role: it opens every role
//! that its signer is mapped to. One that the function signed as itself would open all logins, and the role that reads their
//! hashes. So `admin` gives each login an IAM role of its own, and the function assumes it to sign.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use api::Lookup;
use aws_config::environment::EnvironmentVariableCredentialsProvider;
use aws_config::retry::RetryConfig;
use aws_config::sts::AssumeRoleProvider;
use aws_config::timeout::TimeoutConfig;
use aws_config::{AppName, BehaviorVersion, Region, SdkConfig};
use aws_credential_types::Credentials;
use aws_credential_types::provider::ProvideCredentials as _;
use aws_credential_types::provider::error::CredentialsError;
use aws_smithy_async::time::SystemTimeSource;
use aws_smithy_http_client::Builder;
use aws_smithy_http_client::tls::Provider;
use aws_smithy_http_client::tls::rustls_provider::CryptoMode;
use dsql::AWS_REGION;
use dsql::text::{AnswerLimits, TextRequest, TextSessions, TextStatement};

use crate::failure::Failure;

/// Another endpoint of STS, as the AWS tools name it; for `lambda-local`.
const AWS_ENDPOINT_URL_STS: &str = "AWS_ENDPOINT_URL_STS";
/// The longest that a role which a role assumed may be had for.
const SESSION_LENGTH: Duration = Duration::from_secs(3_600);
/// One request to STS, its retries included.
const ASSUME_LIMIT: Duration = Duration::from_secs(10);
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
    endpoint: Option<String>,
    region: Option<Region>,
    kept: Mutex<HashMap<String, Credentials>>,
}

impl SessionRoles {
    /// Without I/O: the first token pays for the client.
    pub(crate) fn from_lookup(lookup: Lookup<'_>) -> Self {
        Self {
            endpoint: lookup(AWS_ENDPOINT_URL_STS),
            region: lookup(AWS_REGION).map(Region::new),
            kept: Mutex::default(),
        }
    }

    /// Credentials of the role `arn` that last until then, if they can.
    ///
    /// # Errors
    /// STS cannot be reached, or refuses.
    pub(crate) async fn credentials(
        &self,
        arn: &str,
        login: &str,
        until: SystemTime,
    ) -> Result<Credentials, CredentialsError> {
        let kept = self.lock().get(arn).cloned();
        if let Some(credentials) = kept
            && credentials.expiry().is_some_and(|at| at >= until)
        {
            return Ok(credentials);
        }
        let provider = AssumeRoleProvider::builder(arn)
            .session_name(format!("sql-{login}")) // at least two characters
            .session_length(SESSION_LENGTH)
            .configure(&self.config())
            .build_from_provider(EnvironmentVariableCredentialsProvider::new())
            .await;
        let credentials = provider.provide_credentials().await?;
        self.lock().insert(arn.to_owned(), credentials.clone());
        Ok(credentials)
    }

    fn config(&self) -> SdkConfig {
        let http = Builder::new()
            .tls_provider(Provider::Rustls(CryptoMode::Ring))
            .build_https();
        let mut config = SdkConfig::builder()
            .behavior_version(BehaviorVersion::latest())
            .app_name(AppName::new("sql").expect("plain letters are a name"))
            .http_client(http)
            .time_source(SystemTimeSource::new())
            .retry_config(RetryConfig::standard())
            .timeout_config(
                TimeoutConfig::builder()
                    .operation_timeout(ASSUME_LIMIT)
                    .build(),
            );
        config.set_region(self.region.clone());
        config.set_endpoint_url(self.endpoint.clone());
        config.build()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<String, Credentials>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
