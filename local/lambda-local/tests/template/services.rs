//! What small templates bring: the parts that the repository's own does not use.

use std::collections::BTreeSet;
use std::time::Duration;

use lambda_local::application::{Cors, GatewayResponse, Throttle};
use serde_json::json;

use super::{function, owned, resolve, stack};

#[test]
fn an_api_has_its_gateway_responses_its_cors_and_its_throttle() {
    let text = r#"
Globals:
  Api:
    Cors: { AllowOrigin: "'*'", AllowHeaders: "'authorization'", MaxAge: "'600'" }
Resources:
  Api:
    Type: AWS::Serverless::Api
    Properties:
      Name: my-api
      StageName: live
      BinaryMediaTypes: [image~1png]
      MethodSettings:
        - { HttpMethod: '*', ResourcePath: '/*', ThrottlingRateLimit: 5 }
        - { HttpMethod: POST, ResourcePath: '/~1items~1{id}', ThrottlingRateLimit: 1, ThrottlingBurstLimit: 2 }
      GatewayResponses:
        DEFAULT_4XX:
          StatusCode: 418
          ResponseParameters: { Headers: { Access-Control-Allow-Origin: "'*'" } }
          ResponseTemplates: { application/json: '{"message":$context.error.messageString}' }
"#;
    let application = resolve(text, &stack()).unwrap();
    let api = &application.apis[0];
    assert_eq!((api.name.as_str(), api.stage.as_str()), ("my-api", "live"));
    assert_eq!(api.binary_media_types, ["image/png"]);
    let throttle = Throttle {
        rate: 5.0,
        burst: 5_000.0,
    };
    assert_eq!(api.throttle, Some(throttle));
    let of_method = Throttle {
        rate: 1.0,
        burst: 2.0,
    };
    let by_method = [("POST /items/{id}".to_owned(), of_method)];
    assert_eq!(api.method_throttles, by_method.into());
    let response = GatewayResponse {
        status: Some(418),
        headers: owned(&[("Access-Control-Allow-Origin", "*")]),
        templates: owned(&[(
            "application/json",
            r#"{"message":$context.error.messageString}"#,
        )]),
    };
    assert_eq!(api.gateway_responses["DEFAULT_4XX"], response);
    let cors = Cors {
        allow_origin: "*".to_owned(),
        allow_headers: Some("authorization".to_owned()),
        max_age: Some("600".to_owned()),
        ..Cors::default()
    };
    assert_eq!(api.cors, Some(cors));
}

#[test]
fn a_method_setting_whose_path_is_not_encoded_stops_the_start() {
    let of = |path: &str| {
        format!(
            "
Resources:
  Api:
    Type: AWS::Serverless::Api
    Properties:
      StageName: v1
      MethodSettings: [{{ HttpMethod: POST, ResourcePath: '{path}', ThrottlingRateLimit: 1 }}]
"
        )
    };
    for path in ["/items/{id}", "/items", "items", "~1items"] {
        let fault = resolve(&of(path), &stack()).unwrap_err().to_string();
        assert!(fault.contains("~1"), "{path}: {fault}");
    }
    assert!(resolve(&of("/~1items"), &stack()).is_ok());
}

#[test]
fn a_function_without_a_role_gets_one_with_its_policies() {
    let text = "
Resources:
  Fn:
    Type: AWS::Serverless::Function
    Metadata: { BuildMethod: rust-cargolambda, BuildProperties: { Binary: other } }
    Properties:
      CodeUri: code
      CapacityProviderConfig: { Arn: x, PerExecutionEnvironmentMaxConcurrency: 16 }
      Policies:
        - Statement: { Effect: Allow, Action: 'sqs:SendMessage', Resource: '*' }
        - { Effect: Allow, Action: ['s3:GetObject', 's3:PutObject'], Resource: '*' }
        - { Effect: Deny, Action: 's3:DeleteObject', Resource: '*' }
";
    let application = resolve(text, &stack()).unwrap();
    let found = function(&application, "Fn");
    assert_eq!(found.timeout, Duration::from_secs(3));
    assert_eq!(found.memory_mb, 128);
    assert_eq!(found.binary.as_deref(), Some("other"));
    assert_eq!(found.container_concurrency, Some(16));
    let role = &application.roles[0];
    assert_eq!(found.role_arn.as_ref(), Some(&role.arn));
    let actions = ["s3:GetObject", "s3:PutObject", "sqs:SendMessage"];
    let expected: BTreeSet<_> = actions.map(str::to_owned).into();
    assert_eq!(role.allowed_actions, expected);
}

#[test]
fn lists_of_globals_come_first_and_a_resource_overrides_the_rest() {
    let text = "
Globals:
  Function:
    Timeout: 9
    Environment: { Variables: { A: global, B: global } }
    Policies: [{ Effect: Allow, Action: 'a:A', Resource: '*' }]
Resources:
  Fn:
    Type: AWS::Serverless::Function
    Properties:
      CodeUri: code
      Environment: { Variables: { B: !Ref AWS::Region } }
      Policies: [{ Effect: Allow, Action: 'b:B', Resource: '*' }]
";
    let application = resolve(text, &stack()).unwrap();
    let found = function(&application, "Fn");
    assert_eq!(found.timeout, Duration::from_secs(9));
    let variables = owned(&[("A", "global"), ("B", "us-east-1")]);
    assert_eq!(found.environment, variables);
    assert_eq!(application.roles[0].allowed_actions.len(), 2);
}

#[test]
fn schedules_of_both_kinds_have_the_defaults_of_the_service() {
    let text = "
Resources:
  Fn:
    Type: AWS::Serverless::Function
    Properties:
      CodeUri: code
      Events:
        Off: { Type: Schedule, Properties: { Schedule: rate(5 minutes), Enabled: false } }
        Also: { Type: ScheduleV2, Properties: { ScheduleExpression: cron(0 9 ? * MON-FRI *), State: DISABLED, ScheduleExpressionTimezone: Europe/Berlin } }
        On: { Type: ScheduleV2, Properties: { ScheduleExpression: rate(1 day), Input: !Sub '{\"in\":\"${AWS::Region}\"}' } }
";
    let application = resolve(text, &stack()).unwrap();
    let schedules = &function(&application, "Fn").schedules;
    let enabled: Vec<_> = schedules
        .iter()
        .map(|schedule| schedule.is_enabled)
        .collect();
    assert_eq!(enabled, [false, false, true]);
    assert_eq!(schedules[2].input, Some(json!({ "in": "us-east-1" })));
    assert_eq!(schedules[2].maximum_retry_attempts, 185);
    assert_eq!(schedules[2].maximum_event_age, Duration::from_secs(86_400));
}

#[test]
fn custom_resources_come_after_those_they_depend_on() {
    let text = "
Resources:
  Last: { Type: 'Custom::X', DependsOn: [Middle], Properties: { ServiceToken: !GetAtt Fn.Arn, Flag: true, Deep: [1, { A: 2.5 }] } }
  Middle: { Type: 'Custom::X', Properties: { ServiceToken: !GetAtt Fn.Arn, First: !Ref First } }
  First: { Type: 'AWS::CloudFormation::CustomResource', Properties: { ServiceToken: !GetAtt Fn.Arn } }
  Fn: { Type: 'AWS::Serverless::Function', Properties: { CodeUri: code } }
";
    let mut inputs = stack();
    inputs.attributes = owned(&[("First", "physical-id")]);
    let application = resolve(text, &inputs).unwrap();
    let order: Vec<_> = application
        .custom_resources
        .iter()
        .map(|resource| resource.logical_id.as_str())
        .collect();
    assert_eq!(order, ["First", "Middle", "Last"]);
    let last = &application.custom_resources[2].properties;
    assert_eq!(last["Flag"], "true");
    assert_eq!(last["Deep"], json!(["1", { "A": "2.5" }]));
}

#[test]
fn a_resource_whose_condition_is_false_is_absent_whatever_its_type() {
    let text = "
Conditions:
  Never: !Equals [a, b]
Resources:
  Queue: { Type: 'AWS::SQS::Queue', Condition: Never }
  Other: { Type: 'AWS::Foo::Bar', Condition: Never }
Outputs:
  Gone: { Value: !Ref Queue, Condition: Never }
";
    let application = resolve(text, &stack()).unwrap();
    assert!(application.queues.is_empty());
    assert!(application.outputs.is_empty());
    assert!(application.pending_outputs.is_empty());
}

#[test]
fn a_bucket_has_its_name_and_what_it_lets_pages_do() {
    let text = r"
Resources:
  Files:
    Type: AWS::S3::Bucket
    Properties:
      BucketEncryption: { ServerSideEncryptionConfiguration: [] }
      CorsConfiguration:
        CorsRules:
          - { AllowedMethods: [GET], AllowedOrigins: ['*'], ExposedHeaders: [etag], MaxAge: 60 }
Outputs:
  Name: { Value: !Ref Files }
  Arn: { Value: !GetAtt Files.Arn }
";
    let application = resolve(text, &stack()).unwrap();
    let bucket = &application.buckets[0];
    assert_eq!(bucket.cors[0].max_age_seconds, Some(60));
    assert_eq!(bucket.cors[0].allowed_headers, [""; 0]);
    assert_eq!(application.outputs["Name"], bucket.name);
    let arn = format!("arn:aws:s3:::{}", bucket.name);
    assert_eq!(application.outputs["Arn"], arn);
    let unknown = text.replace("BucketEncryption", "WebsiteConfiguration");
    assert!(resolve(&unknown, &stack()).is_err());
}
