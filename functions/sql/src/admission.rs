//! Who sends a request: its login, by the connection string and a password, or by a token.

use std::sync::Arc;
use std::time::SystemTime;

use dsql::Clock;
use dsql::text::TextRole;
use http_api::Authenticator;
use lambda_http::Request;
use lambda_http::http::{HeaderMap, header};

use crate::connection_string::{ConnectionString, Malformed};
use crate::failure::Failure;
use crate::login::Logins;
use crate::request;

/// What the driver says of its login.
pub(crate) fn connection_string(headers: &HeaderMap) -> Result<ConnectionString, Failure> {
    let text = request::text(headers, "neon-connection-string").ok_or_else(|| {
        Failure::new("08001", "no Neon-Connection-String header").hint(
            "The driver sends it. fetchOptions with headers of its own replaces all of the driver's: leave them out.",
        )
    })?;
    ConnectionString::parse(text).map_err(|why| {
        let code = match why {
            Malformed::NoUser => "28000",
            _ => "08001",
        };
        Failure::new(code, why.to_string())
    })
}

/// Lets requests in.
#[derive(Debug)]
pub(crate) struct Admission {
    pub(crate) logins: Logins,
    /// Verifies tokens, where they are offered.
    pub(crate) tokens: Option<Authenticator>,
    pub(crate) clock: Arc<dyn Clock>,
}

impl Admission {
    /// The login, which is the database role too. A password decides, where there is one; else a
    /// token.
    pub(crate) async fn admit(
        &self,
        connection: &ConnectionString,
        request: &Request,
        deadline: SystemTime,
    ) -> Result<TextRole, Failure> {
        let ConnectionString {
            user,
            password,
            database,
            ..
        } = connection;
        let found = if let Some(password) = password {
            self.logins.admits(user, password, deadline).await
        } else {
            self.verify_token(user, request)?;
            self.logins.named(user, deadline).await
        };
        let role = match found {
            Ok(Some(role)) => role,
            Ok(None) if password.is_some() => return Err(Failure::not_authenticated(user)),
            Ok(None) => return Err(Failure::token_not_accepted(user)),
            Err(error) => return Err(Failure::unreadable_logins(error)),
        };
        if database != "postgres" {
            return Err(
                Failure::new("3D000", format!("database \"{database}\" does not exist"))
                    .hint("Aurora DSQL has one database, postgres."),
            );
        }
        Ok(role)
    }

    /// Refuses a request without a password, unless its token is one for the login `user`.
    fn verify_token(&self, user: &str, request: &Request) -> Result<(), Failure> {
        if !has_token(request) {
            return Err(Failure::new(
                "28000",
                "the connection string holds no password",
            ));
        }
        let Some(tokens) = &self.tokens else {
            return Err(
                Failure::new("28000", "authentication by token is not offered")
                    .hint("Put the login's password into the connection string."),
            );
        };
        let refused = || Failure::token_not_accepted(user);
        let caller = tokens.caller(request, self.clock.now()).map_err(|error| {
            match error.cause_for_log() {
                Some(cause) => refused().cause(cause),
                None => refused(),
            }
        })?;
        // A guest is nobody's login, whatever they are called.
        if caller.subject == user && !caller.anonymous {
            Ok(())
        } else {
            Err(refused().cause("the token is another login's"))
        }
    }
}

fn has_token(request: &Request) -> bool {
    request.headers().contains_key(header::AUTHORIZATION)
}
