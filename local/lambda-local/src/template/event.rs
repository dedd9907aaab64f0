//! Owns the events of functions: routes of an API, queues, schedules.

use std::time::Duration;

use jiff::tz::TimeZone;

use super::error::{Fault, Problem};
use super::fields::{Fields, Item};
use super::node::{Kind, Node};
use super::resource::ResourceKind;
use super::scope::Scope;
use crate::application::{QueueSource, Route, Schedule};
use crate::schedule::Expression;

const DEFAULT_ROUTE_TIMEOUT: Duration = Duration::from_secs(29);
const DEFAULT_RETRY_ATTEMPTS: u32 = 185;
const DEFAULT_EVENT_AGE: Duration = Duration::from_secs(86_400);
const DEFAULT_BATCH_SIZE: usize = 10;
const METHODS: [&str; 8] = [
    "ANY", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT",
];

/// What leads to one function.
#[derive(Debug, Default)]
pub(super) struct Events {
    /// Logical id of the API, line of the event, and the route.
    pub(super) routes: Vec<(String, usize, Route)>,
    pub(super) schedules: Vec<Schedule>,
    pub(super) queue_sources: Vec<QueueSource>,
}

pub(super) fn read(scope: &Scope<'_>, function: &str, events: Item<'_>) -> Result<Events, Fault> {
    let mut read = Events::default();
    for (name, event) in events.fields()?.drain()? {
        let line = event.line();
        let mut event = event.fields()?;
        let kind = event.require("Type")?;
        let type_name = kind.text()?;
        let properties = event.require("Properties")?.fields()?;
        event.finish()?;
        match type_name.as_str() {
            "Api" => {
                let (api, route) = route(scope, function, properties)?;
                read.routes.push((api, line, route));
            }
            "SQS" => read
                .queue_sources
                .push(queue_source(scope, name, properties)?),
            "Schedule" => read.schedules.push(rule(name, properties)?),
            "ScheduleV2" => read.schedules.push(schedule(name, properties)?),
            _ => {
                let problem = Problem::Unsupported(format!("the event type {type_name}"));
                return Err(kind.fault(problem));
            }
        }
    }
    Ok(read)
}

fn route(
    scope: &Scope<'_>,
    function: &str,
    mut fields: Fields<'_>,
) -> Result<(String, Route), Fault> {
    let no_api = fields.fault(Problem::Missing("RestApiId".to_owned()));
    let api_path = fields.path_of("RestApiId");
    let api = fields.take_unreduced("RestApiId").ok_or(no_api)?;
    let api = api_of(scope, &api, &api_path)?;
    let path = fields.require("Path")?;
    let path_text = path.text()?;
    if !is_resource_path(&path_text) {
        return Err(path.invalid(format!("{path_text} is not a path of an API")));
    }
    let method = fields.require("Method")?;
    let method_name = method.text()?.to_ascii_uppercase();
    let method_name = match method_name.as_str() {
        "X-AMAZON-APIGATEWAY-ANY-METHOD" | "*" => "ANY".to_owned(),
        name if METHODS.contains(&name) => name.to_owned(),
        name => return Err(method.invalid(format!("{name} is not a method of an API"))),
    };
    let mode = fields.take("ResponseTransferMode")?;
    let mode = mode.map_or(Ok("BUFFERED"), |item| {
        item.word(&["BUFFERED", "RESPONSE_STREAM"])
    })?;
    let is_streamed = mode == "RESPONSE_STREAM";
    let timeout = fields.take("TimeoutInMillis")?;
    let timeout = timeout.map_or(Ok(DEFAULT_ROUTE_TIMEOUT), |item| {
        item.number_within(50..=900_000).map(Duration::from_millis)
    })?;
    fields.finish()?;
    let route = Route {
        method: method_name,
        path: path_text,
        function: function.to_owned(),
        is_streamed,
        timeout,
    };
    Ok((api, route))
}

/// `/`, or segments of which the last alone may be greedy: a segment is text or one `{name}`.
fn is_resource_path(path: &str) -> bool {
    let Some(rest) = path.strip_prefix('/') else {
        return false;
    };
    if rest.is_empty() {
        return true;
    }
    let mut segments = rest.split('/').peekable();
    while let Some(segment) = segments.next() {
        let is_last = segments.peek().is_none();
        let name = segment
            .strip_prefix('{')
            .and_then(|name| name.strip_suffix('}'));
        let is_fine = match name {
            Some(name) => match name.strip_suffix('+') {
                Some(name) => is_last && !name.is_empty(),
                None => !name.is_empty(),
            },
            None => !segment.is_empty() && !segment.contains(['{', '}']),
        };
        if !is_fine {
            return false;
        }
    }
    true
}

/// The logical id of the API that an event names, which has to be one of the template.
fn api_of(scope: &Scope<'_>, node: &Node, path: &str) -> Result<String, Fault> {
    let fault = |problem| scope.fault(node.line, path, problem);
    let name = match &node.kind {
        Kind::Call(function, given) if function == "Ref" => scope.name(given, path)?,
        _ => {
            let text = "RestApiId has to be a Ref to an AWS::Serverless::Api".to_owned();
            return Err(fault(Problem::Invalid(text)));
        }
    };
    let api = scope.resource(name);
    let api = api.filter(|api| api.kind == ResourceKind::Api);
    let api = api.ok_or_else(|| fault(Problem::Undefined(format!("the API {name}"))))?;
    if !api.is_present {
        return Err(fault(Problem::Absent(name.to_owned())));
    }
    Ok(name.to_owned())
}

fn queue_source(
    scope: &Scope<'_>,
    name: String,
    mut fields: Fields<'_>,
) -> Result<QueueSource, Fault> {
    let queue = fields.require("Queue")?;
    let queue_arn = queue.text()?;
    require_queue(scope, &queue, &queue_arn)?;
    let batch = fields.take("BatchSize")?;
    let window = fields.take("MaximumBatchingWindowInSeconds")?;
    let batching_window = window.map_or(Ok(Duration::ZERO), |item| item.seconds(0..=300))?;
    let batch_size = match &batch {
        None => DEFAULT_BATCH_SIZE,
        Some(item) => item.number_within(1..=10_000)?,
    };
    if let Some(batch) = batch
        && batch_size > DEFAULT_BATCH_SIZE
        && batching_window.is_zero()
    {
        let text = "a BatchSize above 10 needs MaximumBatchingWindowInSeconds";
        return Err(batch.invalid(text));
    }
    let mut reports_item_failures = false;
    if let Some(types) = fields.take("FunctionResponseTypes")? {
        for item in types.list()? {
            item.word(&["ReportBatchItemFailures"])?;
            reports_item_failures = true;
        }
    }
    let maximum_concurrency = match fields.take("ScalingConfig")? {
        None => None,
        Some(config) => {
            let mut config = config.fields()?;
            let concurrency = config.take("MaximumConcurrency")?;
            config.finish()?;
            concurrency
                .map(|item| item.number_within(2..=1_000))
                .transpose()?
        }
    };
    let is_enabled = fields.boolean("Enabled", true)?;
    fields.ignore(&["KmsKeyArn", "MetricsConfig", "Tags"]);
    fields.finish()?;
    Ok(QueueSource {
        name,
        queue_arn,
        batch_size,
        batching_window,
        reports_item_failures,
        maximum_concurrency,
        is_enabled,
    })
}

/// Refuses a queue that is not one of the stack's.
pub(super) fn require_queue(scope: &Scope<'_>, item: &Item<'_>, arn: &str) -> Result<(), Fault> {
    for queue in &scope.resources {
        if queue.kind == ResourceKind::Queue && queue.is_present {
            let own = scope
                .queue_arn(queue)
                .map_err(|problem| item.fault(problem))?;
            if own == arn {
                return Ok(());
            }
        }
    }
    Err(item.fault(Problem::Undefined(format!("the queue {arn}"))))
}

/// A rule of `EventBridge`.
fn rule(name: String, mut fields: Fields<'_>) -> Result<Schedule, Fault> {
    let expression = expression(&fields.require("Schedule")?, TimeZone::UTC)?;
    let is_enabled = match fields.take("Enabled")? {
        Some(enabled) => enabled.boolean()?,
        None => state(&mut fields)?,
    };
    finish_schedule(name, expression, is_enabled, fields)
}

/// A schedule of `EventBridge` Scheduler.
fn schedule(name: String, mut fields: Fields<'_>) -> Result<Schedule, Fault> {
    let zone = match fields.take("ScheduleExpressionTimezone")? {
        None => TimeZone::UTC,
        Some(item) => {
            let name = item.text()?;
            TimeZone::get(&name).map_err(|_| item.invalid(format!("{name} is not a time zone")))?
        }
    };
    let expression = expression(&fields.require("ScheduleExpression")?, zone)?;
    if let Some(window) = fields.take("FlexibleTimeWindow")? {
        let mut window = window.fields()?;
        window.require("Mode")?.word(&["OFF"])?;
        window.finish()?;
    }
    let is_enabled = state(&mut fields)?;
    fields.ignore(&["GroupName", "KmsKeyArn", "OmitName", "PermissionsBoundary"]);
    finish_schedule(name, expression, is_enabled, fields)
}

fn expression(item: &Item<'_>, zone: TimeZone) -> Result<Expression, Fault> {
    let text = item.text()?;
    Expression::parse_in(&text, zone).map_err(|error| item.invalid(error.to_string()))
}

fn state(fields: &mut Fields<'_>) -> Result<bool, Fault> {
    let state = fields.take("State")?;
    let state = state.map_or(Ok("ENABLED"), |item| item.word(&["ENABLED", "DISABLED"]))?;
    Ok(state == "ENABLED")
}

fn finish_schedule(
    name: String,
    expression: Expression,
    is_enabled: bool,
    mut fields: Fields<'_>,
) -> Result<Schedule, Fault> {
    let input = match fields.take("Input")? {
        None => None,
        Some(item) => {
            let value = serde_json::from_str(&item.text()?);
            Some(value.map_err(|error| item.invalid(format!("Input is not JSON: {error}")))?)
        }
    };
    let mut maximum_retry_attempts = DEFAULT_RETRY_ATTEMPTS;
    let mut maximum_event_age = DEFAULT_EVENT_AGE;
    if let Some(policy) = fields.take("RetryPolicy")? {
        let mut policy = policy.fields()?;
        if let Some(item) = policy.take("MaximumRetryAttempts")? {
            maximum_retry_attempts = item.number_within(0..=185)?;
        }
        if let Some(item) = policy.take("MaximumEventAgeInSeconds")? {
            maximum_event_age = item.seconds(60..=86_400)?;
        }
        policy.finish()?;
    }
    fields.ignore(&["Name", "Description", "RoleArn"]);
    fields.finish()?;
    Ok(Schedule {
        name,
        expression,
        input,
        is_enabled,
        maximum_retry_attempts,
        maximum_event_age,
    })
}
