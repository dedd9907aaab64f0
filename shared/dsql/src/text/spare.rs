//! A connection that was opened and encrypted before it was known for which role: two of the four
//! round trips of a connect do not depend on that.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use futures_util::FutureExt as _;
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use crate::clock::elapsed;
use crate::config::Config;
use crate::error::Error;
use crate::session::{Connector, within};

/// One that is older is not used: a freeze may have cost it its other end silently.
const MAX_AGE: Duration = Duration::from_secs(5);

/// At most one, of which the next connect takes hold.
#[derive(Debug, Default)]
pub(super) struct Spare(Mutex<Option<Opened>>);

#[derive(Debug)]
struct Opened {
    stream: TlsStream<TcpStream>,
    at: SystemTime,
}

impl Spare {
    /// Opens one.
    ///
    /// # Errors
    /// There is no connection within `limit`.
    pub(super) async fn open(
        &self,
        connector: &Connector,
        config: &Config,
        limit: Duration,
    ) -> Result<(), Error> {
        let stream = within(config, limit, connector.open(config)).await?;
        let at = config.clock.now();
        let mut spare = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *spare = Some(Opened { stream, at });
        Ok(())
    }

    /// Takes it, if it is young and open.
    pub(super) fn take(&self, now: SystemTime) -> Option<TlsStream<TcpStream>> {
        let mut spare = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Opened { mut stream, at } = spare.take()?;
        drop(spare);
        let is_young = elapsed(now, at).is_some_and(|age| age <= MAX_AGE);
        // A server that was told nothing speaks only to say goodbye.
        let is_open = is_young && stream.read(&mut [0_u8; 1]).now_or_never().is_none();
        is_open.then_some(stream)
    }
}
