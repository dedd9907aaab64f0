//! A stream's sign of life. Whatever a stream waits for, it waits under its ticker, which sends a
//! comment whenever nothing was said for a while: proxies on the way end a connection that is
//! silent.

use std::convert::Infallible;
use std::pin::Pin;
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep};

use crate::body::Writer;
use crate::chunk::KEEP_ALIVE;

/// The ticker of one stream.
#[derive(Debug)]
pub(crate) struct Ticker {
    out: Writer,
    period: Duration,
    quiet: Pin<Box<Sleep>>,
}

impl Ticker {
    pub(crate) fn new(out: &Writer, period: Duration) -> Self {
        Self {
            out: out.clone(),
            period,
            quiet: Box::pin(sleep(period)),
        }
    }

    /// Something was said.
    pub(crate) fn heard(&mut self) {
        self.quiet.as_mut().reset(Instant::now() + self.period);
    }

    /// Sends a comment at each end of a quiet period; never returns.
    ///
    /// # Cancel safety
    /// The period goes on where it was.
    pub(crate) async fn run(&mut self) -> Infallible {
        loop {
            self.quiet.as_mut().await;
            // A client that left is seen by whoever has something to say.
            let _ = self.out.send(KEEP_ALIVE);
            self.heard();
        }
    }

    /// What `work` comes to, with signs of life meanwhile.
    pub(crate) async fn during<T>(&mut self, work: impl Future<Output = T>) -> T {
        tokio::select! {
            biased;
            done = work => done,
            never = self.run() => match never {},
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::body::AnswerBody;

    #[tokio::test(start_paused = true)]
    async fn a_long_wait_is_never_silent_and_a_short_one_says_nothing() {
        let (out, AnswerBody::Streamed(mut reader)) = AnswerBody::streamed() else {
            panic!("it is streamed")
        };
        let mut ticker = Ticker::new(&out, Duration::from_secs(15));
        ticker.during(sleep(Duration::from_secs(10))).await;
        assert!(reader.try_recv().is_none());
        ticker.during(sleep(Duration::from_secs(10))).await;
        assert_eq!(reader.try_recv().unwrap(), KEEP_ALIVE);
        assert!(reader.try_recv().is_none());
        ticker.heard();
        ticker.during(sleep(Duration::from_secs(50))).await;
        assert_eq!(
            std::iter::from_fn(|| reader.try_recv()).count(),
            3,
            "one for each quiet period"
        );
    }
}
