//! Owns the file in which a stack's custom resources are remembered between starts.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::answer::Answer;
use super::outcome::{Change, CustomResourceError, Provisioned};
use crate::application::CustomResource;

/// What is known of one resource.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Known {
    service_token: String,
    pub(super) physical_resource_id: String,
    /// `ResourceProperties` of the last request that succeeded.
    pub(super) properties: Map<String, Value>,
    attributes: BTreeMap<String, String>,
}

impl Known {
    pub(super) fn new(resource: &CustomResource, answer: Answer) -> Self {
        Self {
            service_token: resource.service_token.clone(),
            physical_resource_id: answer.physical_resource_id,
            properties: properties(resource),
            attributes: answer.attributes,
        }
    }

    pub(super) fn is_as(&self, resource: &CustomResource) -> bool {
        self.service_token == resource.service_token && self.properties == properties(resource)
    }

    pub(super) fn provisioned(&self, change: Change) -> Provisioned {
        Provisioned {
            physical_resource_id: self.physical_resource_id.clone(),
            attributes: self.attributes.clone(),
            change,
        }
    }

    /// The resource as it was when this was written down.
    pub(super) fn resource(&self, resource: &CustomResource) -> CustomResource {
        CustomResource {
            service_token: self.service_token.clone(),
            properties: self.properties.clone(),
            ..resource.clone()
        }
    }
}

/// `ResourceProperties` of a request: `ServiceToken` is among them.
pub(super) fn properties(resource: &CustomResource) -> Map<String, Value> {
    let mut properties = resource.properties.clone();
    let token = resource.service_token.clone();
    properties
        .entry("ServiceToken")
        .or_insert_with(|| token.into());
    properties
}

/// Every resource that is known, by logical id, and the file that says so.
#[derive(Debug)]
pub(super) struct State {
    path: PathBuf,
    resources: BTreeMap<String, Known>,
}

impl State {
    pub(super) async fn read(path: PathBuf) -> Result<Self, CustomResourceError> {
        let text = tokio::fs::read(&path).await;
        let resources = match text {
            Ok(text) => serde_json::from_slice(&text).map_err(io::Error::from),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(BTreeMap::new()),
            Err(error) => Err(error),
        };
        match resources {
            Ok(resources) => Ok(Self { path, resources }),
            Err(source) => Err(CustomResourceError::State { path, source }),
        }
    }

    pub(super) fn get(&self, logical_id: &str) -> Option<&Known> {
        self.resources.get(logical_id)
    }

    /// Remembers or forgets a resource. The file is replaced whole, so that a process that ends
    /// here leaves the old one.
    pub(super) async fn put(
        &mut self,
        logical_id: &str,
        known: Option<Known>,
    ) -> Result<(), CustomResourceError> {
        match known {
            Some(known) => self.resources.insert(logical_id.to_owned(), known),
            None => self.resources.remove(logical_id),
        };
        let failed = |source| CustomResourceError::State {
            path: self.path.clone(),
            source,
        };
        let text = serde_json::to_vec_pretty(&self.resources);
        let text = text.map_err(|error| failed(error.into()))?;
        let next = self.path.with_extension("next");
        tokio::fs::write(&next, text).await.map_err(failed)?;
        tokio::fs::rename(&next, &self.path).await.map_err(failed)
    }
}
