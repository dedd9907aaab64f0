#!/usr/bin/env python3
"""Proves that check-template.py finds what once was wrong with template.yaml: each old fault is put back, and has to be found."""
import importlib.util
import json
import sys
from pathlib import Path

spec = importlib.util.spec_from_file_location("check_template", Path(__file__).with_name("check-template.py"))
check = importlib.util.module_from_spec(spec)
spec.loader.exec_module(check)

# What is replaced, by what, and words of the fault that has to be found.
FAULTS = [
    ("OmitName: true # a name of its own for each stack", "Name: relay", "a second stack cannot have the name"),
    ("      Fingerprint: '", "      Version: '", "without the fingerprint"),
    ("    DependsOn: Schema\n", "", "it runs without the schema"),
    ("Value: !If [MakesApiLogsRole, !Ref ApiLogsAccount, account-role]", "Value: nobody", "cannot log before the account has a role"),
    ("        DEFAULT_5XX: *for-browsers\n", "", "a page cannot read DEFAULT_5XX"),
    ("Subscription: [{ Protocol: email", "KmsMasterKeyId: alias/aws/sns\n      Subscription: [{ Protocol: email", "CloudWatch cannot publish"),
    ("      OKActions: *notify\n", "", "its end is not told"),
    ("Dimensions: [{ Name: stack, Value: !Ref AWS::StackName }, ", "Dimensions: [", "a metric of any stack"),
    ('"stack", "${AWS::StackName}", "function", "chats"', '"function", "chats"', "Dashboard: a metric of any stack"),
    ("DeletionProtectionEnabled: true", "DeletionProtectionEnabled: false", "does not survive the stack"),
    ("TimeoutInMillis: 300000", "TimeoutInMillis: 900000", "milliseconds of an integration"),
    ("    MaxValue: 3000\n", "    MaxValue: 5000\n", "connections of a cluster"),
    ("/~1api~1me~1export", "/api/me/export", "is no method of the API"),
    ("        - { HttpMethod: GET, ResourcePath: /~1api~1me~1export, ", "        # ", "throttled by themselves are"),
    ("!GetAtt MaintenanceRole.Arn], !GetAtt SqlRole.Arn]", "!GetAtt MaintenanceRole.Arn], !GetAtt JobsRole.Arn]", "trusts others than sql"),
    ("TracingEnabled: false", "TracingEnabled: true", "keep URLs and addresses"),
    ("DataTraceEnabled: false", "DataTraceEnabled: true", "keep headers and bodies"),
    ("      AutoPublishAlias: live\n      AutoPublishCodeSha256: !Ref Revision\n      DeploymentPreference: *gradual\n", "", "calls a function past its alias"),
    ("Action: 'sqs:SendMessage'", "Action: 'sqs:*'", "wildcard"),
    ("RestrictPublicBuckets: true", "RestrictPublicBuckets: false", "may be public"),
]


def main():
    template, unfound = (check.ROOT / "template.yaml").read_text(), []
    for old, new, words in FAULTS:
        if old not in template:
            unfound.append(f"template.yaml has no {old!r} any more: say here how the fault looks now")
            continue
        translated = check.translate(source=template.replace(old, new))
        found = check.faults_of(translated, json.dumps(translated))
        if not any(words in fault for fault in found):
            unfound.append(f"nobody finds that {old!r} became {new!r}: {found}")
    print("\n".join(unfound) if unfound else f"check-template.py: {len(FAULTS)} old faults are found")
    return 1 if unfound else 0


if __name__ == "__main__":
    sys.exit(main())
