//! The edge of an HTTP function: what happens around every handler, the same in each function.
//! CORS, the one place where errors leave, the request id, one line in the log and one of metrics.

use std::{future::Future, sync::Arc};

use dsql::Clock;
use lambda_http::{
    Body, Request, RequestExt, Response,
    http::{HeaderValue, Method},
};
use runtime::Metrics;
use tracing::Instrument as _;

use crate::{cors::Cors, error::ApiError, response};

/// What every request passes on its way in and out.
#[derive(Debug)]
pub struct Edge {
    cors: Cors,
    clock: Arc<dyn Clock>,
    metrics: Arc<Metrics>,
}

impl Edge {
    /// An edge with these origins, this clock and these metrics.
    pub fn new(cors: Cors, clock: Arc<dyn Clock>, metrics: Metrics) -> Self {
        Self {
            cors,
            clock,
            metrics: Arc::new(metrics),
        }
    }

    /// The clock that requests are judged by.
    pub fn clock(&self) -> &Arc<dyn Clock> {
        &self.clock
    }

    /// The metrics, for what goes on after the answer began.
    pub fn metrics(&self) -> &Arc<Metrics> {
        &self.metrics
    }

    /// Answers `request` by `handler`. `route` names the route in the log, without ids; `OPTIONS`
    /// is answered here. `stats` are the database counters so far, read when the handler is done.
    ///
    /// The body of a success is the handler's own kind; an error's is whole.
    pub async fn answer<'a, F, B>(
        &self,
        request: &'a Request,
        route: &'static str,
        stats: impl FnOnce() -> dsql::Stats,
        handler: impl FnOnce(&'a Request) -> F,
    ) -> Response<B>
    where
        F: Future<Output = Result<Response<B>, ApiError>>,
        B: From<Body>,
    {
        let request_id = request
            .lambda_context_ref()
            .map(|context| context.request_id.clone())
            .unwrap_or_default();
        // Lambda's own span carries the id too; this one holds when it is not there (own runtimes,
        // tests).
        let span = tracing::info_span!("request", requestId = %request_id);
        async {
            let begun = self.clock.now();
            let answer = if request.method() == Method::OPTIONS {
                Ok(response::empty().map(B::from))
            } else {
                handler(request).await
            };
            let mut response =
                answer.unwrap_or_else(|error| error.into_response(route, &request_id).map(B::from));
            self.cors
                .apply(request.method(), request.headers(), &mut response);
            if let Ok(id) = HeaderValue::from_str(&request_id) {
                response.headers_mut().insert("x-request-id", id);
            }
            let spent = self.clock.now().duration_since(begun).unwrap_or_default();
            let status = response.status().as_u16();
            let duration_ms = u64::try_from(spent.as_millis()).unwrap_or(u64::MAX);
            self.metrics.together(|| {
                tracing::info!(
                    http.route = route,
                    http.status = status,
                    duration_ms,
                    "{route} answered {status} in {duration_ms} ms"
                );
                self.metrics.report(self.clock.now(), &request_id, stats());
            });
            response
        }
        .instrument(span)
        .await
    }
}
