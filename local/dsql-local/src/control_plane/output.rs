//! What operations answer about clusters.

use std::time::Duration;

use serde::Serialize;
use serde_json::{Value, json};

use super::input::{MetricGroup, Tags, next_token};
use super::register::{Record, Status};
use crate::region::Region;

/// Names the service's own key, here and in `UpdateCluster`.
pub(super) const SERVICE_KEY: &str = "AWS_OWNED_KMS_KEY";

/// A page of a list.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct List {
    clusters: Vec<Summary>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_token: Option<String>,
}

#[derive(Serialize)]
struct Summary {
    identifier: String,
    arn: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Outline {
    #[serde(flatten)]
    summary: Summary,
    status: Status,
    creation_time: f64,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Description<'a> {
    #[serde(flatten)]
    outline: Outline,
    deletion_protection_enabled: bool,
    endpoint: String,
    metric_groups: &'a [MetricGroup],
    encryption_details: EncryptionDetails<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tags: Option<&'a Tags>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct EncryptionDetails<'a> {
    encryption_type: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    kms_key_arn: Option<&'a str>,
    encryption_status: &'static str,
}

/// A page of clusters, and whether there are more behind it.
pub(super) fn list(region: &Region, records: &[&Record], has_more: bool) -> Value {
    let clusters = records.iter().map(|record| Summary::of(region, record));
    let last = records.last().filter(|_| has_more);
    json!(List {
        clusters: clusters.collect(),
        next_token: last.map(|record| next_token(&record.identifier)),
    })
}

/// What an answer about a cluster tells at least.
pub(super) fn outline(region: &Region, record: &Record, status: Status) -> Value {
    json!(Outline::of(region, record, status))
}

/// What `CreateCluster` answers.
pub(super) fn created(region: &Region, record: &Record) -> Value {
    json!(Description::of(region, record, None))
}

/// What `GetCluster` answers.
pub(super) fn description(region: &Region, record: &Record) -> Value {
    json!(Description::of(region, record, Some(&record.tags)))
}

/// Names of the form that the service gives; nothing answers there.
pub(super) fn vpc_endpoint(region: &Region, record: &Record) -> Value {
    let (name, cluster_id) = (&region.name, &record.identifier);
    let suffix = cluster_id.get(..4).unwrap_or_default();
    json!({
        "serviceName": format!("com.amazonaws.{name}.dsql-{suffix}"),
        "clusterVpcEndpoint": format!("{cluster_id}.dsql-{suffix}.{name}.on.aws"),
    })
}

impl Summary {
    fn of(region: &Region, record: &Record) -> Self {
        Self {
            identifier: record.identifier.clone(),
            arn: region.cluster_arn(&record.identifier),
        }
    }
}

impl Outline {
    fn of(region: &Region, record: &Record, status: Status) -> Self {
        Self {
            summary: Summary::of(region, record),
            status,
            creation_time: Duration::from_millis(record.created_ms).as_secs_f64(),
        }
    }
}

impl<'a> Description<'a> {
    fn of(region: &Region, record: &'a Record, tags: Option<&'a Tags>) -> Self {
        let kms_key_arn = record.kms_key_arn.as_deref();
        Self {
            outline: Outline::of(region, record, record.status),
            deletion_protection_enabled: record.deletion_protection_enabled,
            endpoint: region.host(&record.identifier),
            metric_groups: &record.metric_groups,
            encryption_details: EncryptionDetails {
                encryption_type: match kms_key_arn {
                    Some(_) => "CUSTOMER_MANAGED_KMS_KEY",
                    None => SERVICE_KEY,
                },
                kms_key_arn,
                encryption_status: "ENABLED",
            },
            tags,
        }
    }
}
