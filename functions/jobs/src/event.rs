//! What the function is invoked with: a batch of the queue, or a direct call. Only what is an
//! object is read as one.

use aws_lambda_events::sqs::SqsEvent;
use serde_json::{Map, Value};

/// What is to be done.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Event {
    /// What the queue delivers.
    Batch(Vec<Delivered>),
    /// One job.
    Job(String),
    /// All that are due.
    Due,
}

/// A message of the queue, not read yet.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Delivered {
    /// What the queue knows it by.
    pub(crate) id: String,
    pub(crate) body: String,
}

/// Reads an event, or says why it is invalid.
pub(crate) fn read(event: Value) -> Result<Event, String> {
    let Value::Object(fields) = &event else {
        return Err("it is no object".to_owned());
    };
    if !fields.contains_key("Records") {
        return match (job_id(fields), fields.get("run").and_then(Value::as_str)) {
            (Some(id), _) => Ok(Event::Job(id.to_owned())),
            (None, Some("due")) => Ok(Event::Due),
            (None, _) => Err("it has none of them".to_owned()),
        };
    }
    let batch: SqsEvent = serde_json::from_value(event).map_err(|error| error.to_string())?;
    let records = batch.records.into_iter().map(|record| Delivered {
        id: record.message_id.unwrap_or_default(),
        body: record.body.unwrap_or_default(),
    });
    Ok(Event::Batch(records.collect()))
}

/// The job that the body of a message names.
pub(crate) fn named(body: &str) -> Result<String, String> {
    let fields: Map<String, Value> =
        serde_json::from_str(body).map_err(|error| error.to_string())?;
    let id = job_id(&fields).ok_or("it has no \"jobId\" that is a text")?;
    Ok(id.to_owned())
}

fn job_id(fields: &Map<String, Value>) -> Option<&str> {
    fields.get("jobId")?.as_str()
}
