//! What changes in the template changes here.

use std::time::Duration;

use lambda_local::schedule::Expression;

use super::{edited, faults, function, inputs, owned, resolve};

#[test]
fn a_changed_route_is_followed() {
    let text = edited("Path: /sql, Method: post", "Path: '/v2/sql', Method: put");
    let application = resolve(&text, &inputs()).unwrap();
    let routes = &application.apis[0].routes;
    assert!(
        !routes
            .iter()
            .any(|route| (route.method.as_str(), route.path.as_str()) == ("POST", "/sql"))
    );
    let moved = routes.iter().find(|route| route.path == "/v2/sql").unwrap();
    assert_eq!(
        (moved.method.as_str(), moved.function.as_str()),
        ("PUT", "SqlFunction")
    );
}

#[test]
fn a_changed_variable_is_followed() {
    let text = edited(
        "TITLES_BY_MODEL: !If [HasTitles, 'true', 'false']",
        "TITLES_BY_MODEL: 'yes'\n          NEW: !Sub 'in ${AWS::Region}'",
    );
    let application = resolve(&text, &inputs()).unwrap();
    let variables = &function(&application, "ChatFunction").environment;
    assert_eq!(variables["TITLES_BY_MODEL"], "yes");
    assert_eq!(variables["NEW"], "in us-east-1");
}

#[test]
fn a_changed_schedule_is_followed() {
    let text = edited("rate(1 minute)", "rate(2 hours)");
    let application = resolve(&text, &inputs()).unwrap();
    let schedules = &function(&application, "MaintenanceFunction").schedules;
    let every = Expression::Rate(Duration::from_secs(7_200));
    assert_eq!(schedules[0].expression, every);
}

#[test]
fn a_changed_global_time_out_is_followed_by_the_functions_without_their_own() {
    let text = edited("Timeout: 29", "Timeout: 7");
    let application = resolve(&text, &inputs()).unwrap();
    let timeout = |id| function(&application, id).timeout.as_secs();
    assert_eq!(timeout("SqlFunction"), 7);
    assert_eq!(timeout("ChatFunction"), 300);
}

#[test]
fn a_route_that_no_longer_streams_is_buffered() {
    let text = edited(
        ", ResponseTransferMode: RESPONSE_STREAM, TimeoutInMillis: 300000",
        "",
    );
    let application = resolve(&text, &inputs()).unwrap();
    let mut routes = application.apis[0].routes.iter();
    let turn = routes
        .find(|route| route.path == "/api/chat" && route.method == "POST")
        .unwrap();
    assert!(!turn.is_streamed);
    assert_eq!(turn.timeout, Duration::from_secs(29));
}

#[test]
fn parameters_decide_conditions_and_values() {
    let mut inputs = inputs();
    inputs.parameters.extend(owned(&[
        ("TitleModelId", "titles"),
        ("ReservedConcurrency", "20"),
        ("AllowedModelIds", "one, two"),
        ("ApiDomainName", "api.example.com"),
        (
            "CertificateArn",
            "arn:aws:acm:us-east-1:123456789012:certificate/1",
        ),
        ("AlarmEmail", "someone@example.com"),
    ]));
    let application = resolve(&edited("chat", "chat"), &inputs).unwrap();
    assert_eq!(
        function(&application, "JobsFunction").environment["MODEL_PROVIDER"],
        "bedrock"
    );
    assert_eq!(
        function(&application, "ChatFunction").environment["TITLES_BY_MODEL"],
        "true"
    );
    assert_eq!(
        function(&application, "ChatFunction").environment["MODEL_ALLOWED"],
        "one,two"
    );
    assert_eq!(
        function(&application, "SqlFunction").reserved_concurrency,
        Some(20)
    );
    assert_eq!(application.outputs["ApiUrl"], "https://api.example.com");
    let mut roles = application.roles.iter();
    let jobs = roles.find(|role| role.logical_id == "JobsRole").unwrap();
    assert!(
        jobs.allowed_actions
            .contains("bedrock:InvokeModelWithResponseStream")
    );
}

#[test]
fn a_rule_that_fails_says_its_description() {
    let mut inputs = inputs();
    inputs
        .parameters
        .extend(owned(&[("ApiDomainName", "api.example.com")]));
    let faults = faults(&edited("chat", "chat"), &inputs);
    assert_eq!(faults.len(), 1);
    let description = "ApiDomainName needs CertificateArn (Rules.DomainNeedsCertificate)";
    assert!(faults[0].ends_with(description), "{}", faults[0]);
}

#[test]
fn a_misspelled_property_is_named_with_its_line() {
    let text = edited("ResponseTransferMode", "ResponseTransfermode");
    let line = 1 + text
        .lines()
        .position(|line| line.contains("Transfermode"))
        .unwrap();
    let expected = format!(
        "template.yaml:{line}: ResponseTransfermode is not supported \
         (Resources.ChatFunction.Properties.Events.Turn.Properties.ResponseTransfermode)"
    );
    assert_eq!(faults(&text, &inputs()), [expected]);
}

#[test]
fn a_resource_of_an_unknown_type_is_named_with_its_line() {
    let text = edited("Type: AWS::CloudWatch::Dashboard", "Type: AWS::Foo::Bar");
    let line = 1 + text.lines().position(|line| line.contains("Foo")).unwrap();
    let expected =
        format!("template.yaml:{line}: AWS::Foo::Bar is not supported (Resources.Dashboard.Type)");
    assert_eq!(faults(&text, &inputs()), [expected]);
}
