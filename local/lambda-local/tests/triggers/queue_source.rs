//! Event sources: what a function is sent, and what becomes of the messages after its answer.

use std::time::Duration;

use lambda_local::application::{Function, QueueSource};
use lambda_local::invoker::InvokeError;
use lambda_local::queue::{
    AttributeValue, EventSources, MessageAttribute, NewMessage, Queues, SourceError,
};
use serde_json::{Value, json};

use crate::support::{
    Calls, FUNCTION_ARN, application, attribute, attribute_becomes, function, queue, queue_arn,
    queues_with_dead_letters, receive_now, seconds, settle, source, stopped_clock,
};

const VISIBLE: &str = "ApproximateNumberOfMessages";
const IN_FLIGHT: &str = "ApproximateNumberOfMessagesNotVisible";

fn start(queues: &Queues, source: QueueSource) -> (EventSources, Calls) {
    let (invoker, calls) = Calls::new();
    let function = Function {
        queue_sources: vec![source],
        ..function()
    };
    let sources = EventSources::start(&application(function), queues, &invoker);
    (sources.unwrap(), calls)
}

fn send(queues: &Queues, bodies: &[&str]) {
    let jobs = queues.by_name("jobs").unwrap();
    for body in bodies {
        queues.send(jobs, NewMessage::new(*body)).unwrap();
    }
}

#[tokio::test]
async fn a_batch_has_the_shape_of_lambdas_event() {
    let clock = stopped_clock();
    let queues = Queues::new(&[queue("jobs")], clock.clock());
    let mut message = NewMessage::new(r#"{"jobId":"1"}"#);
    for (name, data_type, value) in [
        ("kind", "String", AttributeValue::Text("title".to_owned())),
        ("raw", "Binary", AttributeValue::Binary("abc".into())),
    ] {
        let attribute = MessageAttribute {
            data_type: data_type.to_owned(),
            value,
        };
        message.attributes.insert(name.to_owned(), attribute);
    }
    let jobs = queues.by_name("jobs").unwrap();
    let sent = queues.send(jobs, message).unwrap();
    let (_sources, mut calls) = start(&queues, source());
    let call = calls.next().await;
    assert_eq!(call.function, FUNCTION_ARN);
    let mut event = call.event.clone();
    let record = event["Records"][0].as_object_mut().unwrap();
    assert!(record.remove("receiptHandle").unwrap().is_string());
    assert!(
        record["attributes"]
            .as_object_mut()
            .unwrap()
            .remove("SenderId")
            .is_some()
    );
    assert_eq!(
        event,
        json!({"Records": [{
            "messageId": sent.message_id,
            "body": "{\"jobId\":\"1\"}",
            "attributes": {
                "ApproximateReceiveCount": "1",
                "SentTimestamp": "1795341600000",
                "ApproximateFirstReceiveTimestamp": "1795341600000",
            },
            "messageAttributes": {
                "kind": {"stringValue": "title", "stringListValues": [], "binaryListValues": [], "dataType": "String"},
                "raw": {"binaryValue": "YWJj", "stringListValues": [], "binaryListValues": [], "dataType": "Binary"},
            },
            "md5OfBody": sent.md5_of_body,
            "md5OfMessageAttributes": sent.md5_of_attributes,
            "eventSource": "aws:sqs",
            "eventSourceARN": queue_arn("jobs"),
            "awsRegion": "eu-central-1",
        }]})
    );
    call.answer("{}");
    attribute_becomes(&queues, "jobs", IN_FLIGHT, "0").await;
    assert_eq!(attribute(&queues, "jobs", VISIBLE), "0");
}

/// What an answer leaves of a batch of three, by body.
async fn left_after(answer: impl Fn(&[String]) -> String, source: QueueSource) -> Vec<String> {
    let clock = stopped_clock();
    let queues = Queues::new(&[queue("jobs")], clock.clock());
    send(&queues, &["1", "2", "3", "last"]);
    let settings = QueueSource {
        batch_size: 3,
        maximum_concurrency: Some(2),
        ..source
    };
    let (sources, mut calls) = start(&queues, settings);
    let (mut first, mut second) = (calls.next().await, calls.next().await);
    if first.bodies().len() != 3 {
        std::mem::swap(&mut first, &mut second);
    }
    let answer = answer(&first.message_ids());
    first.answer(answer);
    // Both slots were taken: a third call shows that the first batch is settled.
    send(&queues, &["marker"]);
    let marker = calls.next().await;
    assert_eq!(marker.bodies(), ["marker"]);
    drop(sources);
    clock.advance(seconds(30));
    let left = receive_now(&queues, "jobs").await;
    let left = left.into_iter().map(|message| message.body);
    left.filter(|body| body.len() == 1).collect()
}

#[tokio::test]
async fn only_the_items_that_failed_stay_and_an_answer_that_is_wrong_keeps_all() {
    let failures =
        |items: Value| move |_: &[String]| json!({"batchItemFailures": items}).to_string();
    let all = ["1", "2", "3"];
    let none: [&str; 0] = [];
    let text = |text: &'static str| move |_: &[String]| text.to_owned();

    for answer in [
        "",
        "null",
        "{}",
        r#"{"batchItemFailures":null}"#,
        r#"{"batchItemFailures":[]}"#,
        r#"{"other":1}"#,
    ] {
        assert_eq!(left_after(text(answer), source()).await, none, "{answer}");
    }
    for answer in [
        "no JSON",
        "[]",
        "\"ok\"",
        "17",
        r#"{"batchItemFailures":{}}"#,
        r#"{"batchItemFailures":"1"}"#,
    ] {
        assert_eq!(left_after(text(answer), source()).await, all, "{answer}");
    }
    for items in [
        json!([{"itemIdentifier": ""}]),
        json!([{"itemIdentifier": null}]),
        json!([{"itemIdentifier": 1}]),
        json!([{"messageId": "1"}]),
        json!(["1"]),
        json!([{"itemIdentifier": "c0ffee00-0000-4000-8000-000000000000"}]),
    ] {
        assert_eq!(
            left_after(failures(items.clone()), source()).await,
            all,
            "{items}"
        );
    }
    let second =
        |ids: &[String]| json!({"batchItemFailures": [{"itemIdentifier": ids[1]}]}).to_string();
    assert_eq!(left_after(second, source()).await, ["2"]);
    let twice = |ids: &[String]| {
        let item = json!({"itemIdentifier": ids[2]});
        json!({"batchItemFailures": [item, item]}).to_string()
    };
    assert_eq!(left_after(twice, source()).await, ["3"]);
    let mixed = |ids: &[String]| {
        json!({"batchItemFailures": [{"itemIdentifier": ids[0]}, {"itemIdentifier": "unknown"}]})
            .to_string()
    };
    assert_eq!(left_after(mixed, source()).await, all);

    let silent = QueueSource {
        reports_item_failures: false,
        ..source()
    };
    assert_eq!(left_after(second, silent).await, none);
}

#[tokio::test]
async fn a_failed_batch_comes_back_after_its_visibility_and_goes_to_the_dead_letters_at_last() {
    let clock = stopped_clock();
    let queues = Queues::new(&queues_with_dead_letters(2), clock.clock());
    let (_sources, mut calls) = start(&queues, source());
    send(&queues, &["poison"]);
    for count in ["1", "2"] {
        let call = calls.next().await;
        let attributes = &call.event["Records"][0]["attributes"];
        assert_eq!(attributes["ApproximateReceiveCount"], count);
        call.fail();
        settle().await;
        assert_eq!(attribute(&queues, "jobs", IN_FLIGHT), "1");
        clock.advance(seconds(30));
    }
    attribute_becomes(&queues, "dead", VISIBLE, "1").await;
    assert!(calls.is_empty());
    assert_eq!(receive_now(&queues, "dead").await[0].body, "poison");
}

#[tokio::test]
async fn no_more_batches_run_at_once_than_the_template_allows() {
    let clock = stopped_clock();
    let queues = Queues::new(&[queue("jobs")], clock.clock());
    send(&queues, &["1", "2", "3", "4"]);
    let (_sources, mut calls) = start(
        &queues,
        QueueSource {
            batch_size: 1,
            maximum_concurrency: Some(2),
            ..source()
        },
    );
    let (first, second) = (calls.next().await, calls.next().await);
    // The others wait in the queue, where their visibility does not run out.
    assert_eq!(attribute(&queues, "jobs", IN_FLIGHT), "2");
    assert_eq!(attribute(&queues, "jobs", VISIBLE), "2");
    first.answer("{}");
    let third = calls.next().await;
    assert_eq!(attribute(&queues, "jobs", VISIBLE), "1");
    second.answer("{}");
    third.answer("{}");
    calls.next().await.answer("{}");
    attribute_becomes(&queues, "jobs", IN_FLIGHT, "0").await;
}

#[tokio::test]
async fn a_batch_waits_for_more_messages_until_its_window_ends() {
    let clock = stopped_clock();
    let queues = Queues::new(&[queue("jobs")], clock.clock());
    let (_sources, mut calls) = start(
        &queues,
        QueueSource {
            batch_size: 25,
            batching_window: seconds(10),
            ..source()
        },
    );
    send(&queues, &["1"]);
    attribute_becomes(&queues, "jobs", IN_FLIGHT, "1").await;
    clock.advance(seconds(9));
    send(&queues, &["2"]);
    attribute_becomes(&queues, "jobs", IN_FLIGHT, "2").await;
    assert!(calls.is_empty());
    clock.advance(seconds(1));
    let call = calls.next().await;
    assert_eq!(call.bodies(), ["1", "2"]);
    call.answer("{}");

    // A full batch does not wait.
    let many: Vec<String> = (0..25).map(|number| number.to_string()).collect();
    send(
        &queues,
        &many.iter().map(String::as_str).collect::<Vec<_>>(),
    );
    let call = calls.next().await;
    assert_eq!(call.bodies(), many);
    call.answer("{}");
}

#[tokio::test]
async fn a_batch_that_found_no_container_is_tried_again_while_it_is_invisible() {
    let clock = stopped_clock();
    let queues = Queues::new(&[queue("jobs")], clock.clock());
    let (_sources, mut calls) = start(&queues, source());
    send(&queues, &["x"]);
    calls.next().await.end(InvokeError::Throttled);
    settle().await;
    clock.advance(Duration::from_millis(100));
    let again = calls.next().await;
    assert_eq!(
        again.event["Records"][0]["attributes"]["ApproximateReceiveCount"],
        "1"
    );
    // 100 ms are gone, the next wait is 200 ms: at the end of the visibility it is given up.
    clock.advance(Duration::from_millis(29_800));
    again.end(InvokeError::Throttled);
    settle().await;
    assert_eq!(attribute(&queues, "jobs", IN_FLIGHT), "1");
    clock.advance(Duration::from_millis(100));
    let next = calls.next().await;
    assert_eq!(
        next.event["Records"][0]["attributes"]["ApproximateReceiveCount"],
        "2"
    );
    next.answer("{}");
    attribute_becomes(&queues, "jobs", IN_FLIGHT, "0").await;
}

#[tokio::test]
async fn a_disabled_source_takes_nothing_and_an_unknown_queue_stops_the_start() {
    let clock = stopped_clock();
    let queues = Queues::new(&[queue("jobs")], clock.clock());
    send(&queues, &["x"]);
    let disabled = QueueSource {
        is_enabled: false,
        ..source()
    };
    let (_sources, calls) = start(&queues, disabled);
    settle().await;
    assert!(calls.is_empty());
    assert_eq!(attribute(&queues, "jobs", VISIBLE), "1");

    let (invoker, _calls) = Calls::new();
    let unknown = QueueSource {
        queue_arn: queue_arn("absent"),
        ..source()
    };
    let function = Function {
        queue_sources: vec![unknown],
        ..function()
    };
    let error = EventSources::start(&application(function), &queues, &invoker).unwrap_err();
    assert!(matches!(&error, SourceError::UnknownQueue { event, .. } if event == "Jobs"));
    assert!(error.to_string().contains(":absent"), "{error}");
}

#[tokio::test]
async fn dropping_the_sources_ends_what_they_invoked() {
    let clock = stopped_clock();
    let queues = Queues::new(&[queue("jobs")], clock.clock());
    send(&queues, &["x"]);
    let (sources, mut calls) = start(&queues, source());
    let call = calls.next().await;
    drop(sources);
    call.answer_is_unwanted().await;
}
