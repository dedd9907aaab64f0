//! Owns `AWS::S3::Bucket`: its name and what it lets pages do.

use super::error::Fault;
use super::fields::Item;
use super::resource::Resource;
use super::scope::Scope;
use crate::application::{Bucket, CorsRule};

/// Properties that have no effect here.
const WITHOUT_EFFECT: [&str; 7] = [
    "BucketEncryption",
    "BucketName",
    "LifecycleConfiguration",
    "OwnershipControls",
    "PublicAccessBlockConfiguration",
    "Tags",
    "VersioningConfiguration",
];

pub(super) fn read(scope: &Scope<'_>, resource: &Resource) -> Result<Bucket, Fault> {
    let path = format!("{}.Properties", resource.path());
    let at = |problem| scope.fault(resource.line, &resource.path(), problem);
    let mut fields = scope.item(&resource.properties, &path)?.fields()?;
    let cors = match fields.take("CorsConfiguration")? {
        None => Vec::new(),
        Some(configuration) => {
            let mut fields = configuration.fields()?;
            let rules = fields.require("CorsRules")?.list()?;
            fields.finish()?;
            rules.into_iter().map(rule).collect::<Result<_, _>>()?
        }
    };
    fields.ignore(&WITHOUT_EFFECT);
    fields.finish()?;
    Ok(Bucket {
        logical_id: resource.logical_id.clone(),
        name: scope.bucket_name(resource).map_err(at)?,
        cors,
    })
}

fn rule(item: Item<'_>) -> Result<CorsRule, Fault> {
    let mut fields = item.fields()?;
    let mut texts = |name: &str| {
        let list = fields.take(name)?;
        list.map_or(Ok(Vec::new()), |list| list.texts())
    };
    let (allowed_headers, exposed_headers) = (texts("AllowedHeaders")?, texts("ExposedHeaders")?);
    let allowed_methods = fields.require("AllowedMethods")?.texts()?;
    let allowed_origins = fields.require("AllowedOrigins")?.texts()?;
    let max_age_seconds = fields.take("MaxAge")?;
    fields.ignore(&["Id"]);
    fields.finish()?;
    Ok(CorsRule {
        allowed_origins,
        allowed_methods,
        allowed_headers,
        exposed_headers,
        max_age_seconds: max_age_seconds.map(|item| item.number()).transpose()?,
    })
}
