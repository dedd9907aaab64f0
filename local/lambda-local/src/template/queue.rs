//! Owns `AWS::SQS::Queue`.

use std::time::Duration;

use super::error::Fault;
use super::event::require_queue;
use super::fields::Item;
use super::resource::Resource;
use super::scope::Scope;
use crate::application::{Queue, Redrive};

const DEFAULT_VISIBILITY: Duration = Duration::from_secs(30);
const DEFAULT_RETENTION: Duration = Duration::from_secs(345_600);

/// Properties that have no effect here.
const WITHOUT_EFFECT: [&str; 5] = [
    "KmsDataKeyReusePeriodSeconds",
    "KmsMasterKeyId",
    "RedriveAllowPolicy",
    "SqsManagedSseEnabled",
    "Tags",
];

pub(super) fn read(scope: &Scope<'_>, resource: &Resource) -> Result<Queue, Fault> {
    let path = format!("{}.Properties", resource.path());
    let at = |problem| scope.fault(resource.line, &resource.path(), problem);
    let mut fields = scope.item(&resource.properties, &path)?.fields()?;
    fields.ignore(&["QueueName"]);
    if let Some(fifo) = fields.take("FifoQueue")?
        && fifo.boolean()?
    {
        return Err(fifo.invalid("a FIFO queue is not supported"));
    }
    let visibility = fields.take("VisibilityTimeout")?;
    let retention = fields.take("MessageRetentionPeriod")?;
    let delay = fields.take("DelaySeconds")?;
    let redrive = fields.take("RedrivePolicy")?;
    fields.ignore(&WITHOUT_EFFECT);
    fields.finish()?;
    Ok(Queue {
        logical_id: resource.logical_id.clone(),
        name: scope.queue_name(resource).map_err(at)?,
        arn: scope.queue_arn(resource).map_err(at)?,
        visibility_timeout: visibility
            .map_or(Ok(DEFAULT_VISIBILITY), |item| item.seconds(0..=43_200))?,
        retention: retention.map_or(Ok(DEFAULT_RETENTION), |item| item.seconds(60..=1_209_600))?,
        delay: delay.map_or(Ok(Duration::ZERO), |item| item.seconds(0..=900))?,
        redrive: redrive.map(|item| read_redrive(scope, item)).transpose()?,
    })
}

fn read_redrive(scope: &Scope<'_>, item: Item<'_>) -> Result<Redrive, Fault> {
    let mut fields = item.fields()?;
    let target = fields.require("deadLetterTargetArn")?;
    let dead_letter_arn = target.text()?;
    require_queue(scope, &target, &dead_letter_arn)?;
    let max_receive_count = fields.require("maxReceiveCount")?;
    let max_receive_count = max_receive_count.number_within(1..=1_000)?;
    fields.finish()?;
    Ok(Redrive {
        dead_letter_arn,
        max_receive_count,
    })
}
