//! The wall clock, which a test may replace.

use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

/// Tells the time.
#[derive(Clone)]
pub(crate) struct Now(Arc<dyn Fn() -> SystemTime + Send + Sync>);

impl Now {
    pub(crate) fn new(now: impl Fn() -> SystemTime + Send + Sync + 'static) -> Self {
        Self(Arc::new(now))
    }

    pub(crate) fn get(&self) -> SystemTime {
        (self.0)()
    }
}

impl Default for Now {
    #[expect(
        clippy::disallowed_methods,
        reason = "this is the clock that is replaced"
    )]
    fn default() -> Self {
        Self::new(SystemTime::now)
    }
}

impl fmt::Debug for Now {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Now")
    }
}
