//! What a queue refuses, and how it says so.

use aws_sdk_sqs::error::ProvideErrorMetadata as _;
use aws_sdk_sqs::types::SendMessageBatchRequestEntry;
use http_body_util::{BodyExt as _, Full};
use hyper::{Method, Request, StatusCode};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use lambda_local::queue::{AttributeValue, MessageAttribute, NewMessage};
use serde_json::Value;

use crate::support::{Sqs, queue, seconds};

const MIB: usize = 1024 * 1024;

fn entries(sizes: &[usize]) -> Vec<SendMessageBatchRequestEntry> {
    let entry = |(place, size): (usize, &usize)| {
        let entry = SendMessageBatchRequestEntry::builder().id(place.to_string());
        entry.message_body("x".repeat(*size)).build().unwrap()
    };
    sizes.iter().enumerate().map(entry).collect()
}

#[tokio::test]
async fn a_message_of_1_mib_is_taken_and_one_byte_more_is_not() {
    let sqs = Sqs::start(&[queue("jobs")]).await;
    for (size, is_taken) in [(MIB, true), (MIB + 1, false)] {
        let send = sqs.client.send_message().queue_url(sqs.url("jobs"));
        let outcome = send.message_body("x".repeat(size)).send().await;
        assert_eq!(outcome.is_ok(), is_taken, "{size}");
        if let Err(error) = outcome {
            assert_eq!(
                error.into_service_error().code(),
                Some("InvalidParameterValue")
            );
        }
    }
}

#[tokio::test]
async fn a_batch_is_refused_whole_for_its_count_ids_and_size() {
    let sqs = Sqs::start(&[queue("jobs")]).await;
    let mut twice = entries(&[1, 1]);
    twice[1].id = twice[0].id.clone();
    let mut spaced = entries(&[1]);
    spaced[0].id = "a b".to_owned();
    for (entries, code) in [
        (entries(&[]), "EmptyBatchRequest"),
        (entries(&[1; 11]), "TooManyEntriesInBatchRequest"),
        (twice, "BatchEntryIdsNotDistinct"),
        (spaced, "InvalidBatchEntryId"),
        (entries(&[MIB / 2, MIB / 2 + 1]), "BatchRequestTooLong"),
    ] {
        let send = sqs.client.send_message_batch().queue_url(sqs.url("jobs"));
        let error = send.set_entries(Some(entries)).send().await.unwrap_err();
        let error = error.into_service_error();
        assert_eq!(
            error.code(),
            Some(format!("AWS.SimpleQueueService.{code}").as_str())
        );
    }
}

#[tokio::test]
async fn values_out_of_range_are_named() {
    let sqs = Sqs::start(&[queue("jobs")]).await;
    let receive = || sqs.client.receive_message().queue_url(sqs.url("jobs"));
    for (receive, name) in [
        (receive().max_number_of_messages(0), "MaxNumberOfMessages"),
        (receive().max_number_of_messages(11), "MaxNumberOfMessages"),
        (receive().wait_time_seconds(21), "WaitTimeSeconds"),
        (receive().visibility_timeout(43_201), "VisibilityTimeout"),
        (receive().visibility_timeout(-1), "VisibilityTimeout"),
    ] {
        let error = receive.send().await.unwrap_err().into_service_error();
        assert_eq!(error.code(), Some("InvalidParameterValue"));
        assert!(error.message().unwrap().contains(name), "{error:?}");
    }
    let send = sqs.client.send_message().queue_url(sqs.url("jobs"));
    let late = send.message_body("x").delay_seconds(901).send().await;
    let error = late.unwrap_err().into_service_error();
    assert!(error.message().unwrap().contains("DelaySeconds"));
}

#[tokio::test]
async fn attributes_must_have_a_name_a_type_and_a_value_of_it() {
    let sqs = Sqs::start(&[queue("jobs")]).await;
    let jobs = sqs.queues.by_name("jobs").unwrap();
    let text = |text: &str| AttributeValue::Text(text.to_owned());
    for (name, data_type, value, is_taken) in [
        ("n", "String", text("x"), true),
        ("n", "Number.float", text("1.5e3"), true),
        ("n", "Binary", AttributeValue::Binary("x".into()), true),
        ("", "String", text("x"), false),
        ("a b", "String", text("x"), false),
        ("n", "Text", text("x"), false),
        ("n", "String", text(""), false),
        ("n", "Number", text("one"), false),
        ("n", "Binary", text("x"), false),
    ] {
        let mut message = NewMessage::new("x");
        let attribute = MessageAttribute {
            data_type: data_type.to_owned(),
            value,
        };
        message.attributes.insert(name.to_owned(), attribute);
        let outcome = sqs.queues.send(jobs, message);
        assert_eq!(outcome.is_ok(), is_taken, "{name} {data_type}: {outcome:?}");
    }
    let mut eleven = NewMessage::new("x");
    for name in 0..11 {
        let attribute = MessageAttribute {
            data_type: "String".to_owned(),
            value: text("x"),
        };
        eleven.attributes.insert(name.to_string(), attribute);
    }
    assert!(sqs.queues.send(jobs, eleven).is_err());
}

#[tokio::test]
async fn a_message_that_is_not_in_flight_keeps_its_visibility() {
    let sqs = Sqs::start(&[queue("jobs")]).await;
    let jobs = sqs.queues.by_name("jobs").unwrap();
    sqs.queues.send(jobs, NewMessage::new("x")).unwrap();
    let received = crate::support::receive_now(&sqs.queues, "jobs").await;
    sqs.clock.advance(seconds(30));
    let change = sqs.client.change_message_visibility();
    let change = change.queue_url(sqs.url("jobs")).visibility_timeout(5);
    let error = change
        .receipt_handle(&received[0].receipt_handle)
        .send()
        .await
        .unwrap_err();
    assert!(error.into_service_error().is_message_not_inflight());
}

#[tokio::test]
async fn what_is_no_request_of_sqs_gets_an_error_in_its_form() {
    let sqs = Sqs::start(&[queue("jobs")]).await;
    let client = Client::builder(TokioExecutor::new()).build_http::<Full<bytes::Bytes>>();
    let json = |target: &str, body: &str| {
        let request = Request::builder().method(Method::POST);
        let request = request
            .uri(sqs.endpoint.url())
            .header("x-amz-target", target);
        request.body(Full::from(body.to_owned())).unwrap()
    };
    let query = Request::builder().method(Method::POST);
    let query = query.uri(sqs.endpoint.url());
    let query = query.body(Full::from("Action=ListQueues")).unwrap();
    let huge = "x".repeat(9 * MIB);
    for (request, shape, words) in [
        (query, "UnknownOperationException", "JSON protocol"),
        (
            json("AmazonSQS.Shuffle", "{}"),
            "UnknownOperationException",
            "Shuffle",
        ),
        (
            json("AmazonSQS.SendMessage", "{"),
            "SerializationException",
            "EOF",
        ),
        (
            json("AmazonSQS.SendMessage", "{}"),
            "MissingRequiredParameterException",
            "QueueUrl",
        ),
        (
            json("AmazonSQS.SendMessage", &huge),
            "SerializationException",
            "larger than",
        ),
    ] {
        let response = client.request(request).await.unwrap();
        assert_eq!(response.status(), StatusCode::BAD_REQUEST);
        assert_eq!(
            response.headers()["content-type"],
            "application/x-amz-json-1.0"
        );
        assert!(response.headers().contains_key("x-amzn-requestid"));
        let body = response.into_body().collect().await.unwrap().to_bytes();
        let body: Value = serde_json::from_slice(&body).unwrap();
        assert!(body["__type"].as_str().unwrap().ends_with(shape), "{body}");
        assert!(body["message"].as_str().unwrap().contains(words), "{body}");
    }
}

#[tokio::test]
async fn a_web_page_does_not_reach_the_queues() {
    let sqs = Sqs::start(&[queue("jobs")]).await;
    let client = Client::builder(TokioExecutor::new()).build_http::<Full<bytes::Bytes>>();
    for (name, value) in [("origin", "https://evil.example"), ("host", "evil.example")] {
        let request = Request::builder().method(Method::POST);
        let request = request.uri(sqs.endpoint.url()).header(name, value);
        let request = request.body(Full::from("{}")).unwrap();
        let response = client.request(request).await.unwrap();
        assert_eq!(response.status(), StatusCode::FORBIDDEN, "{name}");
    }
}
