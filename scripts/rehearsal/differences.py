"""Where the emulator differs from AWS in what template.yaml uses, put right: methods and media types of an imported API,
alarms on more than one metric, and the actions and resources by which a few operations are authorised."""
import os
import re
from urllib.parse import unquote

from ministack.core import iam_actions, iam_evaluator
from ministack.services import apigateway_v1
from ministack.services.cloudformation import provisioners

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


def install():
    install_types()
    install_actions()
    install_trust()
    install_import()
    install_alarms()
