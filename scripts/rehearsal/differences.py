"""Where the emulator differs from AWS in what template.yaml uses, put right: methods and media types of an imported API,
alarms on more than one metric, the actions and resources by which a few operations are authorised, what SAM's transform knows
of parameters, and what S3 says of an object that is not there."""
import contextvars
import os
import re
from urllib.parse import unquote

from ministack import app
from ministack.core import iam_actions, iam_evaluator, router
from ministack.services import apigateway_v1, s3
from ministack.services.cloudformation import changesets, engine, handlers, provisioners
from samtranslator.translator import transform

# The values of a template's parameters, while it is transformed.
parameters = contextvars.ContextVar("parameters", default={})
# Operations that AWS authorises by the action of another.
ACTIONS = {
    "sqs:SendMessageBatch": "sqs:SendMessage",
    "sqs:DeleteMessageBatch": "sqs:DeleteMessage",
    "bedrock:ConverseStream": "bedrock:InvokeModelWithResponseStream",
    "bedrock:Converse": "bedrock:InvokeModel",
}


def model_arn(found):
    """An inference profile's id is that of its model with a geography in front."""
    account = os.environ["MINISTACK_ACCOUNT_ID"]
    return re.sub(r"::foundation-model/((?:global|us|eu|apac|jp|au)\.)", rf":{account}:inference-profile/\1", found)


def install_actions():
    action, arn = iam_actions.extract_iam_action, iam_actions.extract_resource_arn

    def action_of(*arguments, **options):
        found = action(*arguments, **options)
        return ACTIONS.get(found, found)

    def arn_of(service, *arguments, **options):
        found = arn(service, *arguments, **options)
        return model_arn(unquote(found)) if service == "bedrock-runtime" else found

    iam_actions.extract_iam_action, iam_actions.extract_resource_arn = action_of, arn_of


def install_trust():
    """A role that a policy of trust of its own account names needs no policy of its own: STS looks at the former here, too."""
    enforce = iam_evaluator.enforce

    def by_trust(access_key_id, iam_action, *arguments, **options):
        return None if iam_action == "sts:AssumeRole" else enforce(access_key_id, iam_action, *arguments, **options)

    iam_evaluator.enforce = by_trust


def install_import():
    item_of, import_api = apigateway_v1._import_path_item, apigateway_v1._import_rest_api

    def import_item(api_id, path, item, scheme_map=None, default_security=None):
        item_of(api_id, path, item, scheme_map, default_security)
        operation = item.get("x-amazon-apigateway-any-method")
        if operation:
            resources = apigateway_v1._resources.get(api_id, {}).items()
            identifier = next(key for key, resource in resources if resource.get("path") == path)
            apigateway_v1._import_operation(api_id, identifier, "ANY", operation, scheme_map, default_security)

    def import_whole(spec, base=None):
        base = dict(base or {})
        types = [*base.get("binaryMediaTypes", []), *spec.get("x-amazon-apigateway-binary-media-types", [])]
        base["binaryMediaTypes"] = sorted({name.replace("~1", "/") for name in types})
        return import_api(spec, base)

    apigateway_v1._import_path_item, apigateway_v1._import_rest_api = import_item, import_whole


def install_transform():
    """SAM's transform is told the values of parameters: what it calls a function's version depends on them (Revision)."""
    apply, translate = engine._apply_transforms, transform.transform

    def apply_knowing(template, provided_params=None, previous_params=None):
        before = parameters.set(engine._transform_parameters(template, provided_params, previous_params))
        try:
            return apply(template, provided_params, previous_params)
        finally:
            parameters.reset(before)

    for module in (changesets, engine, handlers):
        module._apply_transforms = apply_knowing
    transform.transform = lambda template, values, loader: translate(template, parameters.get() | values, loader)


def install_alarms():
    """An alarm on an expression is kept as one on its first metric: none is ever evaluated here."""
    handlers = provisioners._RESOURCE_HANDLERS["AWS::CloudWatch::Alarm"]

    def of_one_metric(properties):
        if "Metrics" not in properties:
            return properties
        stat = next(metric["MetricStat"] for metric in properties["Metrics"] if "MetricStat" in metric)
        rest = {name: value for name, value in properties.items() if name != "Metrics"}
        return rest | {"Period": stat["Period"], "Statistic": stat["Stat"]} | stat["Metric"]

    create, update = handlers["create"], handlers.get("update")
    handlers["create"] = lambda logical_id, properties, stack: create(logical_id, of_one_metric(properties), stack)
    if update:
        handlers["update"] = lambda identifier, old, new, *rest, **options: update(
            identifier, of_one_metric(old), of_one_metric(new), *rest, **options
        )


def install_types():
    """Types that have no effect on anything else here are accepted."""
    for kind in ("AWS::Backup::BackupSelection", "AWS::Budgets::Budget", "AWS::WAFv2::WebACLAssociation"):
        provisioners._RESOURCE_HANDLERS[kind] = {
            "create": lambda logical_id, properties, stack: (f"{stack}-{logical_id}", {}),
            "update": lambda identifier, old, new, stack, logical_id=None: (identifier, {}),
            "delete": lambda identifier, properties: None,
        }


def install_missing():
    """That an object is not there S3 tells those alone who may list the bucket; others are refused."""
    handle = s3.handle_request

    async def handle_request(method, path, headers, body, query, *arguments, **options):
        answer = await handle(method, path, headers, body, query, *arguments, **options)
        bucket, _, key = path.lstrip("/").partition("/")
        if not (answer[0] == 404 and key and method in ("GET", "HEAD")):
            return answer
        of = (router.extract_access_key_id(headers, query), "s3:ListBucket", "s3", router.extract_region(headers, query))
        denied = iam_evaluator.enforce(*of, resource_arn=f"arn:aws:s3:::{bucket}")
        return s3._error("AccessDenied", "Access Denied", 403, path) if denied else answer

    s3.handle_request = handle_request


def install_transport():
    """Presigned requests count as sent by TLS, which is not spoken here, unless they say that they came otherwise."""
    serve = app.app

    async def serve_as_by_tls(scope, receive, send):
        if scope["type"] == "http" and b"X-Amz-Signature" in scope["query_string"]:
            headers = list(scope["headers"])
            if not any(name == b"x-forwarded-proto" for name, _ in headers):
                scope = scope | {"headers": [*headers, (b"x-forwarded-proto", b"https")]}
        await serve(scope, receive, send)

    app.app = serve_as_by_tls


def install():
    install_missing()
    install_transport()
    install_types()
    install_actions()
    install_trust()
    install_import()
    install_transform()
    install_alarms()
