//! Owns the firing of schedules. A `rate` fires when the stack starts and from then on at its rate,
//! as a schedule of the service without a start date does at its creation; `cron` and `at` fire
//! when they say. However many firings the machine slept through, at most one is caught up. A
//! failed invocation is tried again as `RetryPolicy` says.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use uuid::Uuid;

use crate::application::{Application, Function, Schedule};
use crate::clock::{self, Clock};
use crate::invoker::Invoker;
use crate::schedule::Expression;

/// First and longest wait before a failed firing is tried again; it doubles with each attempt.
const RETRY_WAITS: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(300));
/// Firings of one schedule that run or are retried at once; further ones are skipped.
const MAX_FIRINGS: usize = 8;

/// The running schedules; dropping it ends them and what they invoked.
#[derive(Debug)]
pub struct Scheduler {
    _tasks: JoinSet<()>,
}

impl Scheduler {
    /// Starts every enabled schedule of the application.
    pub fn start(application: &Application, invoker: &Invoker, clock: &Clock) -> Self {
        let started_at = clock.now();
        let mut tasks = JoinSet::new();
        for function in &application.functions {
            for schedule in function.schedules.iter().filter(|s| s.is_enabled) {
                let runner = Arc::new(Runner {
                    arn: arn(function, schedule),
                    function_arn: function.arn.clone(),
                    schedule: schedule.clone(),
                    invoker: invoker.clone(),
                    clock: clock.clone(),
                });
                tasks.spawn(runner.run(started_at));
            }
        }
        Self { _tasks: tasks }
    }
}

/// One schedule.
struct Runner {
    arn: String,
    function_arn: String,
    schedule: Schedule,
    invoker: Invoker,
    clock: Clock,
}

/// One firing: what the service calls an execution.
struct Firing {
    id: String,
    due_at: Timestamp,
}

impl Runner {
    async fn run(self: Arc<Self>, started_at: Timestamp) {
        let expression = &self.schedule.expression;
        let slots = Arc::new(Semaphore::new(MAX_FIRINGS));
        let mut firings = JoinSet::new();
        let mut next = if matches!(expression, Expression::Rate(..)) {
            Some(started_at)
        } else {
            expression.next_after(started_at)
        };
        while let Some(due_at) = next {
            self.clock.sleep_until(due_at).await;
            while firings.try_join_next().is_some() {}
            let now = self.clock.now();
            // Missed firings are not made up for: the next one lies ahead.
            next = expression
                .next_after(due_at)
                .filter(|next| *next > now)
                .or_else(|| expression.next_after(now));
            if clock::after(due_at, self.schedule.maximum_event_age) < now {
                tracing::warn!("{} missed its firing at {due_at}", self.arn);
                continue;
            }
            let Ok(slot) = Arc::clone(&slots).try_acquire_owned() else {
                tracing::warn!(
                    "{} skips its firing at {due_at}: {MAX_FIRINGS} are still going on",
                    self.arn
                );
                continue;
            };
            let runner = Arc::clone(&self);
            firings.spawn(async move {
                runner.fire(due_at).await;
                drop(slot);
            });
        }
        firings.join_all().await;
    }

    /// Invokes the function until it succeeds, the attempts are used up, or the firing is too old.
    async fn fire(&self, due_at: Timestamp) {
        let firing = Firing {
            id: Uuid::new_v4().to_string(),
            due_at,
        };
        let until = clock::after(due_at, self.schedule.maximum_event_age);
        let (mut wait, longest) = RETRY_WAITS;
        let mut attempt = 1_u32;
        loop {
            let event = self.event(&firing, attempt);
            let Err(error) = self.invoker.invoke(&self.function_arn, event).await else {
                return;
            };
            let again_at = clock::after(self.clock.now(), wait);
            if attempt > self.schedule.maximum_retry_attempts || again_at > until {
                tracing::error!(
                    "{} gives up its firing at {due_at} after {attempt} attempts: {error}",
                    self.arn
                );
                return;
            }
            tracing::warn!(
                "{} tries its firing at {due_at} again at {again_at}: {error}",
                self.arn
            );
            self.clock.sleep_until(again_at).await;
            wait = (wait * 2).min(longest);
            attempt += 1;
        }
    }

    /// The template's `Input` with the service's context attributes filled in, or else the
    /// service's own event.
    fn event(&self, firing: &Firing, attempt: u32) -> String {
        let Some(input) = &self.schedule.input else {
            return self.default_event(firing).to_string();
        };
        let context = [
            ("<aws.scheduler.schedule-arn>", self.arn.clone()),
            ("<aws.scheduler.scheduled-time>", time(firing.due_at)),
            ("<aws.scheduler.execution-id>", firing.id.clone()),
            ("<aws.scheduler.attempt-number>", attempt.to_string()),
        ];
        context
            .iter()
            .fold(input.to_string(), |input, (name, value)| {
                input.replace(name, value)
            })
    }

    fn default_event(&self, firing: &Firing) -> Value {
        let mut parts = self.arn.split(':').skip(3);
        let (region, account) = (parts.next(), parts.next());
        json!({
            "version": "0",
            "id": firing.id,
            "detail-type": "Scheduled Event",
            "source": "aws.scheduler",
            "account": account,
            "time": time(firing.due_at),
            "region": region,
            "resources": [self.arn],
            "detail": "{}", // a text, not an object
        })
    }
}

/// As SAM names it: the function's logical id and the event's key.
fn arn(function: &Function, schedule: &Schedule) -> String {
    let mut parts = function.arn.split(':').skip(3);
    let region = parts.next().unwrap_or_default();
    let account = parts.next().unwrap_or_default();
    let (logical_id, name) = (&function.logical_id, &schedule.name);
    format!("arn:aws:scheduler:{region}:{account}:schedule/default/{logical_id}{name}")
}

/// In whole seconds, as the service writes it.
fn time(moment: Timestamp) -> String {
    moment.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}
