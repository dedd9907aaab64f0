//! How handling a custom resource ended.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;

use crate::invoker::InvokeError;

/// A resource that is as the template has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Provisioned {
    /// What the provider calls it; what `Ref` yields.
    pub physical_resource_id: String,
    /// What `GetAtt` yields, by name.
    pub attributes: BTreeMap<String, String>,
    /// What was done.
    pub change: Change,
}

/// What a start did to a resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// It was not there.
    Created,
    /// Its properties changed.
    Updated,
    /// The provider was not asked.
    Unchanged,
}

/// Why a custom resource is not as the template has it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CustomResourceError {
    /// The provider answered `FAILED`.
    #[error("{request} of {resource} failed: {reason}")]
    Failed {
        /// `Create`, `Update` or `Delete`.
        request: &'static str,
        /// Its logical id.
        resource: String,
        /// `Reason` of the answer.
        reason: String,
    },
    /// The answer is not one that CloudFormation takes.
    #[error("{request} of {resource} got an invalid answer: {problem}")]
    InvalidAnswer {
        /// `Create`, `Update` or `Delete`.
        request: &'static str,
        /// Its logical id.
        resource: String,
        /// What is wrong with it.
        problem: String,
    },
    /// The function ended with an error before it answered.
    #[error("{request} of {resource} got no answer: the function failed")]
    Function {
        /// `Create`, `Update` or `Delete`.
        request: &'static str,
        /// Its logical id.
        resource: String,
        /// Its error.
        source: InvokeError,
    },
    /// No answer came within `ServiceTimeout`.
    #[error(
        "{request} of {resource} got no answer within {seconds} s (ServiceTimeout): nothing was sent to its ResponseURL"
    )]
    TimedOut {
        /// `Create`, `Update` or `Delete`.
        request: &'static str,
        /// Its logical id.
        resource: String,
        /// `ServiceTimeout`.
        seconds: u64,
    },
    /// The file of the state cannot be read or written.
    #[error("the state of custom resources in {path} cannot be used")]
    State {
        /// Its path.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// No port for the answers.
    #[error("the server for answers does not start")]
    Server(#[source] io::Error),
}
