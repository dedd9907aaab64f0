//! Every action of the endpoint, by the AWS SDK for Rust.

use aws_sdk_sqs::error::ProvideErrorMetadata as _;
use aws_sdk_sqs::primitives::Blob;
use aws_sdk_sqs::types::{
    ChangeMessageVisibilityBatchRequestEntry, DeleteMessageBatchRequestEntry,
    MessageAttributeValue, MessageSystemAttributeName, MessageSystemAttributeNameForSends,
    MessageSystemAttributeValue, QueueAttributeName, SendMessageBatchRequestEntry,
    SendMessageBatchResultEntry,
};

use tokio::task::JoinSet;

use crate::support::{Sqs, attribute, queue, queue_arn, queues_with_dead_letters, seconds, soon};

fn text(value: &str) -> MessageAttributeValue {
    let attribute = MessageAttributeValue::builder().data_type("String");
    attribute.string_value(value).build().unwrap()
}

#[tokio::test]
async fn a_message_comes_back_as_it_was_sent() {
    let sqs = Sqs::start(&[queue("jobs")]).await;
    let binary = MessageAttributeValue::builder()
        .data_type("Binary.png")
        .binary_value(Blob::new([0, 159, 146, 150]));
    let number = MessageAttributeValue::builder()
        .data_type("Number.int")
        .string_value("-17");
    let trace = MessageSystemAttributeValue::builder()
        .data_type("String")
        .string_value("Root=1-67891233-abcdef012345678912345678");
    // The SDK checks the digests of both answers.
    let sent = sqs
        .client
        .send_message()
        .queue_url(sqs.url("jobs"))
        .message_body("naïve \u{1f600} \"text\"\n")
        .message_attributes("kind", text("title"))
        .message_attributes("picture", binary.build().unwrap())
        .message_attributes("kind.number", number.build().unwrap())
        .message_system_attributes(
            MessageSystemAttributeNameForSends::AwsTraceHeader,
            trace.build().unwrap(),
        )
        .send()
        .await
        .unwrap();
    assert_eq!(sent.md5_of_message_body().unwrap().len(), 32);
    assert_eq!(sent.md5_of_message_attributes().unwrap().len(), 32);
    assert_eq!(sent.md5_of_message_system_attributes().unwrap().len(), 32);

    let received = sqs
        .client
        .receive_message()
        .queue_url(sqs.url("jobs"))
        .message_attribute_names("All")
        .message_system_attribute_names(MessageSystemAttributeName::All)
        .send()
        .await
        .unwrap();
    let message = &received.messages()[0];
    assert_eq!(message.message_id(), sent.message_id());
    assert_eq!(message.body(), Some("naïve \u{1f600} \"text\"\n"));
    assert_eq!(
        message.md5_of_message_attributes(),
        sent.md5_of_message_attributes()
    );
    let attributes = message.message_attributes().unwrap();
    assert_eq!(attributes["kind"].string_value(), Some("title"));
    assert_eq!(
        attributes["picture"].binary_value().unwrap().as_ref(),
        [0, 159, 146, 150]
    );
    assert_eq!(attributes["kind.number"].data_type(), "Number.int");
    let system = message.attributes().unwrap();
    assert_eq!(
        system[&MessageSystemAttributeName::ApproximateReceiveCount],
        "1"
    );
    assert_eq!(
        system[&MessageSystemAttributeName::SentTimestamp],
        "1795341600000"
    );
    assert!(system.contains_key(&MessageSystemAttributeName::SenderId));
    assert!(system.contains_key(&MessageSystemAttributeName::AwsTraceHeader));
    assert!(system.contains_key(&MessageSystemAttributeName::ApproximateFirstReceiveTimestamp));
}

#[tokio::test]
async fn a_receive_returns_only_the_attributes_that_it_names() {
    let sqs = Sqs::start(&[queue("jobs")]).await;
    sqs.client
        .send_message()
        .queue_url(sqs.url("jobs"))
        .message_body("x")
        .message_attributes("kind", text("title"))
        .message_attributes("kind.part", text("a"))
        .message_attributes("other", text("b"))
        .send()
        .await
        .unwrap();
    for (wanted, names) in [
        (None, vec![]),
        (Some("kind"), vec!["kind"]),
        (Some("kind.*"), vec!["kind", "kind.part"]),
        (Some(".*"), vec!["kind", "kind.part", "other"]),
        (Some("absent"), vec![]),
    ] {
        let received = sqs
            .client
            .receive_message()
            .queue_url(sqs.url("jobs"))
            .visibility_timeout(0)
            .set_message_attribute_names(wanted.map(|wanted| vec![wanted.to_owned()]))
            .message_system_attribute_names(MessageSystemAttributeName::SenderId)
            .send()
            .await
            .unwrap();
        let message = &received.messages()[0];
        let attributes = message.message_attributes().cloned().unwrap_or_default();
        let mut found: Vec<_> = attributes.keys().map(String::as_str).collect();
        found.sort_unstable();
        assert_eq!(found, names, "{wanted:?}");
        assert_eq!(message.attributes().unwrap().len(), 1);
    }
}

#[tokio::test]
async fn a_batch_is_sent_changed_and_deleted_entry_by_entry() {
    let sqs = Sqs::start(&[queue("jobs")]).await;
    let entry = |id: &str, body: &str| {
        let entry = SendMessageBatchRequestEntry::builder().id(id);
        entry.message_body(body).build().unwrap()
    };
    let sent = sqs
        .client
        .send_message_batch()
        .queue_url(sqs.url("jobs"))
        .entries(entry("one", "1"))
        .entries(entry("two", "not \u{1} allowed"))
        .entries(entry("three", "3"))
        .send()
        .await
        .unwrap();
    let sent_entries = sent.successful().iter();
    let ids: Vec<_> = sent_entries.map(SendMessageBatchResultEntry::id).collect();
    assert_eq!(ids, ["one", "three"]);
    let failed = &sent.failed()[0];
    assert_eq!(
        (failed.id(), failed.code(), failed.sender_fault()),
        ("two", "InvalidMessageContents", true)
    );

    let received = sqs
        .client
        .receive_message()
        .queue_url(sqs.url("jobs"))
        .max_number_of_messages(10)
        .send()
        .await
        .unwrap();
    let handles: Vec<_> = received
        .messages()
        .iter()
        .map(|message| message.receipt_handle().unwrap().to_owned())
        .collect();
    assert_eq!(handles.len(), 2);

    let change = |id: &str, handle: &str| {
        let entry = ChangeMessageVisibilityBatchRequestEntry::builder().id(id);
        let entry = entry.receipt_handle(handle).visibility_timeout(0);
        entry.build().unwrap()
    };
    let changed = sqs
        .client
        .change_message_visibility_batch()
        .queue_url(sqs.url("jobs"))
        .entries(change("a", &handles[0]))
        .entries(change("b", "no handle"))
        .send()
        .await
        .unwrap();
    assert_eq!(changed.successful()[0].id(), "a");
    assert_eq!(changed.failed()[0].code(), "ReceiptHandleIsInvalid");
    assert_eq!(
        attribute(&sqs.queues, "jobs", "ApproximateNumberOfMessages"),
        "1"
    );

    let delete = |id: &str, handle: &str| {
        let entry = DeleteMessageBatchRequestEntry::builder().id(id);
        entry.receipt_handle(handle).build().unwrap()
    };
    let deleted = sqs
        .client
        .delete_message_batch()
        .queue_url(sqs.url("jobs"))
        .entries(delete("a", &handles[0]))
        .entries(delete("b", &handles[1]))
        .entries(delete("c", "no handle"))
        .send()
        .await
        .unwrap();
    assert_eq!(deleted.successful().len(), 2);
    assert_eq!(deleted.failed()[0].id(), "c");
    assert_eq!(
        attribute(&sqs.queues, "jobs", "ApproximateNumberOfMessages"),
        "0"
    );
}

#[tokio::test]
async fn queues_are_found_listed_described_and_purged() {
    let sqs = Sqs::start(&queues_with_dead_letters(3)).await;
    let client = &sqs.client;
    let found = client.get_queue_url().queue_name("jobs").send().await;
    let url = found.unwrap().queue_url.unwrap();
    assert_eq!(url, sqs.url("jobs"));
    assert!(url.starts_with("http://127.0.0.1:") && url.ends_with("/111122223333/jobs"));

    let all = client.list_queues().send().await.unwrap();
    assert_eq!(all.queue_urls(), [sqs.url("jobs"), sqs.url("dead")]);
    let some = client.list_queues().queue_name_prefix("de").send().await;
    assert_eq!(some.unwrap().queue_urls(), [sqs.url("dead")]);
    let none = client.list_queues().queue_name_prefix("x").send().await;
    assert!(none.unwrap().queue_urls().is_empty());

    for body in ["1", "2"] {
        let send = client.send_message().queue_url(&url).message_body(body);
        send.send().await.unwrap();
    }
    let described = client
        .get_queue_attributes()
        .queue_url(&url)
        .attribute_names(QueueAttributeName::All)
        .send()
        .await
        .unwrap();
    let attributes = described.attributes().unwrap();
    assert_eq!(attributes[&QueueAttributeName::QueueArn], queue_arn("jobs"));
    assert_eq!(
        attributes[&QueueAttributeName::ApproximateNumberOfMessages],
        "2"
    );
    assert_eq!(attributes[&QueueAttributeName::VisibilityTimeout], "30");
    let policy: serde_json::Value =
        serde_json::from_str(&attributes[&QueueAttributeName::RedrivePolicy]).unwrap();
    assert_eq!(policy["deadLetterTargetArn"], queue_arn("dead"));
    assert_eq!(policy["maxReceiveCount"], 3);

    client.purge_queue().queue_url(&url).send().await.unwrap();
    assert_eq!(
        attribute(&sqs.queues, "jobs", "ApproximateNumberOfMessages"),
        "0"
    );
}

#[tokio::test]
async fn a_deployed_queues_url_names_the_local_queue() {
    let sqs = Sqs::start(&[queue("jobs")]).await;
    let deployed = "https://sqs.eu-central-1.amazonaws.com/111122223333/jobs";
    let send = sqs.client.send_message().queue_url(deployed);
    send.message_body("x").send().await.unwrap();
    let other = "https://sqs.eu-central-1.amazonaws.com/999900001111/jobs";
    let send = sqs.client.send_message().queue_url(other);
    let error = send.message_body("x").send().await.unwrap_err();
    assert!(error.into_service_error().is_queue_does_not_exist());
}

#[tokio::test]
async fn a_long_poll_ends_with_the_first_message() {
    let sqs = Sqs::start(&[queue("jobs")]).await;
    let poll = sqs
        .client
        .receive_message()
        .queue_url(sqs.url("jobs"))
        .wait_time_seconds(20)
        .send();
    let send = sqs.client.send_message().queue_url(sqs.url("jobs"));
    // The clock stands still: only the message can end the poll.
    let both = async { tokio::join!(poll, send.message_body("x").send()) };
    let (polled, sent) = soon("the message", Box::pin(both)).await;
    sent.unwrap();
    assert_eq!(polled.unwrap().messages()[0].body(), Some("x"));
}

#[tokio::test]
async fn a_long_poll_without_a_message_ends_empty_when_its_time_has_passed() {
    let sqs = Sqs::start(&[queue("jobs")]).await;
    let poll = sqs
        .client
        .receive_message()
        .queue_url(sqs.url("jobs"))
        .wait_time_seconds(20)
        .send();
    let mut polls = JoinSet::new();
    polls.spawn(poll);
    let polled = async {
        loop {
            if let Some(polled) = polls.try_join_next() {
                break polled;
            }
            sqs.clock.advance(seconds(1));
            tokio::task::yield_now().await;
        }
    };
    let polled = soon("the end of the poll", polled).await.unwrap();
    assert!(polled.unwrap().messages().is_empty());
}

#[tokio::test]
async fn errors_are_those_that_the_sdk_knows() {
    let sqs = Sqs::start(&[queue("jobs")]).await;
    let client = &sqs.client;
    let absent = client.get_queue_url().queue_name("absent").send().await;
    let error = absent.unwrap_err().into_service_error();
    assert!(error.is_queue_does_not_exist(), "{error:?}");
    assert_eq!(
        error.code(),
        Some("AWS.SimpleQueueService.NonExistentQueue")
    );

    let delete = client.delete_message().queue_url(sqs.url("jobs"));
    let error = delete.receipt_handle("none").send().await.unwrap_err();
    assert!(error.into_service_error().is_receipt_handle_is_invalid());

    let named = client.get_queue_attributes().queue_url(sqs.url("jobs"));
    let named = named.attribute_names(QueueAttributeName::from("Colour"));
    let error = named.send().await.unwrap_err().into_service_error();
    assert!(error.is_invalid_attribute_name(), "{error:?}");

    let unsupported = client.create_queue().queue_name("new").send().await;
    let error = unsupported.unwrap_err().into_service_error();
    assert!(error.is_unsupported_operation(), "{error:?}");
    assert!(error.message().unwrap().contains("template"), "{error:?}");
}
