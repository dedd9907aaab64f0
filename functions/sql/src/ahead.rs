//! Sessions of logins that are opened in Init, beside the function's own, so that the first request
//! finds one: of the logins that a variable names, or of the only one there is.
//!
//! A named one is opened at once, before its row is read, as an owner of a schema by its own name:
//! so its connection costs no time beside the function's own. It is kept if the row, read right
//! after, says the same. The name and the row of the only login are one read.

use std::time::{Duration, SystemTime};

use dsql::Clock;
use dsql::text::{OpenedSession, TextRole, TextSessions};
use futures_util::future::{join, join_all};

use crate::login::Logins;

/// A row that is read later than this after the session was opened may tell of a role that was made
/// in between.
const TRUSTED: Duration = Duration::from_millis(200);

/// Opens the function's own session, and those of `names`; of no name, that of the only login.
pub(crate) async fn connect(
    sessions: &TextSessions,
    logins: &Logins,
    names: &[String],
    clock: &dyn Clock,
    deadline: SystemTime,
) {
    let early = names.iter().map(|name| async {
        let owner = TextRole {
            name: name.clone(),
            search_path: Some(name.clone()),
            ..TextRole::default()
        };
        (name.clone(), open(sessions, &owner, deadline).await)
    });
    let (is_open, early) = join(sessions.connect(deadline), join_all(early)).await;
    if !is_open {
        return;
    }
    if names.is_empty()
        && let Ok(Some(role)) = logins.only(deadline).await
        && let Some(session) = open(sessions, &role, deadline).await
    {
        session.keep_for(&role);
    }
    for (name, opened) in early {
        let Ok(Some(role)) = logins.learn(&name, deadline).await else {
            continue; // the first request says why
        };
        let age = |session: &OpenedSession| clock.now().duration_since(session.opened_at());
        let is_good = |session: &OpenedSession| {
            session.fits(&role) && age(session).is_ok_and(|age| age <= TRUSTED)
        };
        let session = match opened.filter(is_good) {
            Some(session) => Some(session),
            None => open(sessions, &role, deadline).await,
        };
        if let Some(session) = session {
            session.keep_for(&role);
        }
    }
}

async fn open(
    sessions: &TextSessions,
    role: &TextRole,
    deadline: SystemTime,
) -> Option<OpenedSession> {
    let opened = sessions.open(role, deadline).await;
    opened
        .inspect_err(|error| {
            let (login, cause) = (&role.name, error.report());
            tracing::warn!(
                "the login {login} is not connected ahead, its first request tries again: {cause}"
            );
        })
        .ok()
}
