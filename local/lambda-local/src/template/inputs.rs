//! What a template is resolved with.

use std::collections::BTreeMap;

/// What a template is resolved with.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Inputs {
    /// The stack's name.
    pub stack: String,
    /// Such as `us-east-1`.
    pub region: String,
    /// Twelve digits.
    pub account: String,
    /// Values of parameters. The others have their defaults.
    pub parameters: BTreeMap<String, String>,
    /// What only the running stack knows, under the text of the reference: `Cluster.Endpoint` for
    /// an attribute, `JobsQueue` for a `Ref`, `{{resolve:…}}` for a dynamic reference. It counts
    /// before what is worked out here.
    pub attributes: BTreeMap<String, String>,
}
