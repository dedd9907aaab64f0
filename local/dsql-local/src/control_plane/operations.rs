//! What each operation does, and what it answers.

use serde_json::{Value, json};

use super::error::{ApiError, Reason};
use super::input::{self, CreateCluster, Page, TagResource, UpdateCluster};
use super::operation::Operation;
use super::output::{self, SERVICE_KEY};
use super::register::{Record, State, Status};
use super::{ControlPlane, epoch_ms};
use crate::data_dir::new_cluster_id;
use crate::principal::{Action, Principal};
use crate::region::Region;

/// Tags that a cluster may have.
const MAX_TAGS: usize = 50;

impl ControlPlane {
    /// Carries out an operation that `signer` asks for.
    pub(super) fn perform(
        &self,
        operation: &Operation,
        signer: &Principal,
        mut parameters: impl Iterator<Item = (String, String)>,
        body: &[u8],
    ) -> Result<Value, ApiError> {
        let cluster_id = self.cluster_of(operation)?;
        let allow = |action| authorize(&self.clusters.region, signer, action, &cluster_id);
        allow(operation.action())?;
        match operation {
            Operation::CreateCluster => {
                let input: CreateCluster = input::parse(body)?;
                input.check()?;
                if input.tags.as_ref().is_some_and(|tags| !tags.is_empty()) {
                    allow(Action::TagResource)?;
                }
                self.create(input)
            }
            Operation::ListClusters => self.list(&Page::of(parameters)?),
            Operation::GetCluster(_) => self.read(&cluster_id, output::description),
            Operation::UpdateCluster(_) => {
                let input: UpdateCluster = input::parse(body)?;
                input.check()?;
                self.update(&cluster_id, input)
            }
            Operation::DeleteCluster(_) => {
                let token = parameters.find(|(name, _)| name == "client-token");
                let token = token.map(|(_, value)| value);
                input::check_token(token.as_deref())?;
                self.delete(&cluster_id, token)
            }
            Operation::GetVpcEndpointServiceName(_) => self.read(&cluster_id, output::vpc_endpoint),
            Operation::ListTagsForResource(_) => {
                self.read(&cluster_id, |_, record| json!({"tags": record.tags}))
            }
            Operation::TagResource(_) => {
                let input: TagResource = input::parse(body)?;
                input::check_tags(input.tags.iter())?;
                self.tag(&cluster_id, input)
            }
            Operation::UntagResource(_) => {
                let keys: Vec<String> = parameters
                    .filter(|(name, _)| name == "tagKeys")
                    .map(|(_, value)| value)
                    .collect();
                self.register.change(|state| {
                    let record = state.get_mut(&cluster_id)?;
                    record.tags.retain(|key, _| !keys.contains(key));
                    Ok(json!({}))
                })
            }
        }
    }

    /// The identifier of the cluster that an operation is about; `*` for all of them.
    fn cluster_of(&self, operation: &Operation) -> Result<String, ApiError> {
        match operation {
            Operation::CreateCluster | Operation::ListClusters => Ok("*".to_owned()),
            Operation::GetCluster(id)
            | Operation::UpdateCluster(id)
            | Operation::DeleteCluster(id)
            | Operation::GetVpcEndpointServiceName(id) => {
                if input::is_cluster_id(id) {
                    Ok(id.clone())
                } else {
                    Err(ApiError::field(
                        "identifier",
                        "26 of the characters a-z 0-9",
                    ))
                }
            }
            Operation::TagResource(arn)
            | Operation::UntagResource(arn)
            | Operation::ListTagsForResource(arn) => {
                let id = arn.rsplit('/').next().unwrap_or_default();
                if !arn.starts_with("arn:") {
                    Err(ApiError::field("resourceArn", "an ARN"))
                } else if self.clusters.region.cluster_arn(id) == *arn {
                    Ok(id.to_owned())
                } else {
                    Err(ApiError::NotFound(arn.clone()))
                }
            }
        }
    }

    fn read(
        &self,
        cluster_id: &str,
        output: impl FnOnce(&Region, &Record) -> Value,
    ) -> Result<Value, ApiError> {
        let region = &self.clusters.region;
        self.register
            .read(|state| Ok(output(region, state.get(cluster_id)?)))
    }

    fn create(&self, input: CreateCluster) -> Result<Value, ApiError> {
        let region = &self.clusters.region;
        let cluster_id = new_cluster_id();
        let (created, is_new) = self.once(
            Action::CreateCluster,
            input.client_token.clone(),
            json!(input).to_string(),
            |state| {
                let record = Record {
                    identifier: cluster_id.clone(),
                    status: Status::Creating,
                    created_ms: epoch_ms(region.clock.now()),
                    deletion_protection_enabled: input.deletion_protection_enabled.unwrap_or(true),
                    kms_key_arn: key_arn(region, input.kms_encryption_key),
                    metric_groups: input.metric_groups.unwrap_or_default(),
                    tags: input.tags.unwrap_or_default(),
                };
                if state.count() >= self.max_clusters {
                    return Err(ApiError::QuotaExceeded {
                        message: "You have reached the cluster limit.",
                        cluster_id: record.identifier,
                        quota: "clusters",
                    });
                }
                check_tag_count(&record)?;
                let output = output::created(region, &record);
                state.insert(record);
                Ok(output)
            },
        )?;
        if is_new {
            // Fails while dsql-local stops; with a data directory it is started the next time.
            let _ = self.starter.send(cluster_id);
        }
        Ok(created)
    }

    fn list(&self, page: &Page) -> Result<Value, ApiError> {
        let region = &self.clusters.region;
        self.register.read(|state| {
            let mut rest = state.list(page.after.as_deref());
            let records: Vec<&Record> = rest.by_ref().take(page.max_results).collect();
            Ok(output::list(region, &records, rest.next().is_some()))
        })
    }

    fn update(&self, cluster_id: &str, input: UpdateCluster) -> Result<Value, ApiError> {
        let region = &self.clusters.region;
        let (updated, _) = self.once(
            Action::UpdateCluster,
            input.client_token.clone(),
            format!("{cluster_id} {}", json!(input)),
            |state| {
                let record = state.get_mut(cluster_id)?;
                if record.status != Status::Active {
                    return Err(busy(record));
                }
                if input.deletion_protection_enabled == Some(false)
                    && cluster_id == self.default_cluster
                {
                    return Err(ApiError::Conflict {
                        message: "dsql-local's default cluster keeps its deletion protection"
                            .to_owned(),
                        cluster_id: cluster_id.to_owned(),
                    });
                }
                if let Some(enabled) = input.deletion_protection_enabled {
                    record.deletion_protection_enabled = enabled;
                }
                if let Some(groups) = input.metric_groups {
                    record.metric_groups = groups;
                }
                if let Some(key) = input.kms_encryption_key {
                    let key = Some(key).filter(|key| key != SERVICE_KEY);
                    record.kms_key_arn = key_arn(region, key);
                }
                // Over before anybody can ask.
                Ok(output::outline(region, record, Status::Updating))
            },
        )?;
        Ok(updated)
    }

    fn delete(&self, cluster_id: &str, client_token: Option<String>) -> Result<Value, ApiError> {
        let region = &self.clusters.region;
        let request = cluster_id.to_owned();
        let (deleted, _) = self.once(Action::DeleteCluster, client_token, request, |state| {
            let record = state.get_mut(cluster_id)?;
            if record.deletion_protection_enabled {
                let message = format!("Cluster {cluster_id} has deletion protection enabled");
                let reason = Reason::DeletionProtectionEnabled;
                return Err(ApiError::validation(reason, message));
            }
            if record.status == Status::Creating {
                return Err(busy(record));
            }
            record.status = Status::Deleting;
            Ok(output::outline(region, record, record.status))
        })?;
        Ok(deleted)
    }

    fn tag(&self, cluster_id: &str, input: TagResource) -> Result<Value, ApiError> {
        self.register.change(|state| {
            let record = state.get_mut(cluster_id)?;
            record.tags.extend(input.tags);
            check_tag_count(record)?;
            Ok(json!({}))
        })
    }

    /// Changes the state and answers; or answers what was answered to the same request before,
    /// which the same token tells. Says which of the two.
    fn once(
        &self,
        action: Action,
        client_token: Option<String>,
        request: String,
        change: impl FnOnce(&mut State) -> Result<Value, ApiError>,
    ) -> Result<(Value, bool), ApiError> {
        self.register.change(|state| {
            if let Some(response) = state.answered(action, client_token.as_deref(), &request)? {
                return Ok((response, false));
            }
            let response = change(state)?;
            state.remember(action, client_token, request, response.clone());
            Ok((response, true))
        })
    }
}

fn authorize(
    region: &Region,
    signer: &Principal,
    action: Action,
    cluster_id: &str,
) -> Result<(), ApiError> {
    if signer.actions.contains(&action) {
        return Ok(());
    }
    let denial = signer.denial(action, &region.cluster_arn(cluster_id));
    Err(ApiError::AccessDenied(denial))
}

fn busy(record: &Record) -> ApiError {
    let (id, status) = (&record.identifier, json!(record.status));
    let status = status.as_str().unwrap_or_default();
    ApiError::Conflict {
        message: format!("Cluster {id} is {status} and cannot be changed now"),
        cluster_id: id.clone(),
    }
}

fn check_tag_count(record: &Record) -> Result<(), ApiError> {
    if record.tags.len() <= MAX_TAGS {
        return Ok(());
    }
    Err(ApiError::QuotaExceeded {
        message: "A cluster can have at most 50 tags.",
        cluster_id: record.identifier.clone(),
        quota: "tags",
    })
}

fn key_arn(region: &Region, key: Option<String>) -> Option<String> {
    let key = key?;
    if key.starts_with("arn:") {
        return Some(key);
    }
    let resource = if key.starts_with("alias/") {
        key
    } else {
        format!("key/{key}")
    };
    let (region, account) = (&region.name, &region.account_id);
    Some(format!("arn:aws:kms:{region}:{account}:{resource}"))
}
