//! Sessions of logins that are opened in Init, beside the function's own, so that the first request
//! finds one: of the logins that a variable names, or of the only one there is.
//!
//! A named one is opened at once, as an owner of a schema by its own name, while the function's own
//! session is opened and reads the rows of all that are named: it costs no time beside that. It is
//! kept if its row tells the same. Where none is named, only TCP and TLS are done meanwhile, for
//! the only login, whose name and row are one read; where there are more, the first request's login
//! has that connection.

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
    if names.is_empty() {
        Box::pin(connect_only(sessions, logins, deadline)).await;
    } else {
        Box::pin(connect_named(sessions, logins, names, clock, deadline)).await;
    }
}

async fn connect_only(sessions: &TextSessions, logins: &Logins, deadline: SystemTime) {
    // A failure to connect was logged, one to read is said by the first request.
    let only = async {
        let is_open = sessions.connect(deadline).await;
        let only = is_open.then(|| logins.only(deadline));
        only?.await.ok().flatten()
    };
    let (only, ()) = join(Box::pin(only), Box::pin(sessions.open_spare(deadline))).await;
    if let Some(role) = only
        && let Some(session) = open(sessions, &role, deadline).await
    {
        session.keep_for(&role);
    }
}

async fn connect_named(
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
        open(sessions, &owner, deadline).await
    });
    let roles = async {
        let is_open = sessions.connect(deadline).await;
        let roles = is_open.then(|| logins.learn(names, deadline));
        let roles = roles?.await.ok();
        roles.map(|roles| (roles, clock.now()))
    };
    let (early, roles) = join(join_all(early), Box::pin(roles)).await;
    let Some((roles, read_at)) = roles else {
        return; // the first request says why
    };
    for (role, opened) in roles.into_iter().zip(early) {
        let Some(role) = role else {
            continue;
        };
        // Of one that was opened after the read, the next read of the row tells what changed.
        let is_good = |session: &OpenedSession| {
            let age = read_at.duration_since(session.opened_at());
            session.fits(&role) && age.unwrap_or_default() <= TRUSTED
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
