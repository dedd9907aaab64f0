//! Schedules on a clock that the tests move.

use std::time::Duration;

use jiff::Timestamp;
use lambda_local::application::{Function, Schedule};
use lambda_local::clock::StoppedClock;
use lambda_local::schedule::Expression;
use lambda_local::scheduler::Scheduler;
use serde_json::json;

use crate::support::{Calls, FUNCTION_ARN, application, function, seconds, settle, stopped_clock};

const ARN: &str = "arn:aws:scheduler:eu-central-1:111122223333:schedule/default/WorkerTick";

/// Every minute, with the properties of a silent template.
fn every_minute() -> Schedule {
    Schedule {
        name: "Tick".to_owned(),
        expression: Expression::Rate(seconds(60)),
        input: Some(json!({"task": "relay"})),
        is_enabled: true,
        maximum_retry_attempts: 185,
        maximum_event_age: seconds(86_400),
    }
}

fn start(clock: &StoppedClock, schedules: Vec<Schedule>) -> (Scheduler, Calls) {
    let (invoker, calls) = Calls::new();
    let function = Function {
        schedules,
        ..function()
    };
    let scheduler = Scheduler::start(&application(function), &invoker, &clock.clock());
    (scheduler, calls)
}

#[tokio::test]
async fn a_rate_fires_at_the_start_and_then_at_its_rate() {
    let clock = stopped_clock();
    let (_scheduler, mut calls) = start(&clock, vec![every_minute()]);
    for _ in 0..3 {
        let call = calls.next().await;
        assert_eq!(call.function, FUNCTION_ARN);
        assert_eq!(call.event, json!({"task": "relay"}));
        call.answer("null");
        settle().await;
        clock.advance(seconds(59));
        settle().await;
        assert!(calls.is_empty());
        clock.advance(seconds(1));
    }
}

#[tokio::test]
async fn without_input_the_services_own_event_is_sent() {
    let clock = stopped_clock();
    let schedule = Schedule {
        input: None,
        ..every_minute()
    };
    let (_scheduler, mut calls) = start(&clock, vec![schedule]);
    let mut event = calls.next().await.event;
    assert!(event["id"].take().is_string());
    assert_eq!(
        event,
        json!({
            "version": "0", "id": null, "detail-type": "Scheduled Event", "source": "aws.scheduler",
            "account": "111122223333", "time": "2026-11-22T10:00:00Z", "region": "eu-central-1",
            "resources": [ARN], "detail": "{}",
        })
    );
}

#[tokio::test]
async fn the_services_context_attributes_are_filled_into_the_input() {
    let clock = stopped_clock();
    let schedule = Schedule {
        input: Some(json!({
            "at": "<aws.scheduler.scheduled-time>", "attempt": "<aws.scheduler.attempt-number>",
            "arn": "<aws.scheduler.schedule-arn>", "id": "<aws.scheduler.execution-id>",
        })),
        ..every_minute()
    };
    let (_scheduler, mut calls) = start(&clock, vec![schedule]);
    let event = calls.next().await.event;
    assert_eq!(event["at"], "2026-11-22T10:00:00Z");
    assert_eq!(event["attempt"], "1");
    assert_eq!(event["arn"], ARN);
    assert_eq!(event["id"].as_str().unwrap().len(), 36);
}

#[tokio::test]
async fn a_single_moment_fires_once_and_a_disabled_schedule_never() {
    let clock = stopped_clock();
    let at: Timestamp = "2026-11-22T10:05:00Z".parse().unwrap();
    let once = Schedule {
        expression: Expression::At(at),
        ..every_minute()
    };
    let disabled = Schedule {
        is_enabled: false,
        ..every_minute()
    };
    let (_scheduler, mut calls) = start(&clock, vec![once, disabled]);
    settle().await;
    assert!(calls.is_empty());
    clock.advance(seconds(300));
    calls.next().await.answer("null");
    clock.advance(seconds(86_400));
    settle().await;
    assert!(calls.is_empty());
}

#[tokio::test]
async fn after_a_suspend_one_missed_firing_is_caught_up() {
    let clock = stopped_clock();
    let (_scheduler, mut calls) = start(&clock, vec![every_minute()]);
    calls.next().await.answer("null");
    settle().await;
    clock.advance(seconds(8 * 3600));
    calls.next().await.answer("null");
    settle().await;
    assert!(calls.is_empty());
    clock.advance(seconds(60));
    calls.next().await.answer("null");
    settle().await;
    assert!(calls.is_empty());
}

#[tokio::test]
async fn a_missed_firing_older_than_the_maximum_age_is_not_caught_up() {
    let clock = stopped_clock();
    let schedule = Schedule {
        maximum_event_age: seconds(300),
        ..every_minute()
    };
    let (_scheduler, mut calls) = start(&clock, vec![schedule]);
    calls.next().await.answer("null");
    settle().await;
    clock.advance(seconds(8 * 3600));
    settle().await;
    assert!(calls.is_empty());
    clock.advance(seconds(60));
    calls.next().await.answer("null");
}

#[tokio::test]
async fn a_failed_firing_is_retried_with_growing_waits_as_often_as_the_policy_says() {
    let clock = stopped_clock();
    let schedule = Schedule {
        expression: Expression::Rate(seconds(3600)),
        maximum_retry_attempts: 3,
        ..every_minute()
    };
    let (_scheduler, mut calls) = start(&clock, vec![schedule]);
    calls.next().await.fail();
    for wait in [1, 2, 4] {
        settle().await;
        clock.advance(Duration::from_millis(wait * 1000 - 1));
        settle().await;
        assert!(calls.is_empty(), "{wait}");
        clock.advance(Duration::from_millis(1));
        calls.next().await.fail();
    }
    settle().await;
    clock.advance(seconds(600));
    settle().await;
    assert!(calls.is_empty());
}

#[tokio::test]
async fn a_firing_is_not_retried_beyond_its_maximum_age() {
    let clock = stopped_clock();
    let schedule = Schedule {
        expression: Expression::Rate(seconds(3600)),
        maximum_event_age: seconds(60),
        ..every_minute()
    };
    let (_scheduler, mut calls) = start(&clock, vec![schedule]);
    let mut attempts = 0;
    for _ in 0..120 {
        settle().await;
        while !calls.is_empty() {
            calls.next().await.fail();
            attempts += 1;
        }
        clock.advance(seconds(1));
    }
    // After 1, 2, 4, 8, 16 s, at 31 s together; 32 s more would be too late.
    assert_eq!(attempts, 6);
}

#[tokio::test]
async fn firings_that_do_not_end_are_bounded() {
    let clock = stopped_clock();
    let (scheduler, mut calls) = start(&clock, vec![every_minute()]);
    let mut open = Vec::new();
    for _ in 0..8 {
        open.push(calls.next().await);
        settle().await;
        clock.advance(seconds(60));
    }
    settle().await;
    assert!(calls.is_empty());
    open.pop().unwrap().answer("null");
    settle().await;
    clock.advance(seconds(60));
    calls.next().await.answer("null");
    drop(scheduler);
    for call in open {
        call.answer_is_unwanted().await;
    }
}
