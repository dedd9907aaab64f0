//! How a function starts: log, runtime, then its own work. A `main` that returns an error is a bare
//! process exit to Lambda, so the cause is written to the log first.

use std::{future::Future, process::ExitCode, sync::Arc};

use dsql::SystemClock;

use crate::{
    chain::chain,
    env::{AWS_LAMBDA_MAX_CONCURRENCY, ConfigError, Lookup, from_process},
    telemetry,
};

type AnyError = Box<dyn std::error::Error + Send + Sync>;

/// Runs `work` to its end on a runtime that fits the platform. It runs as a task: each time another
/// task wakes the future that a runtime blocks on, the runtime asks the system for events once
/// more, which is two system calls for a request and one for a statement.
pub fn start(work: impl Future<Output = Result<(), AnyError>> + Send + 'static) -> ExitCode {
    let outcome = telemetry::init(&from_process, Arc::new(SystemClock))
        .map_err(AnyError::from)
        .and_then(|()| Ok(runtime(concurrency(&from_process)?)?))
        .and_then(|runtime| runtime.block_on(runtime.spawn(work))?);
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let cause = chain(&*error);
            tracing::error!(error.cause = cause, "the function cannot start: {cause}");
            ExitCode::FAILURE
        }
    }
}

/// One thread for one request at a time: nothing to hand over between threads. Several on Lambda
/// Managed Instances, where requests run side by side.
fn runtime(concurrency: usize) -> std::io::Result<tokio::runtime::Runtime> {
    let mut builder = if concurrency > 1 {
        tokio::runtime::Builder::new_multi_thread()
    } else {
        tokio::runtime::Builder::new_current_thread()
    };
    builder.enable_all().build()
}

fn concurrency(lookup: Lookup<'_>) -> Result<usize, ConfigError> {
    lookup(AWS_LAMBDA_MAX_CONCURRENCY).map_or(Ok(1), |value| {
        value
            .trim()
            .parse()
            .map_err(|_| ConfigError::new(AWS_LAMBDA_MAX_CONCURRENCY, "must be a whole number"))
    })
}

#[cfg(test)]
mod tests {
    use tokio::runtime::RuntimeFlavor;

    use super::*;

    fn flavor(concurrency: usize) -> RuntimeFlavor {
        runtime(concurrency).unwrap().handle().runtime_flavor()
    }

    #[test]
    fn one_request_at_a_time_needs_one_thread() {
        assert_eq!(flavor(1), RuntimeFlavor::CurrentThread);
        assert_eq!(flavor(8), RuntimeFlavor::MultiThread);
    }

    #[test]
    fn the_concurrency_is_1_unless_lambda_says_more() {
        let read = |value: Option<&str>| concurrency(&|_| value.map(str::to_owned));
        assert_eq!(read(None).unwrap(), 1);
        assert_eq!(read(Some("16")).unwrap(), 16);
        assert!(read(Some("many")).is_err());
    }
}
