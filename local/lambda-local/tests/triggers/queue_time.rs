//! What becomes of messages as time goes by.

use lambda_local::application::Queue;
use lambda_local::queue::{NewMessage, Queues};

use crate::support::{
    attribute, queue, queue_arn, queues_with_dead_letters, receive_now, seconds, stopped_clock,
};

fn bodies(received: &[lambda_local::queue::Received]) -> Vec<&str> {
    received.iter().map(|m| m.body.as_str()).collect()
}

#[tokio::test]
async fn a_received_message_is_invisible_until_its_timeout() {
    let clock = stopped_clock();
    let queues = Queues::new(&[queue("jobs")], clock.clock());
    let jobs = queues.by_name("jobs").unwrap();
    queues.send(jobs, NewMessage::new("x")).unwrap();
    let first = receive_now(&queues, "jobs").await;
    assert_eq!(bodies(&first), ["x"]);
    assert_eq!(
        attribute(&queues, "jobs", "ApproximateNumberOfMessagesNotVisible"),
        "1"
    );
    clock.advance(seconds(29));
    assert!(receive_now(&queues, "jobs").await.is_empty());
    clock.advance(seconds(1));
    let again = receive_now(&queues, "jobs").await;
    assert_eq!(again[0].message_id, first[0].message_id);
    assert_eq!(again[0].system_attributes["ApproximateReceiveCount"], "2");
    assert_eq!(
        again[0].system_attributes["ApproximateFirstReceiveTimestamp"],
        first[0].system_attributes["SentTimestamp"]
    );

    // The handle of the first receive deletes nothing any more, and that is no error.
    queues.delete(jobs, &first[0].receipt_handle).unwrap();
    assert_eq!(
        attribute(&queues, "jobs", "ApproximateNumberOfMessagesNotVisible"),
        "1"
    );
    queues.delete(jobs, &again[0].receipt_handle).unwrap();
    queues.delete(jobs, &again[0].receipt_handle).unwrap();
    clock.advance(seconds(60));
    assert!(receive_now(&queues, "jobs").await.is_empty());
}

#[tokio::test]
async fn a_changed_visibility_counts_from_the_change() {
    let clock = stopped_clock();
    let queues = Queues::new(&[queue("jobs")], clock.clock());
    let jobs = queues.by_name("jobs").unwrap();
    queues.send(jobs, NewMessage::new("x")).unwrap();
    let received = receive_now(&queues, "jobs").await;
    clock.advance(seconds(20));
    queues
        .change_visibility(jobs, &received[0].receipt_handle, seconds(100))
        .unwrap();
    clock.advance(seconds(99));
    assert!(receive_now(&queues, "jobs").await.is_empty());
    clock.advance(seconds(1));
    assert_eq!(receive_now(&queues, "jobs").await.len(), 1);
}

#[tokio::test]
async fn a_delayed_message_is_not_seen_before_its_delay() {
    let clock = stopped_clock();
    let slow = Queue {
        delay: seconds(60),
        ..queue("jobs")
    };
    let queues = Queues::new(&[slow], clock.clock());
    let jobs = queues.by_name("jobs").unwrap();
    queues.send(jobs, NewMessage::new("the queue's")).unwrap();
    let own = NewMessage {
        delay: Some(seconds(5)),
        ..NewMessage::new("its own")
    };
    queues.send(jobs, own).unwrap();
    assert!(receive_now(&queues, "jobs").await.is_empty());
    assert_eq!(
        attribute(&queues, "jobs", "ApproximateNumberOfMessagesDelayed"),
        "2"
    );
    clock.advance(seconds(5));
    assert_eq!(bodies(&receive_now(&queues, "jobs").await), ["its own"]);
    clock.advance(seconds(55));
    let late = receive_now(&queues, "jobs").await;
    assert!(bodies(&late).contains(&"the queue's"), "{late:?}");
}

#[tokio::test]
async fn a_message_is_gone_after_the_queues_retention() {
    let clock = stopped_clock();
    let queues = Queues::new(&[queue("jobs")], clock.clock());
    let jobs = queues.by_name("jobs").unwrap();
    queues.send(jobs, NewMessage::new("x")).unwrap();
    clock.advance(seconds(4 * 86_400 - 1));
    assert_eq!(receive_now(&queues, "jobs").await.len(), 1);
    clock.advance(seconds(1));
    assert_eq!(
        attribute(&queues, "jobs", "ApproximateNumberOfMessagesNotVisible"),
        "0"
    );
    clock.advance(seconds(60));
    assert!(receive_now(&queues, "jobs").await.is_empty());
}

#[tokio::test]
async fn a_message_goes_to_the_dead_letters_after_its_last_receive() {
    let clock = stopped_clock();
    let queues = Queues::new(&queues_with_dead_letters(2), clock.clock());
    let jobs = queues.by_name("jobs").unwrap();
    let sent = queues.send(jobs, NewMessage::new("x")).unwrap();
    for _ in 0..2 {
        assert_eq!(receive_now(&queues, "jobs").await.len(), 1);
        assert!(receive_now(&queues, "dead").await.is_empty());
        clock.advance(seconds(30));
    }
    assert!(receive_now(&queues, "jobs").await.is_empty());
    let dead = receive_now(&queues, "dead").await;
    assert_eq!(dead[0].message_id, sent.message_id);
    let system = &dead[0].system_attributes;
    assert_eq!(system["DeadLetterQueueSourceArn"], queue_arn("jobs"));
    // Across all queues, as the service counts.
    assert_eq!(system["ApproximateReceiveCount"], "3");
}
