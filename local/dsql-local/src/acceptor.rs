//! The task that accepts connections, and the life of each: it ends with its client, at its age
//! limit, or when all are cut.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use crate::cluster::Cluster;
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
pub(crate) async fn accept(cluster: Arc<Cluster>, listener: TcpListener, carrier: Carrier) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((tcp, _)) => {
                    connections.spawn(serve(cluster.clone(), tcp, carrier));
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

async fn serve(cluster: Arc<Cluster>, tcp: TcpStream, carrier: Carrier) {
    let mut cut = cluster.limits.watch_cuts();
    let retires_at = cluster.clock.now() + cluster.limits.life;
    tokio::select! {
        served = talk(&cluster, tcp, carrier) => if let Err(error) = served {
            tracing::debug!(error = %error, "a connection ended early");
        },
        () = cluster.clock.sleep_until(retires_at) => tracing::info!("closed a connection at the end of its life"),
        _ = cut.changed() => tracing::info!("cut a connection"),
    }
}

async fn talk(cluster: &Cluster, tcp: TcpStream, carrier: Carrier) -> io::Result<()> {
    tcp.set_nodelay(true)?;
    let secured = async {
        match carrier {
            Carrier::Tcp => negotiate(cluster, tcp).await,
            Carrier::WebSocket => websocket::accept(cluster, tcp).await,
        }
    };
    let Some(client) = login(cluster, secured).await? else {
        return Ok(());
    };
    tracing::info!(dsql.role = %client.startup.user, carrier = ?carrier, "opened a connection");
    match Session::serve(cluster, client).await {
        End::Client => Ok(()),
        End::Dropped => {
            tracing::info!("a fault dropped a connection");
            Ok(())
        }
        End::Io(error) => Err(error),
    }
}
