//! Which operation a request is.

use hyper::Method;

use crate::principal::Action;
use crate::sigv4::decode;

/// An operation, with the identifier or the ARN that its path names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Operation {
    CreateCluster,
    ListClusters,
    GetCluster(String),
    UpdateCluster(String),
    DeleteCluster(String),
    GetVpcEndpointServiceName(String),
    TagResource(String),
    UntagResource(String),
    ListTagsForResource(String),
}

impl Operation {
    /// The operation of a method and a path; `None` if dsql-local has no such operation.
    pub(super) fn of(method: &Method, path: &str) -> Option<Self> {
        let path = path.strip_prefix('/')?;
        if let Some(arn) = path.strip_prefix("tags/") {
            let arn = decode(arn);
            return match *method {
                Method::GET => Some(Self::ListTagsForResource(arn)),
                Method::POST => Some(Self::TagResource(arn)),
                Method::DELETE => Some(Self::UntagResource(arn)),
                _ => None,
            };
        }
        let segments: Vec<&str> = path.split('/').collect();
        match (method, segments.as_slice()) {
            (&Method::POST, ["cluster"]) => Some(Self::CreateCluster),
            (&Method::GET, ["cluster"]) => Some(Self::ListClusters),
            (&Method::GET, ["cluster", id]) => Some(Self::GetCluster(decode(id))),
            (&Method::POST, ["cluster", id]) => Some(Self::UpdateCluster(decode(id))),
            (&Method::DELETE, ["cluster", id]) => Some(Self::DeleteCluster(decode(id))),
            (&Method::GET, ["clusters", id, "vpc-endpoint-service-name"]) => {
                Some(Self::GetVpcEndpointServiceName(decode(id)))
            }
            _ => None,
        }
    }

    /// What IAM has to allow.
    pub(super) fn action(&self) -> Action {
        match self {
            Self::CreateCluster => Action::CreateCluster,
            Self::ListClusters => Action::ListClusters,
            Self::GetCluster(_) => Action::GetCluster,
            Self::UpdateCluster(_) => Action::UpdateCluster,
            Self::DeleteCluster(_) => Action::DeleteCluster,
            Self::GetVpcEndpointServiceName(_) => Action::GetVpcEndpointServiceName,
            Self::TagResource(_) => Action::TagResource,
            Self::UntagResource(_) => Action::UntagResource,
            Self::ListTagsForResource(_) => Action::ListTagsForResource,
        }
    }
}
