//! Who may connect: access keys, what IAM allows them, and how their ARNs match a role mapping.

use std::collections::HashMap;
use std::fmt;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

use serde::{Deserialize, Deserializer, Serialize};

/// A secret string. `Debug` does not show it, and there is no `Display`.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    /// Wraps a secret.
    pub fn new(secret: impl Into<String>) -> Self {
        Self(secret.into())
    }

    /// The secret itself.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<redacted>")
    }
}

/// What IAM allows: to connect, which a token asks for, and the operations of the control plane.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Action {
    /// `dsql:DbConnect`: connect as a role that is mapped to the principal.
    DbConnect,
    /// `dsql:DbConnectAdmin`: connect as `admin`.
    DbConnectAdmin,
    /// `dsql:CreateCluster`.
    CreateCluster,
    /// `dsql:GetCluster`.
    GetCluster,
    /// `dsql:ListClusters`.
    ListClusters,
    /// `dsql:UpdateCluster`.
    UpdateCluster,
    /// `dsql:DeleteCluster`.
    DeleteCluster,
    /// `dsql:GetVpcEndpointServiceName`.
    GetVpcEndpointServiceName,
    /// `dsql:TagResource`.
    TagResource,
    /// `dsql:UntagResource`.
    UntagResource,
    /// `dsql:ListTagsForResource`.
    ListTagsForResource,
}

impl Action {
    /// All of them.
    pub const ALL: [Self; 11] = [
        Self::DbConnect,
        Self::DbConnectAdmin,
        Self::CreateCluster,
        Self::GetCluster,
        Self::ListClusters,
        Self::UpdateCluster,
        Self::DeleteCluster,
        Self::GetVpcEndpointServiceName,
        Self::TagResource,
        Self::UntagResource,
        Self::ListTagsForResource,
    ];

    /// The action's name, in a token and in a policy behind `dsql:`.
    pub fn name(self) -> &'static str {
        match self {
            Self::DbConnect => "DbConnect",
            Self::DbConnectAdmin => "DbConnectAdmin",
            Self::CreateCluster => "CreateCluster",
            Self::GetCluster => "GetCluster",
            Self::ListClusters => "ListClusters",
            Self::UpdateCluster => "UpdateCluster",
            Self::DeleteCluster => "DeleteCluster",
            Self::GetVpcEndpointServiceName => "GetVpcEndpointServiceName",
            Self::TagResource => "TagResource",
            Self::UntagResource => "UntagResource",
            Self::ListTagsForResource => "ListTagsForResource",
        }
    }

    /// The action that a token with this name asks for.
    pub(crate) fn of_token(name: &str) -> Option<Self> {
        [Self::DbConnect, Self::DbConnectAdmin]
            .into_iter()
            .find(|action| action.name() == name)
    }

    /// The action that Aurora DSQL requires for a startup user; only the exact name `admin` is the
    /// administrator.
    pub(crate) fn required_for(user: &str) -> Self {
        if user == "admin" {
            Self::DbConnectAdmin
        } else {
            Self::DbConnect
        }
    }
}

/// One IAM identity with one access key.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Principal {
    /// Access key id, for example `AKIAIOSFODNN7EXAMPLE`.
    pub access_key_id: String,
    /// The key's secret.
    pub secret_access_key: Secret,
    /// Session token of temporary credentials; tokens must then carry it.
    #[serde(default)]
    pub session_token: Option<Secret>,
    /// `arn:aws:iam::<account>:user/<name>`, `…:role/<name>` or
    /// `arn:aws:sts::<account>:assumed-role/<role>/<session>`.
    pub arn: String,
    /// What the identity policy allows; nothing unless listed.
    #[serde(default, rename = "allowed_actions")]
    pub actions: Vec<Action>,
    /// When temporary credentials end, by the movable clock. In a file: RFC 3339, for example
    /// `2030-01-01T00:00:00Z`.
    #[serde(default, deserialize_with = "moment")]
    pub expires_at: Option<SystemTime>,
}

fn moment<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<SystemTime>, D::Error> {
    Ok(Option::<jiff::Timestamp>::deserialize(deserializer)?.map(SystemTime::from))
}

/// Why a principals file or a principal is refused.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PrincipalError {
    /// The file cannot be read.
    #[error("cannot read the principals file {path}")]
    Read {
        /// The file.
        path: String,
        /// Why.
        source: std::io::Error,
    },
    /// The file is not what the README describes.
    #[error("the principals file {path} is not valid: {reason}")]
    Format {
        /// The file.
        path: String,
        /// What is wrong and where.
        reason: String,
    },
    /// The ARN is of none of the accepted forms.
    #[error("`{arn}` is not the ARN of an IAM user, an IAM role or an assumed role")]
    Arn {
        /// The ARN as given.
        arn: String,
    },
}

impl Principal {
    /// Reads `{"principals": [...]}`.
    ///
    /// # Errors
    /// The file is unreadable, is not of the documented form, or holds an ARN of another kind.
    pub fn read_file(path: &Path) -> Result<Vec<Self>, PrincipalError> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct File {
            principals: Vec<Principal>,
        }
        let shown = path.display().to_string();
        let text = std::fs::read(path).map_err(|source| PrincipalError::Read {
            path: shown.clone(),
            source,
        })?;
        let file: File = serde_json::from_slice(&text).map_err(|error| PrincipalError::Format {
            path: shown,
            reason: error.to_string(),
        })?;
        for principal in &file.principals {
            principal.identity()?;
        }
        Ok(file.principals)
    }

    /// The identity that the ARN names.
    pub(crate) fn identity(&self) -> Result<Identity, PrincipalError> {
        Identity::parse(&self.arn).ok_or_else(|| PrincipalError::Arn {
            arn: self.arn.clone(),
        })
    }

    /// AWS's words for an action on `resource` that nothing allows.
    pub(crate) fn denial(&self, action: Action, resource: &str) -> String {
        let (arn, name) = (&self.arn, action.name());
        format!(
            "User: {arn} is not authorized to perform: dsql:{name} on resource: {resource} \
             because no identity-based policy allows the dsql:{name} action"
        )
    }
}

/// An ARN reduced to what a role mapping compares: an assumed role is its role.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(crate) account: String,
    kind: IdentityKind,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum IdentityKind {
    /// A user with its path.
    User(String),
    /// A role without its path, which the ARN of an assumed role lacks.
    Role(String),
}

impl Identity {
    pub(crate) fn parse(arn: &str) -> Option<Self> {
        let mut parts = arn.splitn(6, ':');
        let (prefix, partition, service, region) =
            (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
        let (account, resource) = (parts.next()?, parts.next()?);
        let is_account = account.len() == 12 && account.bytes().all(|byte| byte.is_ascii_digit());
        if prefix != "arn" || !partition.starts_with("aws") || !region.is_empty() || !is_account {
            return None;
        }
        let (kind, name) = resource.split_once('/')?;
        let kind = match (service, kind) {
            ("iam", "user") => IdentityKind::User(name.to_owned()),
            ("iam", "role") => IdentityKind::Role(name.rsplit('/').next()?.to_owned()),
            ("sts", "assumed-role") => IdentityKind::Role(name.split_once('/')?.0.to_owned()),
            _ => return None,
        };
        let named = match &kind {
            IdentityKind::User(name) | IdentityKind::Role(name) => !name.is_empty(),
        };
        named.then(|| Self {
            account: account.to_owned(),
            kind,
        })
    }
}

/// All principals that the stand-in knows, by access key.
#[derive(Debug, Default)]
pub(crate) struct Principals {
    by_key: Mutex<HashMap<String, Principal>>,
}

impl Principals {
    /// Adds a principal; one with the same access key is replaced.
    pub(crate) fn add(&self, principal: Principal) -> Result<(), PrincipalError> {
        principal.identity()?;
        let mut by_key = self.by_key.lock().unwrap_or_else(PoisonError::into_inner);
        by_key.insert(principal.access_key_id.clone(), principal);
        Ok(())
    }

    /// The one with this access key.
    pub(crate) fn find(&self, access_key_id: &str) -> Option<Principal> {
        self.by_key
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(access_key_id)
            .cloned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_assumed_role_is_its_role_whatever_the_path() {
        let session = Identity::parse("arn:aws:sts::123456789012:assumed-role/app/i-0abc").unwrap();
        assert_eq!(
            session,
            Identity::parse("arn:aws:iam::123456789012:role/app").unwrap()
        );
        assert_eq!(
            session,
            Identity::parse("arn:aws:iam::123456789012:role/service-role/app").unwrap()
        );
        assert_ne!(
            session,
            Identity::parse("arn:aws:iam::123456789013:role/app").unwrap()
        );
        assert_ne!(
            session,
            Identity::parse("arn:aws:iam::123456789012:user/app").unwrap()
        );
    }

    #[test]
    fn what_is_no_identity_is_no_arn() {
        for arn in [
            "",
            "admin",
            "arn:aws:iam::1:role/x",
            "arn:aws:iam::123456789012:role/",
            "arn:aws:s3:::bucket/x",
        ] {
            assert_eq!(Identity::parse(arn), None, "{arn}");
        }
    }

    #[test]
    fn a_principal_shows_no_secret_in_debug() {
        let json = r#"{"access_key_id":"AKID","secret_access_key":"hush","session_token":"hush2",
            "arn":"arn:aws:iam::123456789012:role/app","allowed_actions":["DbConnect"],
            "expires_at":"2030-01-01T00:00:00Z"}"#;
        let principal: Principal = serde_json::from_str(json).unwrap();
        assert!(principal.expires_at.is_some());
        assert!(!format!("{principal:?}").contains("hush"));
    }
}
