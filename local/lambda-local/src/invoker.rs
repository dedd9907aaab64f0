//! Owns the one way in which triggers reach functions: by name or ARN, an event in, an answer out.
//! Triggers (queue, schedules, custom resources, Invoke API) know this and nothing else of how
//! functions run.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;

type Answer = Pin<Box<dyn Future<Output = Result<Bytes, InvokeError>> + Send>>;
type Call = dyn Fn(String, Bytes) -> Answer + Send + Sync;

/// Invokes functions. Clones are one invoker.
#[derive(Clone)]
pub struct Invoker(Arc<Call>);

/// How an invocation ended without an answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvokeError {
    /// The function reported an error, ended, or passed its time-out (`Sandbox.Timedout`).
    #[error("{error_type}: {message}")]
    Function {
        /// `errorType`, such as `Runtime.ExitError`.
        error_type: String,
        /// `errorMessage`.
        message: String,
    },
    /// No container was free for it within the invoker's patience.
    #[error("every container is busy")]
    Throttled,
    /// The stack has no such function.
    #[error("the stack has no function {0}")]
    Unknown(String),
}

impl Invoker {
    /// An invoker that calls `call` with a function's name, logical id or ARN, and the event.
    pub fn new<F, A>(call: F) -> Self
    where
        F: Fn(String, Bytes) -> A + Send + Sync + 'static,
        A: Future<Output = Result<Bytes, InvokeError>> + Send + 'static,
    {
        Self(Arc::new(move |function, event| {
            Box::pin(call(function, event))
        }))
    }

    /// Sends `event` to a function, named by its name, logical id or ARN, and waits for its answer.
    ///
    /// # Errors
    /// [`InvokeError`] when there is no answer.
    pub async fn invoke(
        &self,
        function: &str,
        event: impl Into<Bytes>,
    ) -> Result<Bytes, InvokeError> {
        (self.0)(function.to_owned(), event.into()).await
    }
}

impl fmt::Debug for Invoker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Invoker")
    }
}
