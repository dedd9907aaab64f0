//! Where the IAM role of a login is read, with the session that reads logins (`session_roles` says
//! why a login has one).

use std::time::SystemTime;

use dsql::text::{AnswerLimits, TextRequest, TextSessions, TextStatement};
use session_roles::ROLE_OF_LOGIN;

use crate::failure::Failure;

const LIMITS: AnswerLimits = AnswerLimits {
    rows: 1,
    bytes: 4_096,
};

/// The IAM role that is mapped to `login` and to no other database role.
///
/// # Errors
/// There is none, or the database cannot be asked.
pub(crate) async fn of(
    sessions: &TextSessions,
    login: &str,
    deadline: SystemTime,
) -> Result<String, Failure> {
    let params = [login];
    let statement = TextStatement::new(ROLE_OF_LOGIN, &params);
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
