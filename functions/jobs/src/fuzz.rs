//! Fuzz targets: the events of the queue and direct calls, and the bodies of messages, compared
//! with a parser that builds the whole tree.

use fuzzing::{Corpus, Seen, check, prop_assert, prop_assert_eq};
use serde_json::Value;

use crate::event::{Event, named, read};

#[test]
fn a_batch_has_the_messages_that_were_sent_and_a_call_names_what_it_says() {
    let corpus = Corpus::new([
        r#"{"Records":[{"messageId":"m1","body":"{\"jobId\":\"j1\"}","attributes":{"ApproximateReceiveCount":"1"},
            "messageAttributes":{},"md5OfBody":"x","eventSource":"aws:sqs","awsRegion":"us-east-1"},{"messageId":"m2","body":""}]}"#,
        r#"{"Records":[]}"#,
        r#"{"jobId":"018f0000-0000-7000-8000-000000000000"}"#,
        r#"{"run":"due"}"#,
    ])
    .words(["\"Records\":", "\"jobId\":", "\"body\":", "\"messageId\":", "\"due\"", "null", "[]"]);
    check("an event of jobs", corpus.text(), |text| {
        let Ok(tree) = serde_json::from_str::<Value>(&text) else {
            return Ok(Seen::Refused);
        };
        let Ok(event) = read(tree.clone()) else {
            return Ok(Seen::Refused);
        };
        prop_assert!(tree.is_object());
        match event {
            Event::Batch(messages) => {
                // Whoever answers fewer than there are has deleted the rest.
                let records = tree["Records"].as_array();
                prop_assert_eq!(messages.len(), records.map_or(0, Vec::len));
                for (message, record) in messages.iter().zip(records.into_iter().flatten()) {
                    if record.is_object() {
                        prop_assert_eq!(
                            record["messageId"].as_str().unwrap_or_default(),
                            &message.id
                        );
                        prop_assert_eq!(record["body"].as_str().unwrap_or_default(), &message.body);
                    }
                }
            }
            Event::Job(id) => prop_assert_eq!(tree["jobId"].as_str(), Some(id.as_str())),
            Event::Due => prop_assert_eq!(&tree["run"], "due"),
        }
        Ok(Seen::Accepted)
    });
}

#[test]
fn a_message_names_the_job_that_its_body_says() {
    let corpus = Corpus::new([
        r#"{"jobId":"018f0000-0000-7000-8000-000000000000"}"#,
        r#"{"jobId":"j","kind":"title","attempts":3,"reason":"why"}"#,
    ])
    .words(["\"jobId\":", "[\"j\"]", "null", "\\u0000"]);
    check("a message of jobs", corpus.text(), |text| {
        let Ok(id) = named(&text) else {
            return Ok(Seen::Refused);
        };
        let tree: Value = serde_json::from_str(&text).unwrap_or_default();
        prop_assert_eq!(tree.get("jobId").and_then(Value::as_str), Some(id.as_str()));
        Ok(Seen::Accepted)
    });
}
