//! Disables Nagle's algorithm on the connection to the Runtime API. The runtime's client leaves it
//! on, so what a reply writes after the head of its request waits for the other side's delayed
//! acknowledgement: 40 ms in which nobody sees anything. The client offers no setting, so its
//! sockets are found among the process's own.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::net::SocketAddr;
use std::sync::{Mutex, PoisonError};

use rustix::io::Errno;
use rustix::net::{getpeername, sockopt::set_tcp_nodelay};
use rustix::process::{PidfdFlags, PidfdGetfdFlags, getpid, pidfd_getfd, pidfd_open};

/// The Runtime API's `host:port`, set by Lambda.
const AWS_LAMBDA_RUNTIME_API: &str = "AWS_LAMBDA_RUNTIME_API";

/// The connections to the Runtime API.
#[derive(Debug)]
pub struct RuntimeSockets {
    /// `None` where it is no address: nothing is done then.
    api: Option<SocketAddr>,
    /// Inodes of the sockets that were looked at.
    seen: Mutex<BTreeSet<u64>>,
}

impl RuntimeSockets {
    /// Reads `AWS_LAMBDA_RUNTIME_API`.
    pub fn from_lookup(lookup: runtime::Lookup<'_>) -> Self {
        let address = lookup(AWS_LAMBDA_RUNTIME_API);
        Self {
            api: address.and_then(|address| address.parse().ok()),
            seen: Mutex::default(),
        }
    }

    /// Has those connections send at once what is written. To be called when an invocation has
    /// come: by then the client holds the connection that the answer will take. Where the system
    /// refuses, streams stay as slow as they were.
    pub fn send_at_once(&self) {
        let Some(api) = self.api else { return };
        if let Err(error) = self.each_new(api) {
            tracing::debug!(%error, "the Runtime API's sockets cannot be reached: streams begin 40 ms later");
        }
    }

    fn each_new(&self, api: SocketAddr) -> std::io::Result<()> {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let mut present = BTreeSet::new();
        for entry in std::fs::read_dir("/proc/self/fd")? {
            let entry = entry?;
            let Some(number) = entry
                .file_name()
                .to_str()
                .and_then(|name| name.parse().ok())
            else {
                continue;
            };
            // Gone meanwhile, or no socket.
            let Some(inode) = std::fs::read_link(entry.path())
                .ok()
                .and_then(|target| socket(target.as_os_str()))
            else {
                continue;
            };
            present.insert(inode);
            if !seen.contains(&inode) {
                send_at_once(number, api)?;
            }
        }
        *seen = present;
        Ok(())
    }
}

/// The inode of `socket:[4711]`.
fn socket(target: &OsStr) -> Option<u64> {
    let name = target.to_str()?.strip_prefix("socket:[")?;
    name.strip_suffix(']')?.parse().ok()
}

/// A descriptor that is only known by its number is reached as another process would reach it:
/// through a copy of its own. If the number means something else by now, its peer is another.
fn send_at_once(number: i32, api: SocketAddr) -> rustix::io::Result<()> {
    let process = pidfd_open(getpid(), PidfdFlags::empty())?;
    let socket = match pidfd_getfd(process, number, PidfdGetfdFlags::empty()) {
        Err(Errno::BADF) => return Ok(()),
        socket => socket?,
    };
    // Not every socket has a peer, and not every peer an address of the internet.
    let peer = getpeername(&socket).ok().flatten();
    if peer.and_then(|peer| SocketAddr::try_from(peer).ok()) == Some(api) {
        set_tcp_nodelay(&socket, true)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;

    #[test]
    fn connections_to_the_runtime_api_send_at_once_and_no_others() {
        let [api, other] = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
        let connect = |to: &TcpListener| TcpStream::connect(to.local_addr().unwrap()).unwrap();
        let address = api.local_addr().unwrap().to_string();
        let sockets = RuntimeSockets::from_lookup(&|name| {
            (name == AWS_LAMBDA_RUNTIME_API).then(|| address.clone())
        });
        let (first, elsewhere) = (connect(&api), connect(&other));
        assert!(!first.nodelay().unwrap(), "or there is nothing to do");
        sockets.send_at_once();
        assert!(first.nodelay().unwrap());
        assert!(!elsewhere.nodelay().unwrap());

        // A connection that the pool opened later, too.
        let second = connect(&api);
        sockets.send_at_once();
        assert!(second.nodelay().unwrap());
        assert!(!elsewhere.nodelay().unwrap());
    }

    #[test]
    fn without_an_address_nothing_is_done() {
        for address in [None, Some("runtime:9001"), Some("")] {
            let sockets = RuntimeSockets::from_lookup(&|_| address.map(str::to_owned));
            sockets.send_at_once();
            assert!(sockets.seen.lock().unwrap().is_empty());
        }
    }
}
