//! Owns `AWS::Serverless::Api`.

use std::collections::BTreeMap;

use super::error::{Fault, Problem};
use super::fields::Item;
use super::resource::Resource;
use super::scope::Scope;
use crate::application::{Cors, GatewayResponse, RestApi, Throttle};

/// What an account has where the stage sets less.
const ACCOUNT_THROTTLE: Throttle = Throttle {
    rate: 10_000.0,
    burst: 5_000.0,
};

/// What `MethodSettings` hold for every method of every path under.
const EVERY_METHOD: &str = "* /*";

/// Properties that have no effect here.
const WITHOUT_EFFECT: [&str; 12] = [
    "AccessLogSetting",
    "AlwaysDeploy",
    "Description",
    "DisableExecuteApiEndpoint",
    "Domain",
    "EndpointConfiguration",
    "FailOnWarnings",
    "Mode",
    "OpenApiVersion",
    "PropagateTags",
    "Tags",
    "TracingEnabled",
];

/// The API without its routes, which functions bring.
pub(super) fn read(scope: &Scope<'_>, resource: &Resource) -> Result<RestApi, Fault> {
    let path = format!("{}.Properties", resource.path());
    let mut fields = scope.item(&resource.properties, &path)?.fields()?;
    let stage = fields.require("StageName")?.text()?;
    let name = fields.text("Name")?;
    let binary_media_types = match fields.take("BinaryMediaTypes")? {
        None => Vec::new(),
        Some(item) => {
            let types = item.texts()?;
            types.iter().map(|name| name.replace("~1", "/")).collect()
        }
    };
    let mut gateway_responses = BTreeMap::new();
    if let Some(responses) = fields.take("GatewayResponses")? {
        for (kind, response) in responses.fields()?.drain()? {
            gateway_responses.insert(kind, gateway_response(response)?);
        }
    }
    let cors = fields.take("Cors")?.map(cors).transpose()?;
    let mut throttles = match fields.take("MethodSettings")? {
        None => BTreeMap::new(),
        Some(settings) => throttles(&settings)?,
    };
    fields.ignore(&WITHOUT_EFFECT);
    fields.finish()?;
    Ok(RestApi {
        logical_id: resource.logical_id.clone(),
        name: name.unwrap_or_else(|| scope.inputs.stack.clone()),
        stage,
        routes: Vec::new(),
        binary_media_types,
        gateway_responses,
        cors,
        throttle: throttles.remove(EVERY_METHOD),
        method_throttles: throttles,
    })
}

fn gateway_response(item: Item<'_>) -> Result<GatewayResponse, Fault> {
    let mut fields = item.fields()?;
    let status = fields.take("StatusCode")?;
    let status = status
        .map(|item| item.number_within(100..=599))
        .transpose()?;
    let mut response = GatewayResponse {
        status,
        ..GatewayResponse::default()
    };
    if let Some(parameters) = fields.take("ResponseParameters")? {
        let mut parameters = parameters.fields()?;
        if let Some(headers) = parameters.take("Headers")? {
            for (name, value) in headers.fields()?.drain()? {
                response.headers.insert(name, quoted(&value)?);
            }
        }
        parameters.finish()?;
    }
    if let Some(templates) = fields.take("ResponseTemplates")? {
        for (content_type, template) in templates.fields()?.drain()? {
            response.templates.insert(content_type, template.text()?);
        }
    }
    fields.finish()?;
    Ok(response)
}

fn cors(item: Item<'_>) -> Result<Cors, Fault> {
    if item.is_text() {
        return Ok(Cors {
            allow_origin: quoted(&item)?,
            ..Cors::default()
        });
    }
    let mut fields = item.fields()?;
    let cors = Cors {
        allow_origin: quoted(&fields.require("AllowOrigin")?)?,
        allow_methods: fields
            .take("AllowMethods")?
            .map(|item| quoted(&item))
            .transpose()?,
        allow_headers: fields
            .take("AllowHeaders")?
            .map(|item| quoted(&item))
            .transpose()?,
        max_age: fields
            .take("MaxAge")?
            .map(|item| quoted(&item))
            .transpose()?,
        allow_credentials: fields.boolean("AllowCredentials", false)?,
    };
    fields.finish()?;
    Ok(cors)
}

/// A constant of API Gateway: text between single quotes. Anything else is taken from the request
/// there.
fn quoted(item: &Item<'_>) -> Result<String, Fault> {
    let text = item.text()?;
    let inner = text
        .strip_prefix('\'')
        .and_then(|text| text.strip_suffix('\''));
    let inner = inner.ok_or_else(|| {
        item.fault(Problem::Unsupported(format!(
            "a value without single quotes inside, {text},"
        )))
    })?;
    Ok(inner.to_owned())
}

/// Throttles by method and path; those that hold for every method under [`EVERY_METHOD`].
fn throttles(settings: &Item<'_>) -> Result<BTreeMap<String, Throttle>, Fault> {
    let mut throttles = BTreeMap::new();
    for setting in settings.list()? {
        let mut fields = setting.fields()?;
        let method = fields.require("HttpMethod")?.text()?;
        let path = resource_path(&fields.require("ResourcePath")?)?;
        let rate = fields.take("ThrottlingRateLimit")?;
        let burst = fields.take("ThrottlingBurstLimit")?;
        if rate.is_some() || burst.is_some() {
            let bound = |item: Option<Item<'_>>, otherwise: f64| {
                item.map_or(Ok(otherwise), |item| item.number_within(0.0..=f64::MAX))
            };
            let throttle = Throttle {
                rate: bound(rate, ACCOUNT_THROTTLE.rate)?,
                burst: bound(burst, ACCOUNT_THROTTLE.burst)?,
            };
            throttles.insert(format!("{method} {path}"), throttle);
        }
        fields.ignore(&["DataTraceEnabled", "LoggingLevel", "MetricsEnabled"]);
        fields.finish()?;
    }
    Ok(throttles)
}

/// A path as `MethodSettings` write it: `/*` for all, else each slash but the first as `~1`, the
/// path's own first one too.
fn resource_path(item: &Item<'_>) -> Result<String, Fault> {
    let text = item.text()?;
    match text.strip_prefix('/') {
        Some(path @ ("*" | "")) => Ok(format!("/{path}")),
        Some(path) if path.starts_with("~1") && !path.contains('/') => Ok(path.replace("~1", "/")),
        _ => Err(item.fault(Problem::Unsupported(format!(
            "a path whose slashes are not written as ~1, {text},"
        )))),
    }
}
