#!/usr/bin/env python3
"""The least that a role needs to deploy template.yaml, docs/deploy-policy.json, against what AWS publishes: the schema of each
resource type names the actions that CloudFormation takes with it.

  deploy-policy.py             compare
  deploy-policy.py --update    write it first
"""
import json
import sys
from fnmatch import fnmatchcase
from importlib.resources import files
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
POLICY = ROOT / "docs" / "deploy-policy.json"
TRANSLATED = ROOT / ".aws-sam" / "everything.json"  # which check-template.py leaves
PREFIX = "dsql-chat"  # of every stack that the role may deploy
# Of services, and for properties, that the template does not use.
FOREIGN = {
    "amplify", "apprunner", "appsync", "bedrock-agentcore", "billing", "cognito-idp", "ec2", "elasticfilesystem",
    "elasticloadbalancing", "firehose", "payments", "s3files", "s3tables",
}
UNUSED = (
    "AccessPolicy", "Bearer", "CapacityProvider", "ClusterPolicy", "CodeSigning", "DataProtection", "FunctionScaling",
    "IndexPolic", "LayerVersion", "LockConfiguration", "LogDelivery", "LogGroupDeletionProtection", "MultiRegion",
    "OnPremises", "PeerCluster", "PermissionPolicy", "PermissionsBoundary", "ProvisionedConcurrency", "Recursion",
    "RemoveRegions", "ReplicateSecret", "ResourcePolic", "RestApiPolicy", "RuntimeAlias", "RuntimeManagement",
    "VaultNotifications", "VpcEndpoint", "WitnessRegion", "logs:AssociateKmsKey", "logs:DisassociateKmsKey",
    # Of buckets.
    "Abac", "Accelerate", "Acl", "Analytics", "BucketCors", "BucketEncryption", "BucketLifecycle", "BucketLogging",
    "BucketMetadata", "BucketMetrics", "BucketNotification", "BucketVersioning", "IntelligentTiering", "InventoryConf", "MetadataTable",
    "MetricsConf", "ObjectLock", "Replication", "Website", "s3:DeleteObject", "s3:GetObject", "s3:REST",
)
# What `sam deploy` and the smoke test do themselves.
SAM = {
    "cloudformation:CreateChangeSet", "cloudformation:CreateStack", "cloudformation:DeleteChangeSet", "cloudformation:DeleteStack",
    "cloudformation:DescribeChangeSet", "cloudformation:DescribeStackEvents", "cloudformation:DescribeStackResource",
    "cloudformation:DescribeStacks", "cloudformation:ExecuteChangeSet", "cloudformation:GetTemplate",
    "cloudformation:GetTemplateSummary", "cloudformation:ListStackResources", "cloudformation:TagResource",
}
# The bucket that SAM uploads to, and that of uploads, whose objects are no business of who deploys. With stars, which stand for
# settings of these buckets, because of the limit below.
BUCKETS = {"s3:*EncryptionConfiguration", "s3:CreateBucket", "s3:GetBucket*", "s3:ListBucket", "s3:PutBucket*"}
SAM_OBJECTS = {"s3:GetObject", "s3:PutObject"}
UPLOADS = {
    "s3:*LifecycleConfiguration", "s3:DeleteBucket", "s3:DeleteBucketPolicy", "s3:ListTagsForResource", "s3:TagResource",
    "s3:UntagResource",
}
SAM_BUCKET, UPLOADS_BUCKET = "arn:aws:s3:::aws-sam-cli-managed-default-*", f"arn:aws:s3:::{PREFIX}*"
SMOKE = {"lambda:InvokeFunction"}
LOOK = {"cloudwatch:ListMetrics", "logs:DescribeLogStreams"}
# Actions whose resource has the stack's name in front, so that the role can do nothing to others.
NAMED = {
    "iam": "arn:aws:iam::*:role/%s*",
    "lambda": "arn:aws:lambda:*:*:function:%s*",
    "sqs": "arn:aws:sqs:*:*:%s*",
    "sns": "arn:aws:sns:*:*:%s*",
}
UNNAMED = {"iam:CreateServiceLinkedRole", "iam:PassRole", "sns:Unsubscribe"} | {
    f"lambda:{verb}EventSourceMapping" for verb in ("Create", "Delete", "Get", "Update")
} | {"lambda:ListTags", "lambda:TagResource", "lambda:UntagResource"}
LIMIT = 6144  # characters of a managed policy, white space not counted


def schemas():
    folder = files("cfnlint.data.schemas") / "resources"
    for file in folder.iterdir():
        if file.name.endswith(".json"):
            schema = json.loads(file.read_text())
            yield schema.get("typeName"), schema.get("handlers", {})


def needed(types):
    actions, unknown = set(), {kind for kind in types if not kind.startswith("Custom::")}
    for kind, handlers in schemas():
        if kind in types and handlers:
            unknown.discard(kind)
            for verb in ("create", "read", "update", "delete"):
                actions |= set(handlers.get(verb, {}).get("permissions", []))
    return {action for action in actions if is_used(action)}, unknown


def is_used(action):
    return action.split(":")[0] not in FOREIGN and not any(word in action for word in UNUSED)


def statement(actions, resource, **condition):
    return {"Effect": "Allow", "Action": sorted(actions), "Resource": resource, **condition}


def policy(actions):
    statements = []
    for service, pattern in NAMED.items():
        own = {action for action in actions if action.startswith(f"{service}:")} - UNNAMED
        statements.append(statement(own | (SMOKE if service == "lambda" else set()), pattern % PREFIX))
        actions = actions - own
    services = {"StringEquals": {"iam:PassedToService": [
        f"{name}.amazonaws.com" for name in ("apigateway", "backup", "codedeploy", "lambda", "scheduler")
    ]}}
    linked = {"StringLike": {"iam:AWSServiceName": [f"{name}.amazonaws.com" for name in ("backup", "dsql", "ops.apigateway")]}}
    s3 = {action for action in actions if action.startswith("s3:")}
    kms = {action for action in actions if action.startswith("kms:")}
    stacks = [f"arn:aws:cloudformation:*:*:stack/{name}*/*" for name in (PREFIX, "aws-sam-cli-managed-default")]
    transform = "arn:aws:cloudformation:*:aws:transform/Serverless-2016-10-31"
    statements += [
        statement({"iam:PassRole"}, NAMED["iam"] % PREFIX, Condition=services),
        statement({"iam:CreateServiceLinkedRole"}, "*", Condition=linked),
        statement(kms, "*", Condition={"Bool": {"aws:ViaAWSService": "true"}}),
        statement(SAM, [*stacks, transform]),
        statement(BUCKETS, [SAM_BUCKET, UPLOADS_BUCKET]),
        statement(SAM_OBJECTS, SAM_BUCKET),
        statement(UPLOADS, UPLOADS_BUCKET),
        statement((actions - s3 - kms - {"iam:PassRole", "iam:CreateServiceLinkedRole"}) | LOOK, "*"),
    ]
    return {"Version": "2012-10-17", "Statement": statements}


def main():
    types = {resource["Type"] for resource in json.loads(TRANSLATED.read_text())["Resources"].values()}
    actions, unknown = needed(types)
    faults = [f"{kind} has no published schema: what it needs is not known" for kind in sorted(unknown)]
    allowed = BUCKETS | UPLOADS
    buckets = {action for action in actions if action.startswith("s3:")}
    faults += [f"no statement has {action}" for action in sorted(buckets) if not any(fnmatchcase(action, one) for one in allowed)]
    text = json.dumps(policy(actions), indent=2) + "\n"
    if "--update" in sys.argv[1:]:
        POLICY.write_text(text)
    if not POLICY.exists() or POLICY.read_text() != text:
        faults.append(f"{POLICY.relative_to(ROOT)} is not what the template needs: deploy-policy.py --update, and look at the difference")
    size = len("".join(text.split()))
    if size > LIMIT:
        faults.append(f"the policy has {size} characters, a managed policy {LIMIT} at most")
    print("\n".join(faults) if faults else f"deploy-policy.json: {len(types)} types, {size} characters")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
