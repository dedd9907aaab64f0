//! What requests bring, and the constraints that the service's model puts on it.

use std::collections::BTreeMap;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::error::{ApiError, Reason};

/// Tags of one cluster.
pub(super) type Tags = BTreeMap<String, String>;

/// Clusters that a page lists at most, and without a wish.
const MAX_RESULTS: usize = 100;
/// Tags that one request brings at most.
const MAX_TAGS: usize = 200;

/// What `CreateCluster` takes.
#[derive(Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct CreateCluster {
    pub(super) deletion_protection_enabled: Option<bool>,
    pub(super) kms_encryption_key: Option<String>,
    pub(super) metric_groups: Option<Vec<MetricGroup>>,
    pub(super) tags: Option<Tags>,
    #[serde(skip_serializing)]
    pub(super) client_token: Option<String>,
    multi_region_properties: Option<Value>,
    policy: Option<String>,
}

/// What `UpdateCluster` takes.
#[derive(Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct UpdateCluster {
    pub(super) deletion_protection_enabled: Option<bool>,
    pub(super) kms_encryption_key: Option<String>,
    pub(super) metric_groups: Option<Vec<MetricGroup>>,
    #[serde(skip_serializing)]
    pub(super) client_token: Option<String>,
    multi_region_properties: Option<Value>,
}

/// What `TagResource` takes.
#[derive(Debug, Deserialize)]
pub(super) struct TagResource {
    pub(super) tags: Tags,
}

/// A group of metrics of advanced monitoring; kept and told, and nothing else.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct MetricGroup {
    metric_group: MetricGroupName,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
enum MetricGroupName {
    StatementStatistics,
}

/// What `ListClusters` takes.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Page {
    pub(super) max_results: usize,
    /// The identifier of the last cluster of the page before.
    pub(super) after: Option<String>,
}

/// Reads a body.
pub(super) fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, ApiError> {
    let body = if body.is_empty() { b"{}" } else { body };
    serde_json::from_slice(body)
        .map_err(|error| ApiError::validation(Reason::CannotParse, error.to_string()))
}

impl CreateCluster {
    pub(super) fn check(&self) -> Result<(), ApiError> {
        check_key(self.kms_encryption_key.as_deref())?;
        check_token(self.client_token.as_deref())?;
        check_tags(self.tags.iter().flatten())?;
        refuse_peers(self.multi_region_properties.as_ref())?;
        if self.policy.is_some() {
            let message = "dsql-local has no resource-based policies";
            return Err(ApiError::validation(Reason::Other, message));
        }
        Ok(())
    }
}

impl UpdateCluster {
    pub(super) fn check(&self) -> Result<(), ApiError> {
        check_key(self.kms_encryption_key.as_deref())?;
        check_token(self.client_token.as_deref())?;
        refuse_peers(self.multi_region_properties.as_ref())
    }
}

impl Page {
    pub(super) fn of(parameters: impl Iterator<Item = (String, String)>) -> Result<Self, ApiError> {
        let mut page = Self {
            max_results: MAX_RESULTS,
            after: None,
        };
        for (name, value) in parameters {
            match name.as_str() {
                "max-results" => {
                    let wish = value.parse().ok();
                    page.max_results = wish
                        .filter(|wish| (1..=MAX_RESULTS).contains(wish))
                        .ok_or_else(|| ApiError::field("maxResults", "a number from 1 to 100"))?;
                }
                "next-token" => {
                    page.after = Some(read_next_token(&value)?);
                }
                _ => {}
            }
        }
        Ok(page)
    }
}

/// The token of the page after the cluster with this identifier.
pub(super) fn next_token(cluster_id: &str) -> String {
    hex::encode(cluster_id)
}

fn read_next_token(token: &str) -> Result<String, ApiError> {
    hex::decode(token)
        .ok()
        .and_then(|id| String::from_utf8(id).ok())
        .filter(|id| is_cluster_id(id))
        .ok_or_else(|| ApiError::field("nextToken", "a token that ListClusters returned"))
}

/// Whether the text could be the identifier of a cluster.
pub(super) fn is_cluster_id(text: &str) -> bool {
    let is_allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    text.len() == 26 && text.bytes().all(is_allowed)
}

/// Checks a `clientToken`.
pub(super) fn check_token(token: Option<&str>) -> Result<(), ApiError> {
    let is_valid = |token: &str| {
        (1..=128).contains(&token.len()) && token.bytes().all(|b| b.is_ascii_graphic())
    };
    if token.is_none_or(is_valid) {
        Ok(())
    } else {
        let must = "1 to 128 visible characters of ASCII";
        Err(ApiError::field("clientToken", must))
    }
}

/// Checks what is to be tagged.
pub(super) fn check_tags<'a>(
    tags: impl Iterator<Item = (&'a String, &'a String)> + Clone,
) -> Result<(), ApiError> {
    let is_allowed = |b: u8| b.is_ascii_alphanumeric() || b"_.:/=+-@ ".contains(&b);
    if tags.clone().count() > MAX_TAGS {
        return Err(ApiError::field("tags", "at most 200 tags"));
    }
    for (key, value) in tags {
        if !(1..=128).contains(&key.len()) || !key.bytes().all(is_allowed) {
            let must = "keys of 1 to 128 of the characters a-z A-Z 0-9 _ . : / = + - @ and space";
            return Err(ApiError::field("tags", must));
        }
        if key.starts_with("aws:") {
            return Err(ApiError::field("tags", "keys that do not begin with aws:"));
        }
        if value.len() > 256 || !value.bytes().all(is_allowed) {
            let must =
                "values of at most 256 of the characters a-z A-Z 0-9 _ . : / = + - @ and space";
            return Err(ApiError::field("tags", must));
        }
    }
    Ok(())
}

fn check_key(key: Option<&str>) -> Result<(), ApiError> {
    let is_allowed = |b: u8| b.is_ascii_alphanumeric() || b":/_-".contains(&b);
    let is_valid = |key: &str| (1..=2048).contains(&key.len()) && key.bytes().all(is_allowed);
    if key.is_none_or(is_valid) {
        Ok(())
    } else {
        Err(ApiError::field(
            "kmsEncryptionKey",
            "a key's ARN, id or alias",
        ))
    }
}

fn refuse_peers(properties: Option<&Value>) -> Result<(), ApiError> {
    if properties.is_none() {
        return Ok(());
    }
    let message = "dsql-local has no multi-Region clusters";
    Err(ApiError::validation(Reason::Other, message))
}
