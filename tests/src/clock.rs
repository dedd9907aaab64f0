//! Owns the clocks of the functions under test. An unmodified binary is started with a preloaded
//! library (`clock_shim.c`) that reads the offsets from a mapped file; a change is visible to it at
//! once.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, SystemTime};

use rustix::time::{ClockId, clock_gettime};
use tempfile::NamedTempFile;

use crate::preload;

const SHIM_SOURCE: &str = include_str!("../clock_shim.c");

/// A wall clock that a test moves; functions started with it see it as the machine's. Clones are
/// one clock.
///
/// Only the wall clock moves with [`advance`](Self::advance): to a function that is a freeze during
/// which the monotonic clock stood still.
#[derive(Clone, Debug)]
pub struct WallClock(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    file: NamedTempFile,
    values: Mutex<Values>,
}

/// All in nanoseconds, but for `sequence`.
#[derive(Debug, Default, Clone, Copy)]
struct Values {
    sequence: i64,
    wall: i64,
    monotonic: i64,
    held: i64,
}

impl WallClock {
    /// A clock that shows the machine's time.
    pub fn new() -> Self {
        let file = NamedTempFile::new().expect("a temporary file");
        let clock = Self(Arc::new(Inner {
            file,
            values: Mutex::default(),
        }));
        clock.change(|_| ());
        clock
    }

    /// What a function started with this clock takes for the time.
    pub fn now(&self) -> SystemTime {
        let offset = self.0.values.lock().expect("no holder panics").wall;
        let distance = Duration::from_nanos(offset.unsigned_abs());
        if offset >= 0 {
            SystemTime::now() + distance
        } else {
            SystemTime::now() - distance
        }
    }

    /// Moves the wall clock forward.
    pub fn advance(&self, by: Duration) {
        self.change(|values| values.wall += nanos(by));
    }

    /// Steps the wall clock back, as a time server may.
    pub fn step_back(&self, by: Duration) {
        self.change(|values| values.wall -= nanos(by));
    }

    /// Moves the wall clock and the monotonic clock forward: a freeze on a machine where both go
    /// on.
    pub fn advance_with_monotonic(&self, by: Duration) {
        self.change(|values| {
            values.wall += nanos(by);
            values.monotonic += nanos(by);
        });
    }

    /// Stops the monotonic clock where it is. No timer of the function fires until it is released.
    pub fn hold_monotonic(&self) {
        self.change(|values| values.held = monotonic_now() + values.monotonic);
    }

    /// Lets the monotonic clock go on from where it was held.
    pub fn release_monotonic(&self) {
        self.change(|values| {
            if values.held != 0 {
                values.monotonic = values.held - monotonic_now();
                values.held = 0;
            }
        });
    }

    /// The variables that put a process under this clock.
    pub fn env(&self) -> [(&'static str, String); 2] {
        [
            ("LD_PRELOAD", path_text(shim())),
            ("CLOCK_SHIM_FILE", path_text(self.0.file.path())),
        ]
    }

    fn change(&self, edit: impl FnOnce(&mut Values)) {
        let mut values = self.0.values.lock().expect("no holder panics");
        edit(&mut values);
        let file = self.0.file.as_file();
        write(file, 0, &[values.sequence + 1]);
        write(file, 8, &[values.wall, values.monotonic, values.held]);
        values.sequence += 2;
        write(file, 0, &[values.sequence]);
    }
}

impl Default for WallClock {
    fn default() -> Self {
        Self::new()
    }
}

fn write(file: &File, offset: u64, words: &[i64]) {
    let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_ne_bytes()).collect();
    file.write_all_at(&bytes, offset)
        .expect("the clock's file is writable");
}

fn nanos(duration: Duration) -> i64 {
    i64::try_from(duration.as_nanos()).expect("a test moves the clock by less than 292 years")
}

fn monotonic_now() -> i64 {
    let now = clock_gettime(ClockId::Monotonic);
    now.tv_sec * 1_000_000_000 + now.tv_nsec
}

fn path_text(path: &Path) -> String {
    path.to_str()
        .expect("paths of this workspace are UTF-8")
        .to_owned()
}

/// The compiled library.
fn shim() -> &'static Path {
    static SHIM: OnceLock<PathBuf> = OnceLock::new();
    SHIM.get_or_init(|| preload::library("clock_shim", SHIM_SOURCE))
}
