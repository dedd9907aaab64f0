//! Owns custom resources.

use std::time::Duration;

use serde_json::{Map, Value};

use super::error::{Fault, Problem};
use super::resource::{Resource, ResourceKind};
use super::scope::Scope;
use crate::application::CustomResource;

const DEFAULT_TIMEOUT: Duration = Duration::from_secs(3600);

pub(super) fn read(scope: &Scope<'_>, resource: &Resource) -> Result<CustomResource, Fault> {
    let path = format!("{}.Properties", resource.path());
    let mut fields = scope.item(&resource.properties, &path)?.fields()?;
    let token = fields.require("ServiceToken")?;
    let service_token = token.text()?;
    let mut is_provided = false;
    for function in &scope.resources {
        if function.kind == ResourceKind::Function && function.is_present {
            let arn = scope.function_arn(function);
            is_provided |= arn.map_err(|problem| token.fault(problem))? == service_token;
        }
    }
    if !is_provided {
        let problem = Problem::Undefined(format!("the function {service_token}"));
        return Err(token.fault(problem));
    }
    let timeout = fields.take("ServiceTimeout")?;
    let mut properties = Map::new();
    properties.insert(
        "ServiceToken".to_owned(),
        Value::from(service_token.as_str()),
    );
    if let Some(timeout) = &timeout {
        properties.insert("ServiceTimeout".to_owned(), Value::from(timeout.text()?));
    }
    for (name, value) in fields.drain()? {
        properties.insert(name, value.to_json()?);
    }
    Ok(CustomResource {
        logical_id: resource.logical_id.clone(),
        resource_type: resource.type_name.clone(),
        service_token,
        service_timeout: timeout.map_or(Ok(DEFAULT_TIMEOUT), |item| item.seconds(1..=3600))?,
        properties,
    })
}
