//! Someone who asks a function, with a token of an account or of a guest.

use serde_json::{Value, json};
use tests::function::Function;
use tests::http::{Request, Response};

use crate::stack::send;

/// Someone who asks a function.
pub(crate) struct Visitor<'a> {
    pub(crate) function: &'a Function,
    pub(crate) token: String,
}

impl Visitor<'_> {
    pub(crate) async fn ask(&self, method: &str, path: &str, body: Option<Value>) -> Response {
        self.ask_with(method, path, body, &[]).await
    }

    /// With further headers.
    pub(crate) async fn ask_with(
        &self,
        method: &str,
        path: &str,
        body: Option<Value>,
        headers: &[(&str, &str)],
    ) -> Response {
        let mut request = Request::new(method, path).bearer(&self.token);
        for (name, value) in headers {
            request = request.header(name, value);
        }
        if let Some(body) = &body {
            request = request.json(body);
        }
        send(self.function, &request).await
    }

    pub(crate) async fn get(&self, path: &str) -> Value {
        let response = self.ask("GET", path, None).await;
        assert_eq!(response.status, 200, "GET {path}: {:?}", response.json());
        response.json()
    }

    /// A chat of a question and a reply, `u1` and `a1`, imported; its id.
    pub(crate) async fn conversation(&self, question: &str) -> String {
        let messages = json!([
            {"id": "u1", "role": "user", "parts": [{"type": "text", "text": question}]},
            {"id": "a1", "role": "assistant", "parts": [
                {"type": "step-start"},
                {"type": "reasoning", "text": "a thought nobody else may read"},
                {"type": "text", "text": "an answer", "state": "done"},
            ]},
        ]);
        let imported = self.ask("POST", "/api/import", Some(messages)).await;
        assert_eq!(imported.status, 201, "{:?}", imported.json());
        imported.json()["ids"][0].as_str().unwrap().to_owned()
    }
}
