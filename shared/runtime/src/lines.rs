//! Where finished lines go: those of the log and those of the metrics, which share one output.

use std::{
    fmt, io,
    sync::{Mutex, MutexGuard, PoisonError},
};

/// Where finished lines go.
pub trait Line: fmt::Debug + Send + Sync {
    /// Writes one line; the line break is the writer's.
    fn write(&self, line: &str);

    /// Until [`release`](Self::release), lines may be kept to be written together.
    fn hold(&self) {}

    /// Writes what was kept, unless somebody else holds lines too.
    fn release(&self) {}
}

/// Standard output, which is the log of a Lambda function.
#[derive(Debug, Clone, Copy)]
pub struct StandardOutput;

/// Nowhere.
#[derive(Debug, Clone, Copy)]
pub struct SilentLine;

impl Line for SilentLine {
    fn write(&self, _: &str) {}
}

/// What waits to be written.
#[derive(Debug, Default)]
struct Waiting {
    /// How many hold lines back just now.
    holders: usize,
    lines: String,
}

static WAITING: Mutex<Waiting> = Mutex::new(Waiting {
    holders: 0,
    lines: String::new(),
});

impl Waiting {
    fn add(&mut self, line: &str, out: &mut impl io::Write) {
        self.lines.push_str(line);
        self.lines.push('\n');
        self.write(out);
    }

    fn release(&mut self, out: &mut impl io::Write) {
        self.holders = self.holders.saturating_sub(1);
        self.write(out);
    }

    /// One write for all, so that Lambda never sees half of a line. A closed stdout has no reader.
    fn write(&mut self, out: &mut impl io::Write) {
        if self.holders == 0 {
            let _ = out.write_all(self.lines.as_bytes());
            self.lines.clear();
        }
    }
}

fn waiting() -> MutexGuard<'static, Waiting> {
    WAITING.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Line for StandardOutput {
    fn write(&self, line: &str) {
        waiting().add(line, &mut io::stdout());
    }

    fn hold(&self) {
        waiting().holders += 1;
    }

    fn release(&self) {
        waiting().release(&mut io::stdout());
    }
}

/// Keeps its lines, for tests.
#[cfg(test)]
#[derive(Debug, Default)]
pub(crate) struct KeptLines(Mutex<Vec<String>>);

#[cfg(test)]
impl KeptLines {
    pub(crate) fn take(&self) -> Vec<serde_json::Value> {
        let lines = std::mem::take(&mut *self.0.lock().unwrap());
        lines
            .iter()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }
}

#[cfg(test)]
impl Line for KeptLines {
    fn write(&self, line: &str) {
        self.0.lock().unwrap().push(line.to_owned());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_written_at_once_unless_somebody_holds_them_and_then_together() {
        /// What each write wrote.
        #[derive(Default)]
        struct Writes(Vec<String>);

        impl io::Write for Writes {
            fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
                self.0.push(String::from_utf8_lossy(bytes).into_owned());
                Ok(bytes.len())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }

        let (mut waiting, mut out) = (Waiting::default(), Writes::default());
        waiting.add("a", &mut out);
        assert_eq!(out.0, ["a\n"]);
        waiting.holders += 2; // two requests at a time
        waiting.add("b", &mut out);
        waiting.release(&mut out);
        waiting.add("c", &mut out);
        assert_eq!(out.0.len(), 1);
        waiting.release(&mut out);
        waiting.add("d", &mut out);
        assert_eq!(out.0, ["a\n", "b\nc\n", "d\n"]);
    }
}
