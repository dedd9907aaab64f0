//! Intrinsic functions, in both forms.

use super::{faults, owned, resolve, stack};

/// The value of an output in a small template.
fn value(expression: &str) -> String {
    let text = template(expression);
    let mut inputs = stack();
    inputs.attributes = owned(&[("Thing.Color", "red"), ("{{resolve:ssm:name:1}}", "stored")]);
    let application =
        resolve(&text, &inputs).unwrap_or_else(|error| panic!("{expression}: {error}"));
    application.outputs["Out"].clone()
}

fn template(expression: &str) -> String {
    format!(
        "Parameters:
  Name: {{ Type: String, Default: world }}
  Empty: {{ Type: String, Default: '' }}
  Names: {{ Type: CommaDelimitedList, Default: 'a, b,c' }}
  Count: {{ Type: Number, Default: 3 }}
Mappings:
  Regions:
    us-east-1: {{ Zone: one, Zones: [x, y] }}
Conditions:
  Yes: !Equals [!Ref Name, world]
  No: !Not [!Condition Yes]
  Both: !And [!Condition Yes, {{ Condition: Yes }}, !Equals [3, !Ref Count]]
  Either: {{ 'Fn::Or': [!Condition No, !Condition Both] }}
Resources:
  Thing: {{ Type: 'Custom::Thing', Properties: {{ ServiceToken: !GetAtt Fn.Arn }} }}
  Fn: {{ Type: 'AWS::Serverless::Function', Properties: {{ CodeUri: code, Runtime: provided.al2023, Handler: bootstrap }} }}
  Queue: {{ Type: 'AWS::SQS::Queue', Properties: {{ QueueName: jobs }} }}
  Topic: {{ Type: 'AWS::SNS::Topic' }}
  Logs: {{ Type: 'AWS::Logs::LogGroup' }}
  Role: {{ Type: 'AWS::IAM::Role', Properties: {{ RoleName: mine, AssumeRolePolicyDocument: {{ Statement: [] }} }} }}
  Api: {{ Type: 'AWS::Serverless::Api', Properties: {{ StageName: v1 }} }}
  Gone: {{ Type: 'AWS::SQS::Queue', Condition: No }}
Outputs:
  Out:
    Value: {expression}
"
    )
}

#[test]
fn each_has_the_value_that_cloudformation_gives() {
    let table = [
        ("plain", "plain"),
        ("12", "12"),
        ("yes", "true"),
        ("'yes'", "yes"),
        ("!Ref Name", "world"),
        ("{ Ref: Name }", "world"),
        ("!Ref Count", "3"),
        ("!Ref AWS::Region", "us-east-1"),
        ("!Ref AWS::AccountId", "123456789012"),
        ("!Ref AWS::StackName", "chat"),
        ("!Ref AWS::Partition", "aws"),
        ("!Ref AWS::URLSuffix", "amazonaws.com"),
        (
            "!Ref AWS::StackId",
            "arn:aws:cloudformation:us-east-1:123456789012:stack/chat/local",
        ),
        ("!Ref Fn", "chat-Fn"),
        (
            "!GetAtt Fn.Arn",
            "arn:aws:lambda:us-east-1:123456789012:function:chat-Fn",
        ),
        (
            "{ 'Fn::GetAtt': [Fn, Arn] }",
            "arn:aws:lambda:us-east-1:123456789012:function:chat-Fn",
        ),
        (
            "!GetAtt FnRole.Arn",
            "arn:aws:iam::123456789012:role/chat-FnRole",
        ),
        ("!GetAtt Role.Arn", "arn:aws:iam::123456789012:role/mine"),
        (
            "!Ref Queue",
            "https://sqs.us-east-1.amazonaws.com/123456789012/jobs",
        ),
        (
            "!GetAtt Queue.QueueUrl",
            "https://sqs.us-east-1.amazonaws.com/123456789012/jobs",
        ),
        (
            "!GetAtt Queue.Arn",
            "arn:aws:sqs:us-east-1:123456789012:jobs",
        ),
        ("!GetAtt Queue.QueueName", "jobs"),
        (
            "!Ref Topic",
            "arn:aws:sns:us-east-1:123456789012:chat-Topic",
        ),
        ("!GetAtt Topic.TopicName", "chat-Topic"),
        ("!Ref Logs", "chat-Logs"),
        (
            "!GetAtt Logs.Arn",
            "arn:aws:logs:us-east-1:123456789012:log-group:chat-Logs:*",
        ),
        ("!Ref Api.Stage", "v1"),
        ("!GetAtt Thing.Color", "red"),
        (
            "!Sub 'hello ${Name}, ${Thing.Color} ${!Name} ${ AWS::Region }'",
            "hello world, red ${Name} us-east-1",
        ),
        ("!Sub ['${Name} ${Own}', { Own: !Ref Count }]", "world 3"),
        ("!Sub '${Api.Stage}'", "v1"),
        ("{ 'Fn::Sub': '${Fn}' }", "chat-Fn"),
        ("!Join ['-', !Ref Names]", "a-b-c"),
        ("!Join ['', [x, !Ref AWS::NoValue, !If [No, a, z]]]", "xz"),
        ("!Select [1, !Ref Names]", "b"),
        ("!Select ['2', !Split ['/', 'x/y/z']]", "z"),
        ("!Join [',', !Split ['-', 'a-b']]", "a,b"),
        ("!FindInMap [Regions, !Ref AWS::Region, Zone]", "one"),
        (
            "!Select [1, !FindInMap [Regions, !Ref AWS::Region, Zones]]",
            "y",
        ),
        ("{ 'Fn::Base64': !Ref Name }", "d29ybGQ="),
        ("!Base64 { 'Fn::Sub': '${Name}' }", "d29ybGQ="),
        ("!If [Yes, y, n]", "y"),
        ("!If [No, !Ref Gone, n]", "n"),
        ("!If [Both, !If [Either, deep, n], n]", "deep"),
        (
            "'before {{resolve:ssm:name:1}} after'",
            "before stored after",
        ),
    ];
    for (expression, expected) in table {
        assert_eq!(value(expression), expected, "{expression}");
    }
}

#[test]
fn what_cannot_have_a_value_is_named() {
    let table = [
        (
            "!ImportValue other",
            "Fn::ImportValue is not supported (Outputs.Out.Value)",
        ),
        (
            "{ 'Fn::GetAZs': '' }",
            "Fn::GetAZs is not supported (Outputs.Out.Value)",
        ),
        (
            "!Equals [a, b]",
            "Fn::Equals is not supported (Outputs.Out.Value)",
        ),
        (
            "!Ref Nobody",
            "Nobody is not defined in the template (Outputs.Out.Value)",
        ),
        (
            "!Ref AWS::NotificationARNs",
            "AWS::NotificationARNs is not supported (Outputs.Out.Value)",
        ),
        (
            "!GetAtt Nobody.Arn",
            "Nobody.Arn is not defined in the template (Outputs.Out.Value)",
        ),
        (
            "!GetAtt Queue",
            "Fn::GetAtt takes a resource and its attribute (Outputs.Out.Value)",
        ),
        (
            "!Sub '${Nobody.Arn}'",
            "Nobody.Arn is not defined in the template (Outputs.Out.Value)",
        ),
        (
            "!Sub '${Name'",
            "Fn::Sub has a ${ that no } ends (Outputs.Out.Value)",
        ),
        (
            "!Ref Gone",
            "Gone is not part of this stack, because its condition is false (Outputs.Out.Value)",
        ),
        (
            "!If [Maybe, a, b]",
            "the condition Maybe is not defined in the template (Outputs.Out.Value)",
        ),
        (
            "!If [Yes, a]",
            "Fn::If takes a list of 3 values (Outputs.Out.Value)",
        ),
        (
            "!Select [3, [a, b]]",
            "Select asks for index 3 of 2 values (Outputs.Out.Value)",
        ),
        (
            "!FindInMap [Regions, eu-west-1, Zone]",
            "Mappings.Regions.eu-west-1.Zone is not defined in the template (Outputs.Out.Value)",
        ),
        (
            "!Ref Names",
            "text is needed here, not a list (Outputs.Out.Value)",
        ),
        (
            "!Ref AWS::NoValue",
            "AWS::NoValue cannot stand here (Outputs.Out.Value)",
        ),
        ("", "the value is empty (Outputs.Out.Value)"),
    ];
    for (expression, expected) in table {
        let faults = faults(&template(expression), &stack());
        let found = faults[0].strip_prefix("template.yaml:25: ");
        assert_eq!(found, Some(expected), "{expression}: {faults:?}");
    }
}

#[test]
fn an_output_with_a_dynamic_reference_waits() {
    let text = template("'{{resolve:secretsmanager:key}}'");
    let application = resolve(&text, &stack()).unwrap();
    assert_eq!(application.pending_outputs, ["Out"]);
}

#[test]
fn aliases_and_merge_keys_stand_for_what_they_name() {
    let text = "
Resources:
  A:
    Type: AWS::Serverless::Function
    Properties: &shared
      CodeUri: a
      Timeout: 5
      Environment: { Variables: &variables { ONE: '1', TWO: '2' } }
  B:
    Type: AWS::Serverless::Function
    Properties:
      <<: *shared
      CodeUri: b
      Environment: { Variables: { <<: *variables, TWO: zwei } }
";
    let application = resolve(text, &stack()).unwrap();
    let b = super::function(&application, "B");
    assert_eq!(b.code_uri.to_str(), Some("b"));
    assert_eq!(b.timeout.as_secs(), 5);
    assert_eq!(b.environment, owned(&[("ONE", "1"), ("TWO", "zwei")]));
}

#[test]
fn a_json_template_is_read_too() {
    let text = r#"{
  "Resources": {
    "Fn": {"Type": "AWS::Serverless::Function", "Properties": {"CodeUri": "x", "Timeout": 4}}
  },
  "Outputs": {"Out": {"Value": {"Fn::Sub": "${Fn}"}}}
}"#;
    let application = resolve(text, &stack()).unwrap();
    assert_eq!(application.outputs["Out"], "chat-Fn");
    assert_eq!(application.functions[0].timeout.as_secs(), 4);
}
