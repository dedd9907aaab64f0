//! What the control plane knows of clusters: how each was made, what state it is in, and what was
//! answered to whom. It changes as a whole, and is kept in a file where there is a data directory.

use std::collections::{BTreeMap, VecDeque};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::sync::watch;

use super::error::ApiError;
use super::input::{MetricGroup, Tags};
use crate::data_dir::{DataDirError, write_file};
use crate::principal::Action;

/// Answers that are remembered for a second request with the same token.
const MAX_ANSWERS: usize = 1000;

/// The state of a cluster, as the service names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub(super) enum Status {
    Creating,
    Active,
    /// Told to whom asked for it, and over then.
    Updating,
    Deleting,
    Failed,
}

/// A cluster.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Record {
    pub(super) identifier: String,
    pub(super) status: Status,
    /// Milliseconds since 1970.
    pub(super) created_ms: u64,
    pub(super) deletion_protection_enabled: bool,
    /// The key that was asked for; nothing is encrypted with it.
    pub(super) kms_key_arn: Option<String>,
    pub(super) metric_groups: Vec<MetricGroup>,
    pub(super) tags: Tags,
}

/// What was answered to a request with a client token.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Answer {
    action: Action,
    client_token: String,
    /// The request without its token.
    request: String,
    response: Value,
}

impl Answer {
    /// The cluster that it tells of.
    fn cluster_id(&self) -> &str {
        let identifier = self.response.get("identifier").and_then(Value::as_str);
        identifier.unwrap_or_default()
    }
}

/// All that is known.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct State {
    /// By identifier.
    clusters: BTreeMap<String, Record>,
    answers: VecDeque<Answer>,
}

impl State {
    pub(super) fn get(&self, cluster_id: &str) -> Result<&Record, ApiError> {
        self.clusters
            .get(cluster_id)
            .ok_or_else(|| ApiError::NotFound(cluster_id.to_owned()))
    }

    pub(super) fn get_mut(&mut self, cluster_id: &str) -> Result<&mut Record, ApiError> {
        self.clusters
            .get_mut(cluster_id)
            .ok_or_else(|| ApiError::NotFound(cluster_id.to_owned()))
    }

    pub(super) fn insert(&mut self, record: Record) {
        self.clusters.insert(record.identifier.clone(), record);
    }

    pub(super) fn count(&self) -> usize {
        self.clusters.len()
    }

    /// All clusters behind `after`, by identifier.
    pub(super) fn list(&self, after: Option<&str>) -> impl Iterator<Item = &Record> {
        self.clusters
            .values()
            .filter(move |record| after.is_none_or(|after| record.identifier.as_str() > after))
    }

    /// What was answered to the same request before.
    pub(super) fn answered(
        &self,
        action: Action,
        client_token: Option<&str>,
        request: &str,
    ) -> Result<Option<Value>, ApiError> {
        let is_it = |answer: &&Answer| {
            answer.action == action && Some(answer.client_token.as_str()) == client_token
        };
        match self.answers.iter().find(is_it) {
            Some(answer) if answer.request == request => Ok(Some(answer.response.clone())),
            Some(answer) => Err(ApiError::Conflict {
                message: "The clientToken was used with other parameters".to_owned(),
                cluster_id: answer.cluster_id().to_owned(),
            }),
            None => Ok(None),
        }
    }

    /// Remembers what is answered to a request.
    pub(super) fn remember(
        &mut self,
        action: Action,
        client_token: Option<String>,
        request: String,
        response: Value,
    ) {
        let Some(client_token) = client_token else {
            return;
        };
        if self.answers.len() == MAX_ANSWERS {
            self.answers.pop_front();
        }
        self.answers.push_back(Answer {
            action,
            client_token,
            request,
            response,
        });
    }
}

/// The state, its file, and those who wait for a change.
pub(super) struct Register {
    file: Option<PathBuf>,
    state: watch::Sender<State>,
}

impl Register {
    /// What the file says. `default` is the cluster that is there already; the others are to be
    /// started, and what was being deleted is gone.
    pub(super) fn open(file: Option<PathBuf>, default: Record) -> Result<Self, DataDirError> {
        let mut state = file.as_deref().map_or_else(|| Ok(State::default()), read)?;
        state
            .clusters
            .retain(|_, record| record.status != Status::Deleting);
        for record in state.clusters.values_mut() {
            record.status = Status::Creating;
        }
        let default = state
            .clusters
            .entry(default.identifier.clone())
            .or_insert(default);
        default.status = Status::Active;
        let register = Self {
            file,
            state: watch::Sender::new(State::default()),
        };
        register.save(&state)?;
        register.state.send_replace(state);
        Ok(register)
    }

    /// Looks at the state.
    pub(super) fn read<T>(&self, look: impl FnOnce(&State) -> T) -> T {
        look(&self.state.borrow())
    }

    /// Changes the state and its file, or neither.
    pub(super) fn change<T>(
        &self,
        change: impl FnOnce(&mut State) -> Result<T, ApiError>,
    ) -> Result<T, ApiError> {
        let mut outcome = Err(ApiError::Internal);
        self.state.send_if_modified(|state| {
            let mut next = state.clone();
            outcome = change(&mut next).and_then(|changed| match self.save(&next) {
                Ok(()) => Ok(changed),
                Err(error) => {
                    tracing::error!(error = %error, "cannot keep what the control plane knows");
                    Err(ApiError::Internal)
                }
            });
            if outcome.is_ok() {
                *state = next;
            }
            outcome.is_ok()
        });
        outcome
    }

    pub(super) fn set_status(&self, cluster_id: &str, status: Status) {
        let set = self.change(|state| {
            state.get_mut(cluster_id)?.status = status;
            Ok(())
        });
        if let Err(error) = set {
            tracing::warn!(error = %error, "cannot change the state of {cluster_id}");
        }
    }

    /// Forgets a cluster.
    pub(super) fn remove(&self, cluster_id: &str) {
        let removed = self.change(|state| Ok(state.clusters.remove(cluster_id)));
        if let Err(error) = removed {
            tracing::warn!(error = %error, "cannot forget {cluster_id}");
        }
    }

    /// Waits for a state.
    pub(super) async fn wait_for(&self, is_it: impl FnMut(&State) -> bool) {
        // The sender lives in `self`.
        let _ = self.state.subscribe().wait_for(is_it).await;
    }

    fn save(&self, state: &State) -> Result<(), DataDirError> {
        let Some(file) = &self.file else {
            return Ok(());
        };
        let text = serde_json::to_vec_pretty(state).expect("maps with keys of text serialise");
        write_file(file, &text, 0o600)
    }
}

fn read(file: &std::path::Path) -> Result<State, DataDirError> {
    match std::fs::read(file) {
        Ok(text) => serde_json::from_slice(&text).map_err(|error| DataDirError::Damaged {
            path: file.to_owned(),
            reason: error.to_string(),
        }),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(State::default()),
        Err(source) => Err(DataDirError::File {
            action: "read",
            path: file.to_owned(),
            source,
        }),
    }
}
