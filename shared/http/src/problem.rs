//! A failure as it leaves: `application/problem+json`, and a line in the log. This is the one place
//! where errors become responses, and the one place where they are logged.

use lambda_http::{
    Body, Response,
    http::{HeaderValue, header},
};
use serde_json::json;

use crate::error::{ApiError, ClientCode, Code, ServerCode};
use crate::response::with_body;

impl ApiError {
    /// Logs the failure and turns it into `application/problem+json {code, message, requestId}`,
    /// with the `budget` if one does not suffice.
    pub(crate) fn into_response(self, route: &str, request_id: &str) -> Response<Body> {
        self.log(route);
        let mut body = json!({
            "code": self.code(),
            "message": self.client_message(),
            "requestId": request_id,
        });
        if let (Some(budget), Some(body)) = (self.budget, body.as_object_mut()) {
            body.insert("budget".to_owned(), budget.into());
        }
        let mut response = with_body(self.status(), "application/problem+json", body.to_string());
        let headers = response.headers_mut();
        if let Some(wait) = self.retry_after {
            headers.insert(header::RETRY_AFTER, wait.as_secs().max(1).into());
        }
        if let Some(allow) = self.allow.as_deref()
            && let Ok(allow) = HeaderValue::from_str(allow)
        {
            headers.insert(header::ALLOW, allow);
        }
        if self.code == Code::Client(ClientCode::Unauthenticated) {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }

    fn log(&self, route: &str) {
        let code = self.code();
        let cause = self.cause_for_log();
        let cause = cause.as_deref().unwrap_or("none");
        match self.code {
            Code::Server(ServerCode::Internal) => {
                tracing::error!(
                    error.code = code,
                    error.cause = cause,
                    "{route} failed: {cause}"
                );
            }
            Code::Server(_) => {
                tracing::warn!(
                    error.code = code,
                    error.cause = cause,
                    "{route} gave up: {cause}"
                );
            }
            Code::Client(_) => {
                tracing::debug!(
                    error.code = code,
                    error.cause = cause,
                    "{route} refused: {code}"
                );
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body(response: &Response<Body>) -> serde_json::Value {
        serde_json::from_slice(response.body()).unwrap()
    }

    #[test]
    fn a_server_error_tells_the_client_nothing_of_its_cause() {
        let error = ApiError::server(ServerCode::Internal, "password=hunter2");
        let response = error.into_response("GET /x", "r-1");
        assert_eq!(response.status(), 500);
        assert_eq!(
            body(&response),
            json!({"code": "internal", "message": "the request failed", "requestId": "r-1"})
        );
        assert_eq!(
            response.headers()["content-type"],
            "application/problem+json"
        );
    }

    #[test]
    fn a_busy_database_answers_503_with_retry_after() {
        let response = ApiError::server(ServerCode::Unavailable, "x").into_response("GET /x", "r");
        assert_eq!(response.status(), 503);
        assert_eq!(response.headers()["retry-after"], "1");
    }

    #[test]
    fn a_refused_credential_names_the_scheme_and_a_refused_method_the_others() {
        let response = ApiError::unauthenticated("no").into_response("GET /x", "r");
        assert_eq!(response.headers()["www-authenticate"], "Bearer");
        let response = ApiError::method_not_allowed("GET, POST").into_response("PUT /x", "r");
        assert_eq!(response.status(), 405);
        assert_eq!(response.headers()["allow"], "GET, POST");
    }

    #[test]
    fn a_spent_budget_is_named() {
        let response = ApiError::budget_spent("owner", "wait").into_response("POST /x", "r");
        assert_eq!(response.status(), 429);
        assert_eq!(
            body(&response),
            json!({"code": "budget_spent", "message": "wait", "requestId": "r", "budget": "owner"})
        );
    }
}
