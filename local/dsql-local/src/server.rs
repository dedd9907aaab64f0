//! What all connections share, and the task that accepts them.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

use crate::clock::Clock;
use crate::faults::Injector;
use crate::jobs::Jobs;
use crate::limits::Bucket;
use crate::lock_waits::LockWaits;
use crate::login::login;
use crate::postgres::Access;
use crate::principal::Principals;
use crate::schema::Schema;
use crate::session::{End, Session};
use crate::stats::Counters;

/// Pause after a failed accept, which means that descriptors ran out.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// The stand-in's state.
pub(crate) struct Server {
    pub(crate) host: String,
    pub(crate) cluster_id: String,
    pub(crate) region: String,
    pub(crate) account_id: String,
    pub(crate) tls: Arc<rustls::ServerConfig>,
    pub(crate) principals: Principals,
    pub(crate) clock: Clock,
    pub(crate) clock_skew: Duration,
    pub(crate) connection_life: Duration,
    pub(crate) bucket: Bucket,
    /// One for every connection that may be open.
    pub(crate) open_slots: Arc<Semaphore>,
    pub(crate) faults: Injector,
    pub(crate) counters: Counters,
    pub(crate) postgres: Arc<Access>,
    pub(crate) lock_waits: Arc<LockWaits>,
    pub(crate) schema: Schema,
    pub(crate) jobs: Jobs,
    /// Statements are judged by DSQL's rules; otherwise PostgreSQL gets them untouched.
    pub(crate) has_dialect: bool,
    /// Changes when all connections are cut.
    pub(crate) cut: watch::Sender<u64>,
}

impl Server {
    /// Closes all connections now, without a word.
    pub(crate) fn cut_connections(&self) {
        self.cut.send_modify(|epoch| *epoch += 1);
    }

    /// Accepts connections for ever. They are closed when this future is dropped.
    pub(crate) async fn accept(self: Arc<Self>, listener: TcpListener) {
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                accepted = listener.accept() => match accepted {
                    Ok((tcp, _)) => {
                        connections.spawn(self.clone().serve(tcp));
                    }
                    Err(error) => {
                        tracing::warn!(error = %error, "cannot accept a connection");
                        tokio::time::sleep(ACCEPT_PAUSE).await;
                    }
                },
                Some(_) = connections.join_next() => {}
            }
        }
    }

    async fn serve(self: Arc<Self>, tcp: TcpStream) {
        let mut cut = self.cut.subscribe();
        let retires_at = self.clock.now() + self.connection_life;
        tokio::select! {
            served = self.talk(tcp) => if let Err(error) = served {
                tracing::debug!(error = %error, "a connection ended early");
            },
            () = self.clock.sleep_until(retires_at) => tracing::info!("closed a connection at the end of its life"),
            _ = cut.changed() => tracing::info!("cut a connection"),
        }
    }

    async fn talk(&self, tcp: TcpStream) -> io::Result<()> {
        tcp.set_nodelay(true)?;
        let Some(client) = login(self, tcp).await? else {
            return Ok(());
        };
        tracing::info!(dsql.role = %client.startup.user, "opened a connection");
        match Session::serve(self, client).await {
            End::Client => Ok(()),
            End::Dropped => {
                tracing::info!("a fault dropped a connection");
                Ok(())
            }
            End::Io(error) => Err(error),
        }
    }
}
