#!/usr/bin/env python3
"""Asserts what SAM makes of template.yaml, offline.

  check-template.py            translate, compare with tests/snapshots/template.json, assert
  check-template.py --update   write the snapshot first

Checked: streamed routes are streamed and no others are; every function has a role of its own with exactly the actions
that template_expected.py lists, each of which its code calls; alarms watch every function; every schedule has its event
file; the cluster survives the stack; no value looks like a secret; what needs the schema waits for it; nothing has a name
that a second stack would want too; no trace holds a URL; the services' quotas are kept. Then the same translation with
every optional part is left in `.aws-sam/` for cfn-lint.
"""
import copy
import functools
import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

os.environ.setdefault("AWS_DEFAULT_REGION", "us-east-1")

from samtranslator.parser.parser import Parser  # noqa: E402
from samtranslator.translator.translator import Translator  # noqa: E402
from samtranslator.yaml_helper import yaml_parse  # noqa: E402

from template_expected import (  # noqa: E402
    ACTIONS,
    ALARMS,
    ALIAS,
    CALLS,
    CLUSTER_ARN,
    COMMON,
    COSTLY,
    EVERYTHING,
    NAMES,
    QUEUE_READER,
    SDKS,
    SESSION_TRUST,
    STAR_ALLOWED,
    STREAMED,
    UPLOADS,
    UPLOADS_BUCKET,
)

ROOT = Path(__file__).resolve().parent.parent
SNAPSHOT = ROOT / "tests" / "snapshots" / "template.json"


def translate(values=None, source=None):
    template = yaml_parse(source or (ROOT / "template.yaml").read_text())
    # A local CodeUri is what `sam package` replaces by its upload.
    for resource in template["Resources"].values():
        if resource["Type"] == "AWS::Serverless::Function":
            resource["Properties"]["CodeUri"] = "s3://bucket/key"
    translator = Translator({}, Parser())
    defaults = {name: spec.get("Default", "x") for name, spec in template["Parameters"].items()}
    return translator.translate(copy.deepcopy(template), defaults | (values or {}))


def listed(value):
    return value if isinstance(value, list) else [value]


def statements(role):
    for policy in role["Properties"].get("Policies", []):
        for statement in policy["PolicyDocument"]["Statement"]:
            # A conditional statement counts as there.
            yield statement["Fn::If"][1] if "Fn::If" in statement else statement


def crates_of(function):
    """The function's package and all packages of the workspace that it is built from."""
    folders = {name: folder for part in ("functions", "shared") for folder in (ROOT / part).iterdir() for name in [folder.name]}
    found, left = {}, [function]
    while left:
        name = left.pop()
        if name not in found:
            found[name] = tomllib.loads((folders[name] / "Cargo.toml").read_text())
            left += [dependency for dependency in found[name].get("dependencies", {}) if dependency in folders]
    return {folders[name]: manifest for name, manifest in found.items()}


@functools.cache
def packages_of(function):
    """Names of everything that the function is linked from, with the features that it asks for."""
    command = ["cargo", "tree", "--locked", "--package", function, "--edges", "normal", "--prefix", "none", "--format", "{p}"]
    lines = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout.splitlines()
    return {line.split()[0] for line in lines if line}


def check_calls(resources, faults):
    """Whether each action has something in the function that needs it, and each SDK an action."""
    mapped = {
        resource["Properties"]["FunctionName"]["Ref"].removesuffix(ALIAS)
        for resource in resources.values()
        if resource["Type"] == "AWS::Lambda::EventSourceMapping"
    }
    for name, actions in ACTIONS.items():
        crates, packages = crates_of(name.lower()), packages_of(name.lower())
        source = "".join(file.read_text() for folder in crates for file in sorted((folder / "src").rglob("*.rs")))
        variables = resources[f"{name}Function"]["Properties"]["Environment"]["Variables"]
        needed = {"dsql:DbConnectAdmin" if variables["DSQL_ROLE"] == "admin" else "dsql:DbConnect"}
        # A call in a crate whose SDK is left out is left out with it.
        carried = tuple(prefix for sdk, prefix in SDKS.items() if sdk in packages)
        needed |= {action for action, call in CALLS.items() if action.startswith(carried) and re.search(call, source)}
        if f"{name}Function" in mapped:
            needed |= QUEUE_READER
        if needed != actions:
            faults.append(f"{name}Role: the code needs {sorted(needed)}, the role has {sorted(actions)}")
        for prefix in carried:
            if not any(action.startswith(prefix) for action in actions):
                faults.append(f"{name}: built with the SDK of {prefix}, and may do nothing with it")


def check_alarms(resources, faults):
    for name, wanted in ALARMS.items():
        watched = set()
        for metric in resources[name]["Properties"].get("Metrics", []):
            if "MetricStat" in metric:
                value = metric["MetricStat"]["Metric"]["Dimensions"][-1]["Value"]
                watched.add(value["Ref"].removesuffix("Function") if isinstance(value, dict) else value)
        if watched != wanted:
            faults.append(f"{name} watches {sorted(watched)}, should watch {sorted(wanted)}")
    for name, resource in resources.items():
        if resource["Type"] == "AWS::CloudWatch::Alarm":
            properties = resource["Properties"]
            if properties.get("OKActions") != properties.get("AlarmActions"):
                faults.append(f"{name}: its end is not told")
            for metric in json_objects(properties):
                dimensions = {dimension["Name"] for dimension in metric.get("Dimensions", [])}
                if metric.get("Namespace") == "DsqlChat" and "stack" not in dimensions:
                    faults.append(f"{name}: a metric of any stack")
            for quoted in re.findall(r'See docs/operations.md, "(.*)"', properties["AlarmDescription"]):
                if quoted.lower() not in (ROOT / "docs" / "operations.md").read_text().lower():
                    faults.append(f"{name}: docs/operations.md has nothing on {quoted!r}")


def check_events(resources, faults):
    """Whether each schedule's input is an event that tests run."""
    events = [json.loads(file.read_text()) for file in (ROOT / "events" / "maintenance").glob("*.json")]
    for name, resource in resources.items():
        if resource["Type"] == "AWS::Scheduler::Schedule":
            if json.loads(resource["Properties"]["Target"]["Input"]) not in events:
                faults.append(f"{name}: its input has no file in events/maintenance")


def check_roles(resources, faults):
    functions = {name: r for name, r in resources.items() if r["Type"] == "AWS::Lambda::Function"}
    roles = [json.dumps(f["Properties"]["Role"]) for f in functions.values()]
    if len(set(roles)) != len(roles):
        faults.append("two functions share a role")
    if {name.removesuffix("Function") for name in functions} != set(ACTIONS):
        faults.append(f"functions {sorted(functions)} are not those with known actions")
    for name, wanted in ACTIONS.items():
        role = resources[f"{name}Role"]
        if role["Properties"].get("ManagedPolicyArns"):
            faults.append(f"{name}Role: managed policies allow more than is asked for")
        actions = set()
        for statement in statements(role):
            given = set(listed(statement["Action"]))
            actions |= given
            if any("*" in action for action in given):
                faults.append(f"{name}Role: wildcard in {sorted(given)}")
            if "*" in listed(statement["Resource"]) and not given <= STAR_ALLOWED:
                faults.append(f"{name}Role: any resource for {sorted(given)}")
            uploads = UPLOADS_BUCKET if given == {"s3:ListBucket"} else UPLOADS
            if any(action.startswith("s3:") for action in given) and statement["Resource"] != uploads:
                faults.append(f"{name}Role: s3 actions on something else than the uploads")
            if any(action.startswith("dsql:") for action in given) and statement["Resource"] != CLUSTER_ARN:
                faults.append(f"{name}Role: dsql actions on something else than the cluster")
        if actions - COMMON != wanted:
            faults.append(f"{name}Role: {sorted(actions - COMMON)} instead of {sorted(wanted)}")


    for name, role in resources.items():
        if name.startswith("SqlSession"):
            trust = role["Properties"]["AssumeRolePolicyDocument"]["Statement"]
            if [statement["Principal"] for statement in trust] != [SESSION_TRUST]:
                faults.append(f"{name}: trusts others than sql, and maintenance where it writes tokens into Hyperdrive")


def check_routes(resources, faults):
    paths = resources["Api"]["Properties"]["Body"]["paths"]
    streamed = set()
    for path, methods in paths.items():
        for method, operation in methods.items():
            integration = operation.get("x-amazon-apigateway-integration", {})
            uri = json.dumps(integration.get("uri", ""))
            is_stream = integration.get("responseTransferMode") == "STREAM"
            if is_stream != ("/response-streaming-invocations" in uri):
                faults.append(f"{method} {path}: transfer mode and integration disagree")
            if is_stream and integration.get("timeoutInMillis", 0) < 60_000:
                faults.append(f"{method} {path}: streamed, and cut after 29 s")
            if is_stream:
                streamed.add((path, method))
    if streamed != STREAMED:
        faults.append(f"streamed are {sorted(streamed)}, should be {sorted(STREAMED)}")


def check_throttles(resources, faults):
    """Whether every method setting is that of a method there is, and what costs most has a throttle of its own."""
    paths = resources["Api"]["Properties"]["Body"]["paths"]
    methods = {(path, method) for path, methods in paths.items() for method in methods}
    throttled = set()
    for setting in resources["Apiv1Stage"]["Properties"]["MethodSettings"]:
        path = setting["ResourcePath"].removeprefix("/").replace("~1", "/")
        method = (path, setting["HttpMethod"].lower())
        if method == ("*", "*"):
            continue
        if method not in methods:
            faults.append(f"MethodSettings: {method[1]} {path} is no method of the API, which API Gateway refuses")
        throttled.add(method)
    if throttled != COSTLY:
        faults.append(f"throttled by themselves are {sorted(throttled)}, should be {sorted(COSTLY)}")


def check_rest(resources, text, faults):
    cluster = resources["Cluster"]
    if cluster.get("DeletionPolicy") != "Retain" or not cluster["Properties"]["DeletionProtectionEnabled"]:
        faults.append("the cluster does not survive the stack")
    bucket, policy = resources["UploadsBucket"], json.dumps(resources["UploadsBucketPolicy"]["Properties"]["PolicyDocument"])
    if bucket.get("DeletionPolicy") != "Retain" or bucket.get("Condition") != "HasUploads":
        faults.append("the bucket of uploads does not survive the stack, or is there without being asked for")
    if not all(bucket["Properties"]["PublicAccessBlockConfiguration"].values()) or '"aws:SecureTransport": "false"' not in policy:
        faults.append("the bucket of uploads may be public, or is reached without TLS")
    for pattern in (r"AKIA[0-9A-Z]{16}", r"-----BEGIN", r"(?i)\"(password|secret|apikey)\"\s*:\s*\"[^\"{]"):
        if re.search(pattern, text):
            faults.append(f"something looks like a secret: {pattern}")
    for name, resource in resources.items():
        if resource["Type"] == "AWS::Lambda::Function" and "LogGroup" not in resource["Properties"]["LoggingConfig"]:
            faults.append(f"{name}: no log group of its own")
        if resource["Type"] == "AWS::SQS::Queue" and not resource["Properties"].get("SqsManagedSseEnabled"):
            faults.append(f"{name}: not encrypted")


def json_objects(value):
    """Every object in a value, itself included."""
    if isinstance(value, dict):
        yield value
    for inner in value.values() if isinstance(value, dict) else value if isinstance(value, list) else []:
        yield from json_objects(inner)


def check_order(resources, faults):
    """Whether everything that uses the schema waits for it, and API Gateway's log for its role."""
    for name, resource in resources.items():
        if resource["Type"] == "AWS::Lambda::Function" and name != "AdminFunction":
            if "Schema" not in listed(resource.get("DependsOn", [])):
                faults.append(f"{name}: on a first deployment it runs without the schema, later on the old one")
    if not re.fullmatch(r"[0-9a-f]{16}", str(resources["Schema"]["Properties"].get("Fingerprint"))):
        faults.append("Schema: without the fingerprint a change of grants is never applied (make fingerprint)")
    stage = json.dumps(resources["Apiv1Stage"]["Properties"]["AccessLogSetting"])
    if "ApiLogs" not in stage or "ApiLogsAccount" not in json.dumps(resources["ApiLogs"]):
        faults.append("Api: API Gateway cannot log before the account has a role for it")


def check_names(resources, faults):
    """Whether a second stack in the same account and Region would find every name free."""
    for name, resource in resources.items():
        given = resource.get("Properties", {}).get(NAMES.get(resource["Type"]))
        if given is not None and "AWS::StackName" not in json.dumps(given):
            faults.append(f"{name}: a second stack cannot have the name {given}")
    for metric in re.findall(r'\["DsqlChat", "\w+", (.*?)\]', resources["Dashboard"]["Properties"]["DashboardBody"]["Fn::Sub"]):
        if not metric.startswith('"stack", "${AWS::StackName}"'):
            faults.append(f"Dashboard: a metric of any stack, {metric}")


def check_traces(resources, faults):
    """Whether no trace has a URL, which holds a share's token and what was searched for, or a caller's address."""
    for name, resource in resources.items():
        properties = resource.get("Properties", {})
        if resource["Type"] == "AWS::ApiGateway::Stage" and properties.get("TracingEnabled") is not False:
            faults.append(f"{name}: X-Ray would keep URLs and addresses of its requests")
        settings = properties.get("MethodSettings", []) if resource["Type"] == "AWS::ApiGateway::Stage" else []
        if any(setting.get("DataTraceEnabled") or "LoggingLevel" in setting for setting in settings):
            faults.append(f"{name}: its log would keep headers and bodies")


def check_gateway(resources, faults):
    """Whether a page may read what API Gateway answers by itself."""
    responses = resources["Api"]["Properties"]["Body"].get("x-amazon-apigateway-gateway-responses", {})
    for kind in ("DEFAULT_4XX", "DEFAULT_5XX"):
        headers = responses.get(kind, {}).get("responseParameters", {})
        if "gatewayresponse.header.Access-Control-Allow-Origin" not in headers:
            faults.append(f"Api: a page cannot read {kind}, it has no CORS headers")


def check_notices(resources, faults):
    """Whether what CloudWatch and Budgets publish arrives: neither may use the key that SNS has."""
    for name, resource in resources.items():
        if resource["Type"] == "AWS::SNS::Topic" and resource["Properties"].get("KmsMasterKeyId") == "alias/aws/sns":
            faults.append(f"{name}: CloudWatch cannot publish to a topic under alias/aws/sns")


def check_quotas(translated, faults):
    """Whether the template keeps what the services allow by default."""
    resources = translated["Resources"]
    body = resources["Api"]["Properties"]["Body"]
    # API Gateway counts each segment of a path as a resource, the root too.
    segments = {tuple(path.split("/")[:depth]) for path in body["paths"] for depth in range(1, path.count("/") + 2)}
    reserved = sum("ReservedConcurrentExecutions" in resource.get("Properties", {}) for resource in resources.values())
    variables = max(
        len(json.dumps(resource["Properties"]["Environment"]["Variables"]))
        for resource in resources.values()
        if resource["Type"] == "AWS::Lambda::Function"
    )
    for what, found, limit in (
        ("resources of a stack", len(resources), 500),
        ("parameters of a stack", len(translated["Parameters"]), 200),
        ("outputs of a stack", len(translated["Outputs"]), 200),
        ("bytes of a template", len(json.dumps(translated)), 1_000_000),
        ("resources of an API", len(segments), 300),
        ("characters of a function's variables, without keys", variables, 4096 - 2048),
        ("milliseconds of an integration", longest_integration(body), 300_000),
        ("connections of a cluster", reserved * translated["Parameters"]["ReservedConcurrency"].get("MaxValue", 10**6), 10_000),
        ("metrics of an alarm", max(len(r["Properties"].get("Metrics", [])) for r in resources.values() if "Alarm" in r["Type"]), 10),
        ("characters of a role's policies", max(policy_size(r) for r in resources.values() if r["Type"] == "AWS::IAM::Role"), 10_240),
    ):
        if found > limit:
            faults.append(f"{what}: {found}, {limit} are allowed")


def longest_integration(body):
    return max(
        operation.get("x-amazon-apigateway-integration", {}).get("timeoutInMillis", 29_000)
        for methods in body["paths"].values()
        for operation in methods.values()
    )


def policy_size(role):
    return sum(len(json.dumps(policy)) for policy in role["Properties"].get("Policies", []))


def check_aliases(resources, faults):
    """Whether everything that calls a function calls its alias: a caller that is left out would have an update at once."""
    for name, resource in resources.items():
        properties = resource.get("Properties", {})
        called = {
            "AWS::Lambda::Permission": properties.get("FunctionName"),
            "AWS::Lambda::EventSourceMapping": properties.get("FunctionName"),
            "AWS::Scheduler::Schedule": properties.get("Target", {}).get("Arn"),
        }.get(resource["Type"])
        if called is not None and not called.get("Ref", "").endswith(ALIAS):
            faults.append(f"{name}: calls a function past its alias")
    for methods in resources["Api"]["Properties"]["Body"]["paths"].values():
        for operation in methods.values():
            uri = json.dumps(operation.get("x-amazon-apigateway-integration", {}).get("uri", ""))
            if f"{ALIAS}}}" not in uri:
                faults.append(f"Api: {uri} calls a function past its alias")


def check_revision(faults, source=None):
    """Whether a change of a parameter alone is a new version of each function."""
    versions = [
        {name for name, resource in translate({"Revision": revision}, source)["Resources"].items() if resource["Type"] == "AWS::Lambda::Version"}
        for revision in ("a", "b")
    ]
    if versions[0] & versions[1] or len(versions[0]) != len(ACTIONS) - 1:
        faults.append("functions: a change of a parameter would reach no visitor, or not all functions have versions")


def check_samconfig(faults):
    """Whether a change outside a function's folder is built: SAM's own cache looks at that folder alone."""
    config = tomllib.loads((ROOT / "samconfig.toml").read_text())
    for name, commands in config.items():
        build = commands.get("build", {}).get("parameters", {}) if isinstance(commands, dict) else {}
        if build.get("cached", False) is not False:
            faults.append(f"samconfig.toml: [{name}] builds from SAM's cache, which misses changes in shared/ and Cargo.lock")


def faults_of(translated, text):
    """What is wrong with the translated template, which is `text` as JSON."""
    faults = []
    resources = translated["Resources"]
    check_roles(resources, faults)
    check_calls(resources, faults)
    check_routes(resources, faults)
    check_throttles(resources, faults)
    check_alarms(resources, faults)
    check_events(resources, faults)
    check_rest(resources, text, faults)
    check_order(resources, faults)
    check_names(resources, faults)
    check_traces(resources, faults)
    check_gateway(resources, faults)
    check_aliases(resources, faults)
    check_notices(resources, faults)
    check_quotas(translated, faults)
    return faults


def main():
    translated = translate()
    text = json.dumps(translated, indent=1, sort_keys=True) + "\n"
    # The deployment's logical id and the API's body hash change with every route: not worth a line of the snapshot.
    text = re.sub(r"ApiDeployment[0-9a-f]{10}", "ApiDeployment", text)
    text = re.sub(r"sha: [0-9a-f]{64}|RestApi deployment id: [0-9a-f]{40}", "deployment", text)
    if "--update" in sys.argv[1:]:
        SNAPSHOT.parent.mkdir(exist_ok=True)
        SNAPSHOT.write_text(text)
    faults = faults_of(translated, text)
    check_samconfig(faults)
    check_revision(faults)
    everything = translate(EVERYTHING)
    for name, value in EVERYTHING.items():
        everything["Parameters"][name]["Default"] = value
    # What the transform has used up: CloudFormation sees it in the template, cfn-lint does not.
    del everything["Parameters"]["GradualDeployment"], everything["Mappings"]
    (ROOT / ".aws-sam").mkdir(exist_ok=True)
    (ROOT / ".aws-sam" / "everything.json").write_text(json.dumps(everything, indent=1))
    if not SNAPSHOT.exists() or SNAPSHOT.read_text() != text:
        faults.append(f"the translated template is not {SNAPSHOT.relative_to(ROOT)}: look at the difference, then --update")
    print("\n".join(faults) if faults else f"template.yaml: {len(translated['Resources'])} resources are as they should be")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
