//! Owns `AWS::Serverless::Function`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;

use super::error::{Fault, Problem};
use super::event::{self, Events};
use super::fields::{Fields, Item};
use super::node::Node;
use super::resource::Resource;
use super::role;
use super::scope::Scope;
use crate::application::{Function, Role};

const DEFAULT_TIMEOUT: Duration = Duration::from_secs(3);
const DEFAULT_MEMORY_MB: u32 = 128;
const RUNTIMES: [&str; 3] = ["provided.al2023", "provided.al2", "provided"];

/// Properties that have no effect here.
const WITHOUT_EFFECT: [&str; 26] = [
    "Architectures",
    "AssumeRolePolicyDocument",
    "AutoPublishAlias",
    "AutoPublishAliasAllProperties",
    "AutoPublishCodeSha256",
    "CodeSigningConfigArn",
    "DeploymentPreference",
    "Description",
    "EphemeralStorage",
    "FunctionScalingConfig",
    "Handler",
    "KmsKeyArn",
    "LoggingConfig",
    "PermissionsBoundary",
    "PropagateTags",
    "ProvisionedConcurrencyConfig",
    "PublishToLatestPublished",
    "RecursiveLoop",
    "RolePath",
    "RuntimeManagementConfig",
    "SnapStart",
    "SourceKMSKeyArn",
    "Tags",
    "Tracing",
    "VersionDescription",
    "VpcConfig",
];

/// A function, the role that SAM makes for it, and what leads to it.
pub(super) struct Read {
    pub(super) function: Function,
    pub(super) role: Option<Role>,
    pub(super) events: Events,
}

pub(super) fn read(scope: &Scope<'_>, resource: &Resource) -> Result<Read, Fault> {
    let path = format!("{}.Properties", resource.path());
    let at = |problem| scope.fault(resource.line, &resource.path(), problem);
    let mut fields = scope.item(&resource.properties, &path)?.fields()?;
    if let Some(runtime) = fields.take("Runtime")? {
        let name = runtime.text()?;
        if !RUNTIMES.contains(&name.as_str()) {
            return Err(runtime.fault(Problem::Unsupported(format!("the runtime {name}"))));
        }
    }
    if let Some(package) = fields.take("PackageType")? {
        package.word(&["Zip"])?;
    }
    let code_uri = fields.require("CodeUri")?;
    let code = code_uri.text()?;
    if code.contains("://") {
        return Err(code_uri.fault(Problem::Unsupported(
            "code that is not in a folder".to_owned(),
        )));
    }
    fields.ignore(&["FunctionName"]);
    let timeout = fields.take("Timeout")?;
    let timeout = timeout.map_or(Ok(DEFAULT_TIMEOUT), |item| item.seconds(1..=900))?;
    let memory = fields.take("MemorySize")?;
    let memory_mb = memory.map_or(Ok(DEFAULT_MEMORY_MB), |item| {
        item.number_within(128..=32_768)
    })?;
    let environment = match fields.take("Environment")? {
        None => BTreeMap::new(),
        Some(environment) => variables(environment)?,
    };
    let reserved = fields.take("ReservedConcurrentExecutions")?;
    let reserved_concurrency = reserved.map(|item| item.number()).transpose()?;
    let capacity = fields.take("CapacityProviderConfig")?;
    let container_concurrency = capacity.map_or(Ok(None), container_concurrency)?;

    let policies = fields.take("Policies")?;
    let (role_arn, role) = if let Some(arn) = fields.text("Role")? {
        // SAM passes over Policies then.
        (arn, None)
    } else {
        let logical_id = format!("{}Role", resource.logical_id);
        let arn = scope.arn_of_role(&scope.physical_name(&logical_id));
        let role = Role {
            logical_id,
            arn: arn.clone(),
            allowed_actions: policies.map_or(Ok(BTreeSet::new()), role::sam_actions)?,
            trusted: BTreeSet::new(),
        };
        (arn, Some(role))
    };
    let events = match fields.take("Events")? {
        None => Events::default(),
        Some(events) => event::read(scope, &resource.logical_id, events)?,
    };
    fields.ignore(&WITHOUT_EFFECT);
    fields.finish()?;

    let function = Function {
        logical_id: resource.logical_id.clone(),
        name: scope.function_name(resource).map_err(at)?,
        arn: scope.function_arn(resource).map_err(at)?,
        code_uri: PathBuf::from(code),
        binary: binary(resource),
        timeout,
        memory_mb,
        environment,
        role_arn: Some(role_arn),
        reserved_concurrency,
        container_concurrency,
        schedules: events.schedules.clone(),
        queue_sources: events.queue_sources.clone(),
    };
    Ok(Read {
        function,
        role,
        events,
    })
}

fn variables(environment: Item<'_>) -> Result<BTreeMap<String, String>, Fault> {
    let mut fields = environment.fields()?;
    let mut variables = BTreeMap::new();
    if let Some(item) = fields.take("Variables")? {
        for (name, value) in item.fields()?.drain()? {
            variables.insert(name, value.text()?);
        }
    }
    fields.finish()?;
    Ok(variables)
}

/// Both the property of `AWS::Lambda::Function` and SAM's shorter one.
fn container_concurrency(config: Item<'_>) -> Result<Option<usize>, Fault> {
    let mut fields = config.fields()?;
    if let Some(inner) = fields.take("LambdaManagedInstancesCapacityProviderConfig")? {
        fields.finish()?;
        fields = inner.fields()?;
    }
    let concurrency = |fields: &mut Fields<'_>| {
        let item = fields.take("PerExecutionEnvironmentMaxConcurrency")?;
        item.map(|item| item.number_within(1..=1_600)).transpose()
    };
    let count = concurrency(&mut fields)?;
    fields.ignore(&[
        "Arn",
        "CapacityProviderArn",
        "ExecutionEnvironmentMemoryGiBPerVCpu",
    ]);
    fields.finish()?;
    Ok(count)
}

/// `Metadata` is for the build, which reads this one key of it.
fn binary(resource: &Resource) -> Option<String> {
    let metadata = resource.metadata.as_ref()?;
    let binary = metadata.get("BuildProperties")?.get("Binary")?;
    Node::as_text(binary).map(str::to_owned)
}
