//! Owns what a process wrote: its last lines, kept and passed on as they come.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;

use tokio::io::{AsyncBufReadExt as _, AsyncRead, BufReader};
use tokio::sync::watch;

/// Where each line is passed on to.
pub(super) type Sink = Arc<dyn Fn(&str) + Send + Sync>;

/// Lines written so far.
#[derive(Clone)]
pub(super) struct Output {
    pub(super) lines: Arc<watch::Sender<VecDeque<String>>>,
    pub(super) kept: usize,
    pub(super) sink: Option<Sink>,
}

impl Output {
    pub(super) async fn keep(self, stream: impl AsyncRead + Unpin) {
        let mut stream = BufReader::new(stream);
        let mut line = Vec::new();
        // A line without an end is half a line, of a process that was killed.
        while stream.read_until(b'\n', &mut line).await.is_ok() && line.pop() == Some(b'\n') {
            let text = String::from_utf8_lossy(&line).into_owned();
            if let Some(sink) = &self.sink {
                sink(&text);
            }
            self.lines.send_modify(|lines| {
                lines.push_back(text);
                if lines.len() > self.kept {
                    lines.pop_front();
                }
            });
            line.clear();
        }
    }
}

impl fmt::Debug for Output {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.lines.borrow().iter()).finish()
    }
}
