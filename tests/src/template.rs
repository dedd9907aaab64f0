//! Owns the template as tests see it: the repository's own, resolved with values that name nothing
//! real.

use std::collections::BTreeMap;

use lambda_local::application::{Application, RestApi};
use lambda_local::template::{Inputs, Template};

use crate::binary::workspace;

/// The resolved template.
///
/// # Panics
/// When it cannot be read or resolved.
pub fn application() -> Application {
    application_with(&[], &[])
}

/// With further parameters, and what they lead to that is known when the stack runs.
///
/// # Panics
/// As [`application`].
pub fn application_with(further: &[(&str, &str)], known: &[(&str, &str)]) -> Application {
    let template = Template::read(&workspace().join("template.yaml"));
    let template = template.unwrap_or_else(|error| panic!("{error}"));
    let parameters = [
        ("AuthJwks", r#"{"keys":[]}"#),
        ("AuthIssuer", "https://blog.example.com"),
    ];
    let attributes = [
        ("Cluster.Endpoint", "cluster.dsql.us-east-1.on.aws"),
        ("Schema.SchemaVersion", "1"),
    ];
    let owned = |pairs: &[(&str, &str)]| -> BTreeMap<String, String> {
        pairs
            .iter()
            .map(|&(name, value)| (name.to_owned(), value.to_owned()))
            .collect()
    };
    let inputs = Inputs {
        stack: "chat".to_owned(),
        region: "us-east-1".to_owned(),
        account: "123456789012".to_owned(),
        parameters: owned(&[&parameters, further].concat()),
        attributes: owned(&[&attributes, known].concat()),
    };
    template
        .resolve(&inputs)
        .unwrap_or_else(|error| panic!("{error}"))
}

/// Its only API.
///
/// # Panics
/// As [`application`], or when it has none.
pub fn api() -> RestApi {
    let api = application().apis.into_iter().next();
    api.expect("the template has an API")
}
