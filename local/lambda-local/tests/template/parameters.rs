//! Parameters: their types and bounds.

use super::{faults, owned, resolve, stack};

fn template(parameter: &str) -> String {
    format!(
        "Parameters:
  P: {{ {parameter} }}
Resources:
  Queue: {{ Type: 'AWS::SQS::Queue' }}
Outputs:
  Out:
    Value: !Join ['|', [!Join ['+', [!Ref P]]]]
"
    )
}

#[test]
fn every_missing_parameter_is_named_at_once() {
    let text = "
Parameters:
  One: { Type: String }
  Two: { Type: Number }
  Three: { Type: String, Default: x }
Resources: {}
";
    assert_eq!(
        faults(text, &stack()),
        [
            "template.yaml:3: a value of the parameter One is missing (Parameters.One)",
            "template.yaml:4: a value of the parameter Two is missing (Parameters.Two)",
        ]
    );
}

#[test]
fn a_parameter_that_the_template_does_not_have_is_a_fault() {
    let mut inputs = stack();
    inputs.parameters = owned(&[("Q", "x")]);
    let faults = faults(&template("Type: String, Default: x"), &inputs);
    assert_eq!(
        faults,
        [
            "template.yaml:2: the parameter Q, which was given, is not defined in the template (Parameters)"
        ]
    );
}

#[test]
fn bounds_hold_and_the_message_does_not_repeat_the_value() {
    let table = [
        (
            "Type: String, AllowedValues: [a, b]",
            "secret",
            "the value is not one of a, b",
        ),
        (
            "Type: String, AllowedPattern: '[a-z]+'",
            "Secret1",
            "the value does not match [a-z]+",
        ),
        (
            "Type: String, MinLength: 3",
            "ab",
            "the value is below MinLength",
        ),
        (
            "Type: String, MaxLength: 3",
            "abcd",
            "the value is above MaxLength",
        ),
        ("Type: Number", "secret", "the value is not a number"),
        ("Type: Number", "NaN", "the value is not a number"),
        (
            "Type: Number, MinValue: 1",
            "0",
            "the value is below MinValue",
        ),
        (
            "Type: Number, MaxValue: 10",
            "11",
            "the value is above MaxValue",
        ),
        (
            "Type: List<Number>",
            "1,secret",
            "the value is not a number",
        ),
        (
            "Type: 'AWS::SSM::Parameter::Value<String>'",
            "x",
            "the parameter type AWS::SSM::Parameter::Value<String> is not supported",
        ),
        ("Type: String, Secret: true", "x", "Secret is not supported"),
    ];
    for (parameter, value, expected) in table {
        let mut inputs = stack();
        inputs.parameters = owned(&[("P", value)]);
        let expected = format!("template.yaml:2: {expected} (Parameters.P)");
        assert_eq!(
            faults(&template(parameter), &inputs),
            [expected],
            "{parameter}"
        );
    }
}

#[test]
fn values_within_their_bounds_are_taken() {
    let table = [
        ("Type: String, AllowedValues: [a, b]", "b"),
        ("Type: String, AllowedPattern: '[a-z]+|'", ""),
        (
            "Type: Number, MinValue: 1, MaxValue: 10, AllowedValues: [1, 5.0]",
            "5",
        ),
    ];
    for (parameter, value) in table {
        let mut inputs = stack();
        inputs.parameters = owned(&[("P", value)]);
        let application = resolve(&template(parameter), &inputs).unwrap();
        assert_eq!(application.outputs["Out"], value, "{parameter}");
    }
}
