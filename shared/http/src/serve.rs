//! Serving, as a future that can run as a task.

use std::fmt::Debug;

use lambda_http::lambda_runtime::{self, Diagnostic};
use lambda_http::{Adapter, Error, IntoResponse, Request, Service};

/// Answers one event after the other, or several at once where Lambda sends them so, until the
/// environment ends: `lambda_http::run_concurrent`, but a future that is known to be [`Send`], which
/// the compiler cannot tell of that one.
///
/// # Errors
/// The Runtime API fails.
pub fn serve<S, R, E>(handler: S) -> impl Future<Output = Result<(), Error>> + Send + 'static
where
    S: Service<Request, Response = R, Error = E> + Clone + Send + 'static,
    S::Future: Send + 'static,
    R: IntoResponse + Send + Sync + 'static,
    E: Debug + Into<Diagnostic> + Send + 'static,
{
    let adapter: Adapter<'static, R, S> = Adapter::from(handler);
    lambda_runtime::run_concurrent(adapter)
}
