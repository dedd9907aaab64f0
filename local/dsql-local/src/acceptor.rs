//! The task that accepts connections, and the life of each: it ends with its client, at its age
//! limit, when its cluster is deleted, or when all are cut.

use std::io;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use crate::clusters::Clusters;
use crate::login::login;
use crate::negotiate::negotiate;
use crate::session::{End, Session};
use crate::websocket;

/// Pause after a failed accept, which means that descriptors ran out.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// What carries PostgreSQL's messages to a listener.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Carrier {
    Tcp,
    WebSocket,
}

/// Accepts connections until it is dropped, and closes them then.
pub(crate) async fn accept(clusters: Arc<Clusters>, listener: TcpListener, carrier: Carrier) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((tcp, _)) => {
                    connections.spawn(serve(clusters.clone(), tcp, carrier));
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

async fn serve(clusters: Arc<Clusters>, tcp: TcpStream, carrier: Carrier) {
    let mut cut = clusters.watch_cuts();
    let opened_at = clusters.region.clock.now();
    tokio::select! {
        served = talk(&clusters, tcp, carrier, opened_at) => if let Err(error) = served {
            tracing::debug!(error = %error, "a connection ended early");
        },
        _ = cut.changed() => tracing::info!("cut a connection"),
    }
}

async fn talk(
    clusters: &Clusters,
    tcp: TcpStream,
    carrier: Carrier,
    opened_at: SystemTime,
) -> io::Result<()> {
    tcp.set_nodelay(true)?;
    let secured = async {
        match carrier {
            Carrier::Tcp => negotiate(&clusters.region, tcp).await,
            Carrier::WebSocket => websocket::accept(&clusters.region, tcp).await,
        }
    };
    let Some((cluster, client)) = login(clusters, secured).await? else {
        return Ok(());
    };
    tracing::info!(dsql.role = %client.startup.user, carrier = ?carrier, "opened a connection");
    let retires_at = opened_at + cluster.limits.life;
    tokio::select! {
        end = Session::serve(&cluster, client) => match end {
            End::Client => {}
            End::Dropped => tracing::info!("a fault dropped a connection"),
            End::Io(error) => return Err(error),
        },
        () = cluster.clock.sleep_until(retires_at) => {
            tracing::info!("closed a connection at the end of its life");
        }
        () = cluster.ended() => tracing::info!("closed a connection of a deleted cluster"),
    }
    Ok(())
}
