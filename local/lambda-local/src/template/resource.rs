//! Owns the section `Resources` as it is written: which resources there are, of which types, and
//! which of them this stack has.

use std::collections::BTreeMap;

use super::error::{Fault, Problem};
use super::globals;
use super::node::{Entry, Kind, Node};

/// Types that have no counterpart here, and whose absence changes nothing that runs here.
const WITHOUT_COUNTERPART: [&str; 27] = [
    "AWS::ApiGateway::Account",
    "AWS::ApiGateway::BasePathMapping",
    "AWS::ApiGateway::DomainName",
    "AWS::Backup::BackupPlan",
    "AWS::Backup::BackupSelection",
    "AWS::Backup::BackupVault",
    "AWS::Budgets::Budget",
    "AWS::CloudWatch::Alarm",
    "AWS::CloudWatch::CompositeAlarm",
    "AWS::CloudWatch::Dashboard",
    "AWS::KMS::Alias",
    "AWS::KMS::Key",
    "AWS::Lambda::CapacityProvider",
    "AWS::Lambda::Permission",
    "AWS::Logs::MetricFilter",
    "AWS::Route53::RecordSet",
    "AWS::Route53::RecordSetGroup",
    "AWS::S3::BucketPolicy",
    "AWS::SNS::Subscription",
    "AWS::SNS::TopicPolicy",
    "AWS::SQS::QueuePolicy",
    "AWS::Serverless::CapacityProvider",
    "AWS::WAFv2::LoggingConfiguration",
    "AWS::WAFv2::WebACL",
    "AWS::WAFv2::WebACLAssociation",
    "AWS::XRay::Group",
    "AWS::XRay::SamplingRule",
];

/// Keys of a resource beside its properties; the ones that are not read have no effect here.
const KNOWN_KEYS: [&str; 9] = [
    "Type",
    "Properties",
    "Condition",
    "DependsOn",
    "Metadata",
    "DeletionPolicy",
    "UpdateReplacePolicy",
    "UpdatePolicy",
    "CreationPolicy",
];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ResourceKind {
    Function,
    Api,
    Queue,
    Role,
    Custom,
    Cluster,
    LogGroup,
    Topic,
    Secret,
    Bucket,
    /// Accepted, and not run here.
    WithoutCounterpart,
}

impl ResourceKind {
    fn parse(type_name: &str) -> Option<Self> {
        Some(match type_name {
            "AWS::Serverless::Function" => Self::Function,
            "AWS::Serverless::Api" => Self::Api,
            "AWS::SQS::Queue" => Self::Queue,
            "AWS::IAM::Role" => Self::Role,
            "AWS::DSQL::Cluster" => Self::Cluster,
            "AWS::Logs::LogGroup" => Self::LogGroup,
            "AWS::SNS::Topic" => Self::Topic,
            "AWS::S3::Bucket" => Self::Bucket,
            "AWS::SecretsManager::Secret" => Self::Secret,
            "AWS::CloudFormation::CustomResource" => Self::Custom,
            name if name.starts_with("Custom::") => Self::Custom,
            name if WITHOUT_COUNTERPART.contains(&name) => Self::WithoutCounterpart,
            _ => return None,
        })
    }
}

#[derive(Debug)]
pub(super) struct Resource {
    pub(super) logical_id: String,
    pub(super) line: usize,
    pub(super) kind: ResourceKind,
    pub(super) type_name: String,
    /// With `Globals` merged.
    pub(super) properties: Node,
    pub(super) metadata: Option<Node>,
    pub(super) depends_on: Vec<Node>,
    /// Its condition holds, or it has none.
    pub(super) is_present: bool,
}

impl Resource {
    pub(super) fn path(&self) -> String {
        format!("Resources.{}", self.logical_id)
    }

    /// A function for which SAM makes the role, whose logical id is the function's and `Role`.
    pub(super) fn makes_role(&self) -> bool {
        self.kind == ResourceKind::Function && self.properties.get("Role").is_none()
    }
}

/// Reads the section. A resource that the stack does not have may be of any type.
pub(super) fn read(
    file: &str,
    root: &Node,
    conditions: &BTreeMap<String, bool>,
) -> (Vec<Resource>, Vec<Fault>) {
    let mut resources = Vec::new();
    let mut faults = Vec::new();
    for entry in root.get("Resources").map_or(&[][..], Node::entries) {
        match read_one(entry, root.get("Globals"), conditions) {
            Ok(resource) => resources.push(resource),
            Err((line, key, problem)) => {
                let id = &entry.key;
                let path = match key {
                    Some(key) => format!("Resources.{id}.{key}"),
                    None => format!("Resources.{id}"),
                };
                let file = file.to_owned();
                faults.push(Fault {
                    file,
                    line,
                    path,
                    problem,
                });
            }
        }
    }
    (resources, faults)
}

type Misplaced = (usize, Option<String>, Problem);

fn read_one(
    entry: &Entry,
    globals: Option<&Node>,
    conditions: &BTreeMap<String, bool>,
) -> Result<Resource, Misplaced> {
    let node = &entry.value;
    for known in node.entries() {
        if !KNOWN_KEYS.contains(&known.key.as_str()) {
            let problem = Problem::Unsupported(known.key.clone());
            return Err((known.line, Some(known.key.clone()), problem));
        }
    }
    let is_present = match node.get("Condition") {
        None => true,
        Some(condition) => {
            let name = condition.as_text().unwrap_or_default();
            let holds = conditions.get(name).copied();
            holds.ok_or_else(|| {
                let problem = Problem::Undefined(format!("the condition {name}"));
                (condition.line, Some("Condition".to_owned()), problem)
            })?
        }
    };
    let type_node = node.get("Type");
    let type_name = type_node.and_then(Node::as_text);
    let type_name =
        type_name.ok_or_else(|| (entry.line, None, Problem::Missing("Type".to_owned())))?;
    let kind = match ResourceKind::parse(type_name) {
        Some(kind) => kind,
        None if !is_present => ResourceKind::WithoutCounterpart,
        None => {
            let line = type_node.map_or(entry.line, |node| node.line);
            let problem = Problem::Unsupported(type_name.to_owned());
            return Err((line, Some("Type".to_owned()), problem));
        }
    };
    let empty = || Node {
        line: entry.line,
        kind: Kind::Map(Vec::new()),
    };
    let properties = node.get("Properties").cloned().unwrap_or_else(empty);
    let section = match kind {
        ResourceKind::Function => "Function",
        ResourceKind::Api => "Api",
        _ => "",
    };
    let properties = match globals.and_then(|globals| globals.get(section)) {
        Some(global) => globals::merge(global, properties),
        None => properties,
    };
    let depends_on = match node.get("DependsOn") {
        None => Vec::new(),
        Some(node) => match &node.kind {
            Kind::List(nodes) => nodes.clone(),
            _ => vec![node.clone()],
        },
    };
    Ok(Resource {
        logical_id: entry.key.clone(),
        line: entry.line,
        kind,
        type_name: type_name.to_owned(),
        properties,
        metadata: node.get("Metadata").cloned(),
        depends_on,
        is_present,
    })
}
