//! The backend of a session: attached at the first statement that needs one, perhaps started
//! before, and registered with those that look at lock waits.

use std::io;

use crate::backend::{AttachError, BackendConnection};
use crate::cluster::Cluster;
use crate::lock_waits::Registration;
use crate::prestart::Prestart;
use crate::startup::Startup;
use crate::wire::Backend;

/// A backend, and how others find its session.
pub(super) struct Attached {
    pub(super) backend: BackendConnection,
    pub(super) registration: Registration,
}

impl Attached {
    /// The backend's next answer. Cancel-safe.
    pub(super) async fn answer(&mut self) -> io::Result<Backend> {
        let _waiting = self.registration.wait();
        self.backend.next().await
    }
}

enum State {
    /// No statement was run yet; a backend may be on its way.
    Detached(Option<Prestart>),
    Attached(Box<Attached>),
}

/// A session's way to PostgreSQL.
pub(super) struct Attachment<'a> {
    cluster: &'a Cluster,
    startup: Startup,
    state: State,
}

impl<'a> Attachment<'a> {
    pub(super) fn new(cluster: &'a Cluster, startup: Startup, prestart: Option<Prestart>) -> Self {
        Self {
            cluster,
            startup,
            state: State::Detached(prestart),
        }
    }

    pub(super) fn startup(&self) -> &Startup {
        &self.startup
    }

    /// The backend, if there is one.
    pub(super) fn get(&mut self) -> Option<&mut Attached> {
        match &mut self.state {
            State::Attached(attached) => Some(attached),
            State::Detached(_) => None,
        }
    }

    pub(super) fn is_attached(&self) -> bool {
        matches!(self.state, State::Attached(_))
    }

    pub(super) fn registration(&self) -> Option<&Registration> {
        match &self.state {
            State::Attached(attached) => Some(&attached.registration),
            State::Detached(_) => None,
        }
    }

    /// The settings that the backend reported when it was attached.
    pub(super) fn reported(&self) -> &[(String, String)] {
        match &self.state {
            State::Attached(attached) => &attached.backend.reported,
            State::Detached(_) => &[],
        }
    }

    /// The backend, attached if it is not yet.
    pub(super) async fn attach(&mut self) -> Result<&mut Attached, AttachError> {
        if let State::Detached(prestart) = &mut self.state {
            let prestarted = match prestart.take() {
                Some(prestart) => prestart.take().await,
                None => None,
            };
            let backend = match prestarted {
                Some(attached) => attached?,
                None => BackendConnection::attach(&self.cluster.postgres, &self.startup).await?,
            };
            self.cluster.counters.backends_attached.add_one();
            let registration = self.cluster.lock_waits.register(backend.pid);
            self.state = State::Attached(Box::new(Attached {
                backend,
                registration,
            }));
        }
        match &mut self.state {
            State::Attached(attached) => Ok(attached),
            State::Detached(_) => Err(io::Error::from(io::ErrorKind::NotConnected).into()),
        }
    }
}
