//! Owns the containers of one function: a request gets one that is idle, else a new one, else it
//! waits in line. Between invocations a container is frozen, as on Lambda; one whose program was
//! built again is replaced; one that ended or does not come back for work is forgotten. What waits
//! is never stuck: it gets a container or [`AcquireError::Busy`].

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use tokio::runtime::Handle;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::container::{Container, Launch, StartError};

/// How long a program may be missing: a build removes it before it puts the new one in place.
const REBUILD_LIMIT: Duration = Duration::from_secs(10);
/// How often it is looked for meanwhile.
const REBUILD_POLL: Duration = Duration::from_millis(20);
/// How long a request waits for a container that has answered and does not poll yet, before it
/// starts another.
const RETURN_LIMIT: Duration = Duration::from_millis(500);

/// How the containers of a function are kept.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// The most containers at once.
    pub containers: usize,
    /// Whether containers are stopped between invocations.
    pub is_frozen_when_idle: bool,
    /// The longest an invocation may take.
    pub timeout: Duration,
}

/// Why a request got no container.
#[derive(Debug, Clone, thiserror::Error)]
pub enum AcquireError {
    /// All containers were busy for as long as the request could wait.
    #[error("every container is busy")]
    Busy,
    /// A new one did not come up.
    #[error(transparent)]
    Start(Arc<StartError>),
}

/// The containers of one function. Clones are one pool; with the last clone and lease they end.
#[derive(Debug, Clone)]
pub struct Pool(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    launch: Launch,
    limits: Limits,
    /// One permit for each request that may run.
    permits: Arc<Semaphore>,
    slots: Mutex<Vec<Slot>>,
    /// Held while a container starts that more than one request will share.
    starting: tokio::sync::Mutex<()>,
    /// Containers on their way back: answered, and not yet polling.
    returning: Mutex<JoinSet<()>>,
    /// How many of them may serve the next request in a moment.
    coming: AtomicUsize,
    /// One of them is back.
    came: Notify,
    runtime: Handle,
}

#[derive(Debug)]
struct Slot {
    container: Arc<Container>,
    build: Build,
    in_use: usize,
    is_frozen: bool,
}

/// What tells a program from the one that replaces it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Build {
    modified: Option<SystemTime>,
    length_bytes: u64,
}

impl Build {
    fn of(path: &Path) -> Option<Self> {
        let metadata = fs::metadata(path).ok()?;
        Some(Self {
            modified: metadata.modified().ok(),
            length_bytes: metadata.len(),
        })
    }
}

impl Pool {
    /// Starts nothing yet. What belongs to containers will run on this call's runtime.
    pub fn new(launch: Launch, limits: Limits) -> Self {
        let requests = limits.containers.max(1).saturating_mul(launch.workers());
        Self(Arc::new(Shared {
            permits: Arc::new(Semaphore::new(requests.min(Semaphore::MAX_PERMITS))),
            launch,
            limits,
            slots: Mutex::default(),
            starting: tokio::sync::Mutex::new(()),
            returning: Mutex::default(),
            coming: AtomicUsize::new(0),
            came: Notify::new(),
            runtime: Handle::current(),
        }))
    }

    /// The longest an invocation may take.
    pub fn timeout(&self) -> Duration {
        self.0.limits.timeout
    }

    /// A container for one invocation.
    ///
    /// # Errors
    /// [`AcquireError::Busy`] when none was free within `patience`, [`AcquireError::Start`] when a
    /// new one does not come up.
    pub async fn acquire(&self, patience: Duration) -> Result<Lease, AcquireError> {
        let shared = &self.0;
        let permit = timeout(patience, Arc::clone(&shared.permits).acquire_owned())
            .await
            .map_err(|_| AcquireError::Busy)?
            .map_err(|_| AcquireError::Busy)?;
        if let Some(container) = shared.take_returning().await {
            return Ok(shared.lease(container, permit));
        }
        let _alone = if shared.launch.workers() > 1 {
            let guard = shared.starting.lock().await;
            if let Some(container) = shared.take_ready() {
                return Ok(shared.lease(container, permit));
            }
            Some(guard)
        } else {
            None
        };
        let build = shared.wait_for_program().await;
        let container = shared
            .launch
            .clone()
            .start()
            .await
            .map_err(|error| AcquireError::Start(Arc::new(error)))?;
        let container = Arc::new(container);
        shared.lock().push(Slot {
            container: Arc::clone(&container),
            build,
            in_use: 1,
            is_frozen: false,
        });
        Ok(shared.lease(container, permit))
    }

    /// Ends every container at once.
    pub fn stop(&self) {
        self.0.permits.close();
        for slot in self.0.lock().drain(..) {
            slot.container.kill();
        }
    }

    /// How many containers there are.
    pub fn containers(&self) -> usize {
        self.0.lock().len()
    }

    /// The containers that there are.
    pub fn running(&self) -> Vec<Arc<Container>> {
        let slots = self.0.lock();
        slots
            .iter()
            .map(|slot| Arc::clone(&slot.container))
            .collect()
    }

    /// Every kept line that the containers wrote which are still there.
    pub fn output(&self) -> Vec<String> {
        let slots = self.0.lock();
        slots
            .iter()
            .flat_map(|slot| slot.container.output())
            .collect()
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Vec<Slot>> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A running container of today's program with a free worker, thawed.
    fn take_ready(&self) -> Option<Arc<Container>> {
        let build = Build::of(self.launch.path());
        let workers = self.launch.workers();
        let mut slots = self.lock();
        let before = slots.len();
        slots.retain(|slot| slot.in_use > 0 || slot.is_usable(build));
        if slots.len() < before {
            tracing::debug!("{}: replaced containers", self.launch.path().display());
        }
        let slot = slots
            .iter_mut()
            .filter(|slot| slot.in_use < workers && slot.is_usable(build))
            .max_by_key(|slot| slot.in_use)?;
        slot.in_use += 1;
        if std::mem::take(&mut slot.is_frozen) {
            slot.container.thaw();
        }
        Some(Arc::clone(&slot.container))
    }

    /// As [`take_ready`](Self::take_ready), but one that has just answered is waited for: an answer
    /// reaches the caller a moment before the function polls again, and who asks one thing after
    /// the other needs one container.
    async fn take_returning(&self) -> Option<Arc<Container>> {
        let taken = async {
            loop {
                let came = self.came.notified();
                tokio::pin!(came);
                came.as_mut().enable();
                if let Some(container) = self.take_ready() {
                    return Some(container);
                }
                if self.coming.load(Ordering::SeqCst) == 0 {
                    return None;
                }
                came.await;
            }
        };
        timeout(RETURN_LIMIT, taken).await.ok().flatten()
    }

    async fn wait_for_program(&self) -> Build {
        let appears = async {
            loop {
                if let Some(build) = Build::of(self.launch.path()) {
                    return build;
                }
                sleep(REBUILD_POLL).await;
            }
        };
        // Without it the start fails and says so.
        timeout(REBUILD_LIMIT, appears).await.unwrap_or(Build {
            modified: None,
            length_bytes: 0,
        })
    }

    fn lease(self: &Arc<Self>, container: Arc<Container>, permit: OwnedSemaphorePermit) -> Lease {
        Lease {
            container,
            shared: Arc::clone(self),
            permit: Some(permit),
        }
    }

    /// Takes a container back once it polls again, and freezes it unless somebody waits for it.
    async fn give_back(
        &self,
        container: Arc<Container>,
        permit: OwnedSemaphorePermit,
        has_answered: bool,
    ) {
        let is_alone = self.launch.workers() == 1;
        if is_alone
            && timeout(self.limits.timeout, container.idle())
                .await
                .is_err()
        {
            container.kill();
        }
        self.release(&container);
        self.coming
            .fetch_sub(usize::from(has_answered), Ordering::SeqCst);
        drop(permit);
        self.came.notify_waiters();
        if is_alone && self.limits.is_frozen_when_idle {
            // Whoever waited for the permit goes first.
            tokio::task::yield_now().await;
            self.freeze(&container);
        }
    }

    fn release(&self, container: &Arc<Container>) {
        let build = Build::of(self.launch.path());
        let mut slots = self.lock();
        if let Some(slot) = slots
            .iter_mut()
            .find(|slot| Arc::ptr_eq(&slot.container, container))
        {
            slot.in_use -= 1;
        }
        slots.retain(|slot| slot.in_use > 0 || slot.is_usable(build));
    }

    fn freeze(&self, container: &Arc<Container>) {
        let mut slots = self.lock();
        let slot = slots
            .iter_mut()
            .find(|slot| slot.in_use == 0 && Arc::ptr_eq(&slot.container, container));
        if let Some(slot) = slot {
            slot.is_frozen = true;
            container.freeze();
        }
    }
}

impl Slot {
    /// A program that is being replaced at this moment does not condemn the old one.
    fn is_usable(&self, build: Option<Build>) -> bool {
        self.container.exit_status().is_none() && build.is_none_or(|build| build == self.build)
    }
}

/// A container for one invocation. Dropped, it goes back to its pool as soon as the function polls
/// again.
#[derive(Debug)]
pub struct Lease {
    container: Arc<Container>,
    shared: Arc<Shared>,
    permit: Option<OwnedSemaphorePermit>,
}

impl Lease {
    /// The container.
    pub fn container(&self) -> &Arc<Container> {
        &self.container
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let Some(permit) = self.permit.take() else {
            return;
        };
        let container = Arc::clone(&self.container);
        let shared = Arc::clone(&self.shared);
        let has_answered = !container.api().is_working();
        shared
            .coming
            .fetch_add(usize::from(has_answered), Ordering::SeqCst);
        let mut returning = self
            .shared
            .returning
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        while returning.try_join_next().is_some() {}
        returning.spawn_on(
            async move { shared.give_back(container, permit, has_answered).await },
            &self.shared.runtime,
        );
    }
}
