//! Owns how Lambda hands a request over and takes its answer: the events of a REST API, and those of an HTTP API or a
//! function URL. `lambda_http` reads them too, and much more of them: a third of the instructions of a whole request, for
//! fields that nothing here looks at (docs/decisions/0007). Its types stay, and so does the form of the answer.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use lambda_http::aws_lambda_events::apigw::ApiGatewayProxyResponse;
use lambda_http::http::{HeaderMap, HeaderName, HeaderValue, Method};
use lambda_http::{Body, Context, Request, RequestExt as _, Response};
use serde::Deserialize;
use serde::de::Error as _;
use serde_json::Error;
use serde_json::value::RawValue;

/// A request as it comes.
#[derive(Debug)]
pub struct Event {
    form: Form,
    method: Method,
    path: String,
    headers: HeaderMap,
    body: Body,
}

/// What an answer has to look like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// Payload version 1.
    Rest,
    /// Payload version 2.
    Http,
}

impl Event {
    /// Reads an event.
    ///
    /// # Errors
    /// When it is not that of an HTTP request. No word of the request is in the error.
    pub fn read(event: &RawValue) -> Result<Self, Error> {
        let fields: Fields<'_> = serde_json::from_str(event.get())?;
        let http = fields.request_context.and_then(|context| context.http);
        let (form, method, path) = match (fields.http_method, http) {
            (Some(method), _) => (Form::Rest, method, fields.path),
            (None, Some(http)) => (Form::Http, http.method, fields.raw_path),
            (None, None) => return Err(Error::custom("not the event of an HTTP request")),
        };
        let body = match fields.body {
            None => Body::Empty,
            Some(text) if fields.is_base64_encoded == Some(true) => STANDARD
                .decode(text)
                .map(Body::Binary)
                .map_err(|_| Error::custom("the body is not the base64 that it should be"))?,
            Some(text) => Body::Text(text),
        };
        let method = method
            .parse()
            .map_err(|_| Error::custom("the method is none"))?;
        // A REST API tells every header in both maps.
        let headers = match fields.multi_value_headers {
            Some(many) if !many.is_empty() => {
                let all = many.into_iter().flat_map(|(name, values)| {
                    let values = values.unwrap_or_default().into_iter();
                    values.map(move |value| (name.clone(), value))
                });
                header_map(all)?
            }
            _ => {
                let single: Option<Single> = fields
                    .headers
                    .map(|single| serde_json::from_str(single.get()))
                    .transpose()?;
                let all = single.unwrap_or_default().into_iter();
                header_map(all.filter_map(|(name, value)| Some((name, value?))))?
            }
        };
        Ok(Self {
            form,
            method,
            path: path.unwrap_or_default(),
            headers,
            body,
        })
    }

    /// The request, and the form of its answer.
    pub fn into_request(self, context: Context) -> (Form, Request) {
        let mut request = Request::new(self.body);
        *request.method_mut() = self.method;
        *request.headers_mut() = self.headers;
        let request = request.with_raw_http_path(&self.path);
        (self.form, request.with_lambda_context(context))
    }
}

impl Form {
    /// `response` as Lambda takes it. The two forms differ in where headers stand.
    pub fn answer(self, response: Response<Body>) -> ApiGatewayProxyResponse {
        let (parts, body) = response.into_parts();
        let mut answer = ApiGatewayProxyResponse::default();
        answer.status_code = i64::from(parts.status.as_u16());
        match self {
            Self::Rest => answer.multi_value_headers = parts.headers,
            Self::Http => answer.headers = parts.headers,
        }
        answer.is_base64_encoded = matches!(body, Body::Binary(_));
        answer.body = Some(body).filter(|body| !matches!(body, Body::Empty));
        answer
    }
}

/// The fields that are read, of both forms.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Fields<'a> {
    http_method: Option<String>,
    path: Option<String>,
    raw_path: Option<String>,
    request_context: Option<RequestContext>,
    multi_value_headers: Option<Many>,
    #[serde(borrow)]
    headers: Option<&'a RawValue>,
    body: Option<String>,
    is_base64_encoded: Option<bool>,
}

#[derive(Deserialize)]
struct RequestContext {
    http: Option<Http>,
}

#[derive(Deserialize)]
struct Http {
    method: String,
}

/// Values by name: several each in one map of an event, one each in the other. `null` is none.
type Many = BTreeMap<String, Option<Vec<String>>>;
type Single = BTreeMap<String, Option<String>>;

fn header_map(all: impl Iterator<Item = (String, String)>) -> Result<HeaderMap, Error> {
    let mut headers = HeaderMap::with_capacity(16);
    for (name, value) in all {
        let name = HeaderName::from_bytes(name.as_bytes())
            .map_err(|_| Error::custom("a header's name is none"))?;
        let value = HeaderValue::from_str(&value)
            .map_err(|_| Error::custom(format!("the value of the header {name} is none")))?;
        headers.append(name, value);
    }
    Ok(headers)
}

#[cfg(test)]
mod tests {
    use lambda_http::http::StatusCode;
    use serde_json::{Value, json};

    use super::*;

    const REST: &str = include_str!("../../../events/sql/01-query.json");
    const HTTP: &str = include_str!("../../../events/sql/08-query.v2.json");

    fn read(event: &str) -> (Form, Request) {
        let event = serde_json::from_str(event).unwrap();
        Event::read(event).unwrap().into_request(Context::default())
    }

    fn changed(event: &str, field: &str, value: Value) -> String {
        let mut event: Value = serde_json::from_str(event).unwrap();
        event[field] = value;
        event.to_string()
    }

    #[test]
    fn both_forms_are_read_as_lambda_http_reads_them() {
        for (event, expected) in [(REST, Form::Rest), (HTTP, Form::Http)] {
            let (form, request) = read(event);
            let theirs = lambda_http::request::from_str(event).unwrap();
            assert_eq!(form, expected);
            assert_eq!(request.method(), theirs.method());
            assert_eq!(request.raw_http_path(), theirs.raw_http_path());
            assert_eq!(request.body(), theirs.body());
            assert!(!request.headers().is_empty());
            assert_eq!(request.headers().keys_len(), theirs.headers().keys_len());
            for name in theirs.headers().keys() {
                assert_eq!(request.headers().get(name), theirs.headers().get(name));
            }
            assert!(request.lambda_context_ref().is_some());
        }
    }

    #[test]
    fn a_header_that_came_twice_has_both_values_and_null_none() {
        let event = changed(
            REST,
            "multiValueHeaders",
            json!({"Accept-Encoding": ["br", "gzip"], "Idempotency-Key": null}),
        );
        let (_, request) = read(&event);
        let values = request.headers().get_all("accept-encoding");
        assert_eq!(values.iter().collect::<Vec<_>>(), ["br", "gzip"]);
        assert_eq!(request.headers().len(), 2);
        // Where the map of several is missing or empty, the other one counts.
        for many in [Value::Null, json!({})] {
            let (_, request) = read(&changed(REST, "multiValueHeaders", many));
            assert!(request.headers().contains_key("neon-connection-string"));
        }
    }

    #[test]
    fn a_binary_body_is_decoded() {
        let event = changed(REST, "isBase64Encoded", json!(true));
        let (_, request) = read(&changed(&event, "body", json!("/wA=")));
        assert_eq!(request.body(), &Body::Binary(vec![255, 0]));
        let (_, request) = read(&changed(REST, "body", Value::Null));
        assert_eq!(request.body(), &Body::Empty);
    }

    #[test]
    fn what_is_no_request_is_refused_without_its_words() {
        let base64 = changed(REST, "isBase64Encoded", json!(true));
        for event in [
            "{}".to_owned(),
            "[]".to_owned(),
            json!({"Records": []}).to_string(),
            changed(&base64, "body", json!("private!")),
            changed(REST, "httpMethod", json!("private method")),
            changed(REST, "multiValueHeaders", json!({"private name": ["x"]})),
            changed(REST, "multiValueHeaders", json!({"x": ["pri\nvate"]})),
            changed(REST, "body", json!({"private": 1})),
        ] {
            let error = Event::read(serde_json::from_str(&event).unwrap()).unwrap_err();
            assert!(!error.to_string().contains("pri"), "{error}");
        }
    }

    #[test]
    fn an_answer_has_the_form_of_its_request() {
        let response = || {
            Response::builder()
                .status(StatusCode::BAD_REQUEST)
                .header("x-one", "a")
                .body(Body::Text("{}".to_owned()))
                .unwrap()
        };
        assert_eq!(
            json!(Form::Rest.answer(response())),
            json!({
                "statusCode": 400, "headers": {}, "multiValueHeaders": {"x-one": ["a"]},
                "body": "{}", "isBase64Encoded": false
            })
        );
        assert_eq!(
            json!(Form::Http.answer(response())),
            json!({
                "statusCode": 400, "headers": {"x-one": "a"}, "multiValueHeaders": {},
                "body": "{}", "isBase64Encoded": false
            })
        );
        let packed = Response::new(Body::Binary(vec![255, 0]));
        let packed = json!(Form::Rest.answer(packed));
        assert_eq!(
            (&packed["body"], &packed["isBase64Encoded"]),
            (&json!("/wA="), &json!(true))
        );
        let empty = json!(Form::Rest.answer(Response::new(Body::Empty)));
        assert_eq!(empty.get("body"), None);
    }
}
