//! Why a request to the control plane is refused, by AWS's names and statuses.

use hyper::StatusCode;
use serde_json::{Value, json};

/// A refusal.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum ApiError {
    /// Nobody known signed it, or not this. Every service of AWS has these.
    #[error("{message}")]
    Unauthenticated { name: &'static str, message: String },
    #[error("{0}")]
    AccessDenied(String),
    #[error("{message}")]
    Validation {
        reason: Reason,
        message: String,
        /// The member of the input that is invalid.
        field: Option<&'static str>,
    },
    #[error("Cluster {0} was not found")]
    NotFound(String),
    #[error("{message}")]
    Conflict { message: String, cluster_id: String },
    #[error("{message}")]
    QuotaExceeded {
        message: &'static str,
        cluster_id: String,
        quota: &'static str,
    },
    #[error("The request could not be processed")]
    Internal,
}

/// What kind of a refusal a validation is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reason {
    UnknownOperation,
    CannotParse,
    FieldValidationFailed,
    DeletionProtectionEnabled,
    Other,
}

impl Reason {
    fn name(self) -> &'static str {
        match self {
            Self::UnknownOperation => "unknownOperation",
            Self::CannotParse => "cannotParse",
            Self::FieldValidationFailed => "fieldValidationFailed",
            Self::DeletionProtectionEnabled => "deletionProtectionEnabled",
            Self::Other => "other",
        }
    }
}

impl ApiError {
    pub(super) fn validation(reason: Reason, message: impl Into<String>) -> Self {
        Self::Validation {
            reason,
            message: message.into(),
            field: None,
        }
    }

    /// A member of the input that is not as it must be.
    pub(super) fn field(field: &'static str, must: &str) -> Self {
        Self::Validation {
            reason: Reason::FieldValidationFailed,
            message: format!("Value at '{field}' failed to satisfy constraint: {must}"),
            field: Some(field),
        }
    }

    /// The name, for `x-amzn-ErrorType`.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Unauthenticated { name, .. } => name,
            Self::AccessDenied(_) => "AccessDeniedException",
            Self::Validation { .. } => "ValidationException",
            Self::NotFound(_) => "ResourceNotFoundException",
            Self::Conflict { .. } => "ConflictException",
            Self::QuotaExceeded { .. } => "ServiceQuotaExceededException",
            Self::Internal => "InternalServerException",
        }
    }

    pub(super) fn status(&self) -> StatusCode {
        match self {
            Self::Unauthenticated { .. } | Self::AccessDenied(_) => StatusCode::FORBIDDEN,
            Self::Validation { .. } => StatusCode::BAD_REQUEST,
            Self::NotFound(_) => StatusCode::NOT_FOUND,
            Self::Conflict { .. } => StatusCode::CONFLICT,
            Self::QuotaExceeded { .. } => StatusCode::PAYMENT_REQUIRED,
            Self::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    pub(super) fn body(&self) -> Value {
        let message = self.to_string();
        match self {
            Self::Validation { reason, field, .. } => {
                let fields = field.map(|name| json!([{"name": name, "message": message}]));
                let mut body = json!({"message": message, "reason": reason.name()});
                if let (Some(fields), Some(members)) = (fields, body.as_object_mut()) {
                    members.insert("fieldList".to_owned(), fields);
                }
                body
            }
            Self::NotFound(cluster_id) | Self::Conflict { cluster_id, .. } => {
                json!({"message": message, "resourceId": cluster_id, "resourceType": "cluster"})
            }
            Self::QuotaExceeded {
                cluster_id, quota, ..
            } => json!({
                "message": message, "resourceId": cluster_id, "resourceType": "cluster",
                "serviceCode": "dsql", "quotaCode": quota,
            }),
            _ => json!({"message": message}),
        }
    }
}
