//! Owns which actions roles allow: `AWS::IAM::Role`, and `Policies` of a function for which SAM
//! makes the role.

use std::collections::BTreeSet;

use super::error::{Fault, Problem};
use super::fields::Item;
use super::resource::Resource;
use super::scope::Scope;
use crate::application::Role;

pub(super) fn read(scope: &Scope<'_>, resource: &Resource) -> Result<Role, Fault> {
    let path = format!("{}.Properties", resource.path());
    let at = |problem| scope.fault(resource.line, &resource.path(), problem);
    let mut fields = scope.item(&resource.properties, &path)?.fields()?;
    let mut allowed_actions = BTreeSet::new();
    if let Some(policies) = fields.take("Policies")? {
        for policy in policies.list()? {
            let mut policy = policy.fields()?;
            let document = policy.require("PolicyDocument")?;
            policy.ignore(&["PolicyName"]);
            policy.finish()?;
            add_document(document, &mut allowed_actions)?;
        }
    }
    let trust = fields.take("AssumeRolePolicyDocument")?;
    let trusted = trust.map(trusted).transpose()?.unwrap_or_default();
    // A managed policy's actions are not in the template, so nothing here can say what it allows.
    fields.ignore(&[
        "Description",
        "ManagedPolicyArns",
        "MaxSessionDuration",
        "Path",
        "PermissionsBoundary",
        "RoleName",
        "Tags",
    ]);
    fields.finish()?;
    Ok(Role {
        logical_id: resource.logical_id.clone(),
        arn: scope.role_arn(resource).map_err(at)?,
        allowed_actions,
        trusted,
    })
}

/// The AWS principals of a trust policy. Services are let in without being asked.
fn trusted(document: Item<'_>) -> Result<BTreeSet<String>, Fault> {
    let mut trusted = BTreeSet::new();
    let mut fields = document.fields()?;
    for statement in fields.require("Statement")?.one_or_many()? {
        let mut fields = statement.fields()?;
        let effect = fields.require("Effect")?.word(&["Allow", "Deny"])?;
        let mut principals = fields.require("Principal")?.fields()?;
        if let Some(arns) = principals.take("AWS")? {
            for arn in arns.one_or_many()? {
                if effect == "Allow" {
                    trusted.insert(arn.text()?);
                }
            }
        }
        principals.ignore(&["Service", "Federated"]);
        principals.finish()?;
        fields.ignore(&["Sid", "Action", "Condition"]);
        fields.finish()?;
    }
    fields.ignore(&["Version", "Id"]);
    fields.finish()?;
    Ok(trusted)
}

/// The actions of SAM's `Policies`: a statement, a document, or a list of them. Policy templates
/// and managed policies are not in the template, so they are faults.
pub(super) fn sam_actions(policies: Item<'_>) -> Result<BTreeSet<String>, Fault> {
    let mut actions = BTreeSet::new();
    for policy in policies.one_or_many()? {
        if policy.is_text() {
            let problem = Problem::Unsupported(format!("the managed policy {}", policy.text()?));
            return Err(policy.fault(problem));
        }
        let names = policy.keys();
        if names.contains(&"Statement") {
            add_document(policy, &mut actions)?;
        } else if names.contains(&"Effect") {
            add_statement(policy, &mut actions)?;
        } else {
            let name = names.first().copied().unwrap_or("without a name");
            let problem = Problem::Unsupported(format!("the policy template {name}"));
            return Err(policy.fault(problem));
        }
    }
    Ok(actions)
}

fn add_document(document: Item<'_>, actions: &mut BTreeSet<String>) -> Result<(), Fault> {
    let mut fields = document.fields()?;
    for statement in fields.require("Statement")?.one_or_many()? {
        add_statement(statement, actions)?;
    }
    fields.ignore(&["Version", "Id"]);
    fields.finish()
}

fn add_statement(statement: Item<'_>, actions: &mut BTreeSet<String>) -> Result<(), Fault> {
    let mut fields = statement.fields()?;
    let effect = fields.require("Effect")?.word(&["Allow", "Deny"])?;
    if let Some(item) = fields.take("Action")? {
        for action in item.one_or_many()? {
            if effect == "Allow" {
                actions.insert(action.text()?);
            }
        }
    }
    fields.ignore(&["Sid", "Resource", "NotResource", "NotAction", "Condition"]);
    fields.finish()
}
