//! What is not supported stops the reading, with its line.

use super::{faults, resolve, stack};

/// A template whose function has more properties, which begin in line 7.
fn function(more: &str) -> String {
    format!(
        "Resources:
  Api: {{ Type: 'AWS::Serverless::Api', Properties: {{ StageName: v1 }} }}
  Fn:
    Type: AWS::Serverless::Function
    Properties:
      CodeUri: code
      {more}
"
    )
}

#[test]
fn of_a_function() {
    let table = [
        (
            "Layers: [x]",
            "Layers is not supported (Resources.Fn.Properties.Layers)",
        ),
        (
            "Timeout: 901",
            "901 is not within 1 to 900 (Resources.Fn.Properties.Timeout)",
        ),
        (
            "Timeout: soon",
            "soon is not a number that can stand here (Resources.Fn.Properties.Timeout)",
        ),
        (
            "Runtime: nodejs22.x",
            "the runtime nodejs22.x is not supported (Resources.Fn.Properties.Runtime)",
        ),
        (
            "Policies: AWSLambdaExecute",
            "the managed policy AWSLambdaExecute is not supported (Resources.Fn.Properties.Policies)",
        ),
        (
            "Policies: [{ SQSPollerPolicy: { QueueName: q } }]",
            "the policy template SQSPollerPolicy is not supported (Resources.Fn.Properties.Policies[0])",
        ),
        (
            "Environment: { Vars: {} }",
            "Vars is not supported (Resources.Fn.Properties.Environment.Vars)",
        ),
        (
            "Environment: { Variables: { A: [1] } }",
            "text is needed here, not a list (Resources.Fn.Properties.Environment.Variables.A)",
        ),
        (
            "Events: { E: { Type: SNS, Properties: { Topic: t } } }",
            "the event type SNS is not supported (Resources.Fn.Properties.Events.E.Type)",
        ),
        (
            "Events: { E: { Type: Api, Properties: { Path: /, Method: get } } }",
            "RestApiId is missing (Resources.Fn.Properties.Events.E.Properties)",
        ),
        (
            "Events: { E: { Type: Api, Properties: { RestApiId: !Ref Api, Path: /, Method: fetch } } }",
            "FETCH is not a method of an API (Resources.Fn.Properties.Events.E.Properties.Method)",
        ),
        (
            "Events: { E: { Type: Api, Properties: { RestApiId: !Ref Api, Path: '/{a+}/b', Method: get } } }",
            "/{a+}/b is not a path of an API (Resources.Fn.Properties.Events.E.Properties.Path)",
        ),
        (
            "Events: { E: { Type: Api, Properties: { RestApiId: !Ref Api, Path: /, Method: get, Auth: { ApiKeyRequired: true } } } }",
            "Auth is not supported (Resources.Fn.Properties.Events.E.Properties.Auth)",
        ),
        (
            "Events: { E: { Type: SQS, Properties: { Queue: 'arn:aws:sqs:us-east-1:1:q' } } }",
            "the queue arn:aws:sqs:us-east-1:1:q is not defined in the template (Resources.Fn.Properties.Events.E.Properties.Queue)",
        ),
        (
            "Events: { E: { Type: ScheduleV2, Properties: { ScheduleExpression: every day } } }",
            "every day is not rate(…), cron(…) or at(…) (Resources.Fn.Properties.Events.E.Properties.ScheduleExpression)",
        ),
        (
            "Events: { E: { Type: Schedule, Properties: { Schedule: rate(1 day), Input: '{' } } }",
            "Input is not JSON: EOF while parsing an object at line 1 column 1 (Resources.Fn.Properties.Events.E.Properties.Input)",
        ),
        (
            "MemorySize: !Transform x",
            "Fn::Transform is not supported (Resources.Fn.Properties.MemorySize)",
        ),
        (
            "Role: !GetAtt Secret.Arn",
            "Secret.Arn is not defined in the template (Resources.Fn.Properties.Role)",
        ),
        (
            "MemorySize: '{{resolve:ssm:memory}}'",
            "{{resolve:ssm:memory}} is not known before the stack runs (Resources.Fn.Properties.MemorySize)",
        ),
        (
            "Timeout: 3\n      Timeout: 4",
            "the key Timeout stands twice",
        ),
    ];
    for (more, expected) in table {
        let faults = faults(&function(more), &stack());
        assert_eq!(faults.len(), 1, "{more}: {faults:?}");
        let (_, found) = faults[0].split_once(": ").unwrap();
        assert_eq!(found, expected, "{more}");
        let line = if more.contains('\n') { 8 } else { 7 };
        assert!(
            faults[0].starts_with(&format!("template.yaml:{line}: ")),
            "{}",
            faults[0]
        );
    }
}

#[test]
fn of_other_places() {
    let table = [
        (
            "Wishes: {}\nResources: {}",
            "template.yaml:1: the section Wishes is not supported (Wishes)",
        ),
        ("Description: x", "template.yaml:1: Resources is missing"),
        (
            "- a list",
            "template.yaml:1: a template is a map, not a list",
        ),
        ("", "template.yaml:1: the template is empty"),
        ("a: [b}", "template.yaml:1: not YAML: "),
        (
            "Resources: {}\nTransform: [AWS::Serverless-2016-10-31, AWS::LanguageExtensions]",
            "template.yaml:2: the transform AWS::LanguageExtensions is not supported (Transform)",
        ),
        (
            "Globals: { HttpApi: {} }\nResources: {}",
            "template.yaml:1: HttpApi is not supported (Globals.HttpApi)",
        ),
        (
            "Resources:\n  A: { Type: 'AWS::SNS::Topic', DependsOn: B }",
            "template.yaml:2: B is not defined in the template (Resources.A.DependsOn)",
        ),
        (
            "Resources:\n  A: { Type: 'AWS::SNS::Topic', Condition: C }",
            "template.yaml:2: the condition C is not defined in the template (Resources.A.Condition)",
        ),
        (
            "Resources:\n  A: { Type: 'AWS::SNS::Topic', Connectors: {} }",
            "template.yaml:2: Connectors is not supported (Resources.A.Connectors)",
        ),
        (
            "Resources:\n  A: { Type: 'AWS::SQS::Queue', Properties: { FifoQueue: true } }",
            "template.yaml:2: a FIFO queue is not supported (Resources.A.Properties.FifoQueue)",
        ),
        (
            "Resources:\n  A: { Type: 'AWS::Serverless::Api', Properties: { StageName: s, Auth: {} } }",
            "template.yaml:2: Auth is not supported (Resources.A.Properties.Auth)",
        ),
        (
            "Resources:\n  A: { Type: 'Custom::A', Properties: { ServiceToken: 'arn:aws:sns:us-east-1:1:t' } }",
            "template.yaml:2: the function arn:aws:sns:us-east-1:1:t is not defined in the template (Resources.A.Properties.ServiceToken)",
        ),
        (
            "Conditions:\n  A: !Not [!Condition B]\n  B: !Not [!Condition A]\nResources: {}",
            "template.yaml:3: circular dependency: A -> B -> A (Conditions.B)",
        ),
    ];
    for (text, expected) in table {
        let faults = faults(text, &stack());
        assert!(faults[0].starts_with(expected), "{text}\n{faults:?}");
        assert_eq!(faults.len(), 1, "{text}\n{faults:?}");
    }
}

#[test]
fn resources_that_need_each_other_are_named_in_a_circle() {
    let text = "
Resources:
  A:
    Type: AWS::Serverless::Function
    Properties: { CodeUri: a, Environment: { Variables: { B: !Ref B } } }
  B:
    Type: AWS::Serverless::Function
    Properties: { CodeUri: b, FunctionName: !Sub '${A}-b' }
";
    assert_eq!(
        faults(text, &stack()),
        ["template.yaml:3: circular dependency: A -> B -> A (Resources.A)"]
    );
}

#[test]
fn what_watches_a_functions_deployment_may_watch_the_function() {
    let text = "
Resources:
  Fn:
    Type: AWS::Serverless::Function
    Properties:
      CodeUri: code
      Handler: bootstrap
      Runtime: provided.al2023
      AutoPublishAlias: live
      DeploymentPreference: { Type: AllAtOnce, Alarms: [!Ref Alarm] }
  Alarm:
    Type: AWS::CloudWatch::Alarm
    Properties: { Dimensions: [{ Name: FunctionName, Value: !Ref Fn }] }
";
    resolve(text, &stack()).unwrap();
}

#[test]
fn a_function_behind_an_api_cannot_be_told_the_id_of_that_api() {
    let text = "
Resources:
  Api: { Type: AWS::Serverless::Api, Properties: { StageName: v1 } }
  Fn:
    Type: AWS::Serverless::Function
    Properties:
      CodeUri: code
      Environment: { Variables: { API: !Ref Api } }
      Events: { E: { Type: Api, Properties: { RestApiId: !Ref Api, Path: /, Method: get } } }
";
    assert_eq!(
        faults(text, &stack()),
        ["template.yaml:3: circular dependency: Api -> Fn -> Api (Resources.Api)"]
    );
}

#[test]
fn faults_of_several_resources_come_together() {
    let text = "
Resources:
  A: { Type: AWS::SQS::Queue, Properties: { DelaySeconds: 901 } }
  B: { Type: AWS::SQS::Queue, Properties: { VisibilityTimeOut: 1 } }
";
    assert_eq!(
        faults(text, &stack()),
        [
            "template.yaml:3: 901 is not within 0 to 900 (Resources.A.Properties.DelaySeconds)",
            "template.yaml:4: VisibilityTimeOut is not supported (Resources.B.Properties.VisibilityTimeOut)",
        ]
    );
}

#[test]
fn a_method_of_a_path_leads_to_one_function() {
    let event = "{ Type: Api, Properties: { RestApiId: !Ref Api, Path: /a, Method: get } }";
    let text = function(&format!("Events: {{ One: {event}, Two: {event} }}"));
    assert_eq!(
        faults(&text, &stack()),
        ["template.yaml:7: GET /a already leads to Fn (Resources.Fn.Properties.Events)"]
    );
}

#[test]
fn aliases_that_multiply_are_stopped() {
    let mut lines = vec!["a0: &a0 [x, x, x, x, x, x, x, x, x, x]".to_owned()];
    for level in 1..12 {
        let alias = format!("*a{}, ", level - 1).repeat(10);
        lines.push(format!("a{level}: &a{level} [{alias}]"));
    }
    let text = lines.join("\n");
    let faults = faults(&text, &stack());
    assert!(faults[0].ends_with("the template is too large once its aliases are followed"));
}

#[test]
fn lists_that_nest_too_deep_are_stopped() {
    let text = "[".repeat(150) + &"]".repeat(150);
    assert_eq!(
        faults(&text, &stack()),
        ["template.yaml:1: more than 100 levels"]
    );
}
