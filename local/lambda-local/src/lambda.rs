//! Owns Lambda: the functions of an application, each with its containers, found by name, logical
//! id or ARN.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde_json::json;

use crate::invoker::{InvokeError, Invoker};
use crate::pool::{AcquireError, Pool};
use crate::runtime_api::{Outcome, Streamed};

/// How long an invocation waits for a container before Lambda says that it is throttled.
const PATIENCE: Duration = Duration::from_secs(60);
/// The service's name for an invocation that passed its time-out.
const TIMED_OUT: &str = "Sandbox.Timedout";

/// The functions of a stack.
#[derive(Debug, Default)]
pub struct Lambda {
    functions: BTreeMap<String, Running>,
    /// Logical id by every other name.
    names: BTreeMap<String, String>,
}

#[derive(Debug)]
struct Running {
    name: String,
    pool: Pool,
}

impl Lambda {
    /// Adds a function; `names` are the names besides its logical id by which it is invoked.
    pub fn add(
        &mut self,
        logical_id: &str,
        name: &str,
        names: impl IntoIterator<Item = String>,
        pool: Pool,
    ) {
        for other in names.into_iter().chain([name.to_owned()]) {
            self.names.insert(other, logical_id.to_owned());
        }
        let running = Running {
            name: name.to_owned(),
            pool,
        };
        self.functions.insert(logical_id.to_owned(), running);
    }

    /// The containers of a function, named by logical id, name, ARN, or a further name it was
    /// given; a qualifier after the name is passed over.
    pub fn pool(&self, function: &str) -> Option<&Pool> {
        Some(&self.find(function)?.pool)
    }

    /// Ends every container at once.
    pub fn stop(&self) {
        for running in self.functions.values() {
            running.pool.stop();
        }
    }

    /// The names under which functions are invoked.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.functions.values().map(|running| running.name.as_str())
    }

    /// The name of a function under which it is invoked.
    pub fn name(&self, function: &str) -> Option<&str> {
        Some(&self.find(function)?.name)
    }

    fn find(&self, function: &str) -> Option<&Running> {
        let known = |name: &str| {
            let id = self.names.get(name).map_or(name, String::as_str);
            self.functions.get(id)
        };
        let last = match function.split_once(":function:") {
            Some((_, rest)) => rest,
            None => function,
        };
        known(function).or_else(|| known(last.split(':').next().unwrap_or(last)))
    }

    /// Sends an event and waits for the end.
    ///
    /// # Errors
    /// [`InvokeError`] when there is no answer.
    pub async fn invoke(&self, function: &str, event: Bytes) -> Result<Bytes, InvokeError> {
        let pool = self
            .pool(function)
            .ok_or_else(|| InvokeError::Unknown(function.to_owned()))?;
        let lease = pool.acquire(PATIENCE).await.map_err(InvokeError::from)?;
        let outcome = lease.container().invoke(event, pool.timeout()).await;
        answer(outcome, pool.timeout())
    }

    /// The handle that triggers are given.
    pub fn invoker(self: &Arc<Self>) -> Invoker {
        let lambda = Arc::clone(self);
        Invoker::new(move |function, event| {
            let lambda = Arc::clone(&lambda);
            async move { lambda.invoke(&function, event).await }
        })
    }
}

impl From<AcquireError> for InvokeError {
    fn from(error: AcquireError) -> Self {
        match error {
            AcquireError::Busy => Self::Throttled,
            AcquireError::Start(error) => Self::Function {
                error_type: "Runtime.ExitError".to_owned(),
                message: error.to_string(),
            },
        }
    }
}

/// What a synchronous invocation answers. A streamed answer comes whole, its prelude before it, as
/// from the service.
pub(crate) fn answer(outcome: Outcome, limit: Duration) -> Result<Bytes, InvokeError> {
    match outcome {
        Outcome::Response(body) => Ok(body),
        Outcome::Streamed(streamed) => Ok(whole(&streamed)),
        Outcome::FunctionError {
            error_type,
            message,
        } => Err(InvokeError::Function {
            error_type,
            message,
        }),
        Outcome::TimedOut => Err(InvokeError::Function {
            error_type: TIMED_OUT.to_owned(),
            message: format!("Task timed out after {:.2} seconds", limit.as_secs_f64()),
        }),
    }
}

fn whole(streamed: &Streamed) -> Bytes {
    let mut bytes = if streamed.prelude.is_null() {
        Vec::new()
    } else {
        let mut prelude = streamed.prelude.to_string().into_bytes();
        prelude.extend_from_slice(&[0; 8]);
        prelude
    };
    bytes.extend_from_slice(&streamed.body());
    bytes.into()
}

/// The JSON that reports a failed invocation.
pub(crate) fn report(error: &InvokeError) -> Bytes {
    let report = match error {
        InvokeError::Function {
            error_type,
            message,
        } => json!({ "errorType": error_type, "errorMessage": message }),
        other => json!({ "errorMessage": other.to_string() }),
    };
    report.to_string().into()
}
