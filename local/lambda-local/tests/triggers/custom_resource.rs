//! Custom resources, with providers that answer well, badly, late and never.

use std::path::PathBuf;

use http_body_util::{BodyExt as _, Full};
use hyper::{Method, Request, StatusCode};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use lambda_local::application::CustomResource;
use lambda_local::clock::StoppedClock;
use lambda_local::custom_resource::{Change, CustomResourceError, CustomResources, Provisioned};
use lambda_local::invoker::InvokeError;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::{Call, Calls, FUNCTION_ARN, seconds, soon, stopped_clock};

const STACK_ID: &str = "arn:aws:cloudformation:eu-central-1:111122223333:stack/chat/0a1b";

/// A stack's custom resources, whose provider the test plays.
struct Stack {
    clock: StoppedClock,
    calls: Calls,
    resources: CustomResources,
    folder: TempDir,
}

impl Stack {
    async fn start() -> Self {
        Self::with(tempfile::tempdir().unwrap()).await
    }

    /// Starts it with what an earlier start left.
    async fn with(folder: TempDir) -> Self {
        let clock = stopped_clock();
        let (invoker, calls) = Calls::new();
        let state = folder.path().join("resources.json");
        let resources = CustomResources::start(STACK_ID, state, invoker, clock.clock()).await;
        Self {
            clock,
            calls,
            resources: resources.unwrap(),
            folder,
        }
    }

    /// Applies a resource with a provider that does `answer` with its one call.
    async fn apply(
        &mut self,
        resource: &CustomResource,
        answer: impl AsyncFnOnce(Call),
    ) -> Result<Provisioned, CustomResourceError> {
        let play = async { answer(self.calls.next().await).await };
        let (outcome, ()) = tokio::join!(soon("the outcome", self.resources.apply(resource)), play);
        outcome
    }
}

fn resource(version: &str) -> CustomResource {
    let properties = json!({"SchemaVersion": version, "Roles": {"chats": "arn:aws:iam::111122223333:role/chats"}});
    CustomResource {
        logical_id: "Schema".to_owned(),
        resource_type: "Custom::DatabaseSchema".to_owned(),
        service_token: FUNCTION_ARN.to_owned(),
        service_timeout: seconds(900),
        properties: properties.as_object().unwrap().clone(),
    }
}

/// The answer to an event, as CloudFormation wants it.
fn success(event: &Value, id: &str) -> Value {
    json!({
        "Status": "SUCCESS", "PhysicalResourceId": id, "StackId": event["StackId"],
        "RequestId": event["RequestId"], "LogicalResourceId": event["LogicalResourceId"],
        "Data": {"SchemaVersion": 23, "IsNew": true, "Name": "chat", "Nothing": null},
    })
}

async fn put(
    event: &Value,
    body: impl Into<String>,
    content_type: Option<&str>,
) -> (StatusCode, String) {
    let client = Client::builder(TokioExecutor::new()).build_http::<Full<bytes::Bytes>>();
    let url = event["ResponseURL"].as_str().unwrap();
    let mut request = Request::builder().method(Method::PUT).uri(url);
    if let Some(content_type) = content_type {
        request = request.header("content-type", content_type);
    }
    let request = request.body(Full::from(body.into())).unwrap();
    let response = client.request(request).await.unwrap();
    let status = response.status();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    (status, String::from_utf8(body.to_vec()).unwrap())
}

/// A provider that answers with what `change` makes of a good answer.
fn answering(change: impl FnOnce(&mut Value)) -> impl AsyncFnOnce(Call) {
    async |call: Call| {
        let mut answer = success(&call.event, "schema-1");
        change(&mut answer);
        let (status, _) = put(&call.event, answer.to_string(), None).await;
        assert_eq!(status, StatusCode::OK);
        call.answer("null");
    }
}

#[tokio::test]
async fn a_first_start_creates_and_the_attributes_are_texts() {
    let mut stack = Stack::start().await;
    let mut seen = Value::Null;
    let created = stack
        .apply(&resource("23"), async |call| {
            seen = call.event.clone();
            put(
                &call.event,
                success(&call.event, "schema-1").to_string(),
                Some(""),
            )
            .await;
            call.answer("null");
        })
        .await
        .unwrap();
    assert_eq!(created.change, Change::Created);
    assert_eq!(created.physical_resource_id, "schema-1");
    let attributes: Vec<_> = created
        .attributes
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect();
    assert_eq!(
        attributes,
        [("IsNew", "true"), ("Name", "chat"), ("SchemaVersion", "23")]
    );

    let url = seen["ResponseURL"].take();
    assert!(
        url.as_str().unwrap().starts_with("http://127.0.0.1:"),
        "{url}"
    );
    assert!(seen["RequestId"].take().is_string());
    assert_eq!(
        seen,
        json!({
            "RequestType": "Create", "ResponseURL": null, "RequestId": null, "StackId": STACK_ID,
            "ServiceToken": FUNCTION_ARN, "LogicalResourceId": "Schema", "ResourceType": "Custom::DatabaseSchema",
            "ResourceProperties": {
                "ServiceToken": FUNCTION_ARN, "SchemaVersion": "23",
                "Roles": {"chats": "arn:aws:iam::111122223333:role/chats"},
            },
        })
    );
}

#[tokio::test]
async fn the_next_start_asks_only_when_properties_changed() {
    let mut stack = Stack::start().await;
    stack
        .apply(&resource("23"), answering(|_| {}))
        .await
        .unwrap();
    let mut stack = Stack::with(stack.folder).await;
    let same = stack.resources.apply(&resource("23")).await.unwrap();
    assert_eq!(same.change, Change::Unchanged);
    assert_eq!(same.physical_resource_id, "schema-1");
    assert_eq!(same.attributes["SchemaVersion"], "23");
    assert!(stack.calls.is_empty());

    let updated = stack
        .apply(&resource("24"), async |call| {
            assert_eq!(call.event["RequestType"], "Update");
            assert_eq!(call.event["PhysicalResourceId"], "schema-1");
            assert_eq!(call.event["ResourceProperties"]["SchemaVersion"], "24");
            assert_eq!(call.event["OldResourceProperties"]["SchemaVersion"], "23");
            answering(|answer| answer["Data"] = json!({"SchemaVersion": 24}))(call).await;
        })
        .await
        .unwrap();
    assert_eq!(updated.change, Change::Updated);
    assert_eq!(updated.attributes["SchemaVersion"], "24");
    assert_eq!(updated.attributes.len(), 1);
}

#[tokio::test]
async fn a_new_physical_id_deletes_the_old_resource() {
    let mut stack = Stack::start().await;
    stack
        .apply(&resource("23"), answering(|_| {}))
        .await
        .unwrap();
    let changed = resource("24");
    let play = async {
        let call = stack.calls.next().await;
        answering(|answer| answer["PhysicalResourceId"] = json!("schema-2"))(call).await;
        let call = stack.calls.next().await;
        assert_eq!(call.event["RequestType"], "Delete");
        assert_eq!(call.event["PhysicalResourceId"], "schema-1");
        assert_eq!(call.event["ResourceProperties"]["SchemaVersion"], "23");
        // Its failure does not fail the update.
        call.fail();
    };
    let (updated, ()) = tokio::join!(stack.resources.apply(&changed), play);
    assert_eq!(updated.unwrap().physical_resource_id, "schema-2");
}

#[tokio::test]
async fn delete_asks_the_provider_and_forgets_the_resource() {
    let mut stack = Stack::start().await;
    stack.resources.delete(&resource("23")).await.unwrap();
    stack
        .apply(&resource("23"), answering(|_| {}))
        .await
        .unwrap();
    let play = async {
        let call = stack.calls.next().await;
        assert_eq!(call.event["RequestType"], "Delete");
        answering(|_| {})(call).await;
    };
    let resource = resource("24");
    let (deleted, ()) = tokio::join!(stack.resources.delete(&resource), play);
    deleted.unwrap();
    let created = stack.apply(&resource, answering(|_| {})).await.unwrap();
    assert_eq!(created.change, Change::Created);
}

#[tokio::test]
async fn a_failure_has_the_providers_reason_and_the_next_start_asks_again() {
    let mut stack = Stack::start().await;
    let failing = answering(|answer| {
        answer["Status"] = json!("FAILED");
        answer["Reason"] = json!("the database does not answer");
    });
    let error = stack.apply(&resource("23"), failing).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "Create of Schema failed: the database does not answer"
    );
    let mut stack = Stack::with(stack.folder).await;
    let created = stack
        .apply(&resource("23"), answering(|_| {}))
        .await
        .unwrap();
    assert_eq!(created.change, Change::Created);
}

#[tokio::test]
async fn an_answer_that_cloudformation_refuses_is_an_error_that_says_why() {
    let long = "x".repeat(1025);
    let cases: [(Value, &str); 10] = [
        (json!({"Status": "OK"}), "Status"),
        (json!({"Status": null}), "Status"),
        (json!({"PhysicalResourceId": ""}), "PhysicalResourceId"),
        (json!({"PhysicalResourceId": null}), "PhysicalResourceId"),
        (json!({"PhysicalResourceId": long}), "1024 bytes"),
        (json!({"RequestId": "another"}), "RequestId"),
        (json!({"StackId": "another"}), "StackId"),
        (json!({"Data": [1]}), "Data"),
        (json!({"Data": {"Nested": {"a": 1}}}), "Data.Nested"),
        (json!({"Data": {"Large": "x".repeat(4096)}}), "4096"),
    ];
    for (change, words) in cases {
        let mut stack = Stack::start().await;
        let wrong = answering(|answer| {
            for (name, value) in change.as_object().unwrap() {
                answer[name] = value.clone();
            }
        });
        let error = stack.apply(&resource("23"), wrong).await.unwrap_err();
        assert!(
            matches!(error, CustomResourceError::InvalidAnswer { .. }),
            "{error}"
        );
        assert!(error.to_string().contains(words), "{error}");
    }
    let mut stack = Stack::start().await;
    let no_json = async |call: Call| {
        put(&call.event, "done", None).await;
        call.answer("null");
    };
    let error = stack.apply(&resource("23"), no_json).await.unwrap_err();
    assert!(error.to_string().contains("JSON"), "{error}");
}

#[tokio::test]
async fn an_answer_with_a_content_type_or_to_another_url_is_refused() {
    let mut stack = Stack::start().await;
    let answer = async |call: Call| {
        let good = success(&call.event, "schema-1").to_string();
        let (status, words) = put(&call.event, &good, Some("application/json")).await;
        assert_eq!(status, StatusCode::FORBIDDEN);
        assert!(words.contains("content type"), "{words}");
        let mut other = call.event.clone();
        let url = other["ResponseURL"].as_str().unwrap().replace("%2F", "");
        other["ResponseURL"] = json!(url);
        let (status, _) = put(&other, &good, None).await;
        assert_eq!(status, StatusCode::FORBIDDEN);
        let (status, _) = put(&call.event, &good, None).await;
        assert_eq!(status, StatusCode::OK);
        call.answer("null");
    };
    stack.apply(&resource("23"), answer).await.unwrap();
}

#[tokio::test]
async fn a_function_that_fails_before_its_answer_ends_the_wait() {
    let mut stack = Stack::start().await;
    let failing = async |call: Call| call.fail();
    let error = stack.apply(&resource("23"), failing).await.unwrap_err();
    let CustomResourceError::Function { source, .. } = &error else {
        panic!("{error}")
    };
    assert!(matches!(source, InvokeError::Function { .. }));

    // After its answer a failure changes nothing.
    let late = async |call: Call| {
        put(
            &call.event,
            success(&call.event, "schema-1").to_string(),
            None,
        )
        .await;
        call.fail();
    };
    stack.apply(&resource("23"), late).await.unwrap();
}

#[tokio::test]
async fn a_provider_may_answer_after_its_function_returned() {
    let mut stack = Stack::start().await;
    let later = async |call: Call| {
        let event = call.event.clone();
        call.answer("null");
        put(&event, success(&event, "schema-1").to_string(), None).await;
    };
    stack.apply(&resource("23"), later).await.unwrap();
}

#[tokio::test]
async fn a_provider_that_never_answers_fails_at_the_service_timeout() {
    let mut stack = Stack::start().await;
    let (sent, event) = tokio::sync::oneshot::channel();
    let resource = resource("23");
    let play = async {
        let call = stack.calls.next().await;
        stack.clock.advance(seconds(900));
        let _ = sent.send(call.event.clone());
        // It is still running when the time is up.
        call
    };
    let (outcome, call) = tokio::join!(stack.resources.apply(&resource), play);
    let error = outcome.unwrap_err();
    assert!(error.to_string().contains("within 900 s"), "{error}");
    // Its answer comes too late.
    let (status, _) = put(&event.await.unwrap(), "{}", None).await;
    assert_eq!(status, StatusCode::FORBIDDEN);
    drop(stack.resources);
    call.answer_is_unwanted().await;
}

#[tokio::test]
async fn a_state_that_cannot_be_read_stops_the_start_and_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let path: PathBuf = folder.path().join("resources.json");
    std::fs::write(&path, "{").unwrap();
    let (invoker, _calls) = Calls::new();
    let started = CustomResources::start(STACK_ID, &path, invoker, stopped_clock().clock()).await;
    let error = started.unwrap_err();
    assert!(error.to_string().contains("resources.json"), "{error}");
}
