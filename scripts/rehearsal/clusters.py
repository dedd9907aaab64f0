"""Clusters for the emulator: each is a dsql-local of its own, whose principals are the sessions of the functions' roles,
with the actions on the cluster that the roles' policies allow."""
import json
import os
import signal
import subprocess
import threading
import time

from ministack.core import iam_evaluator, lambda_runtime
from ministack.core.responses import get_account_id, get_region
from ministack.services import dsql, lambda_svc
from ministack.services.cloudformation import provisioners

STATE = os.environ["REHEARSAL_STATE"]
DSQL_LOCAL = os.environ["REHEARSAL_DSQL_LOCAL"]
START_LIMIT_S = 60

clusters, sessions, lock = {}, {}, threading.RLock()


class Cluster:
    """One dsql-local, on ports that the system chooses once."""

    def __init__(self, key, account, region):
        self.folder, self.account, self.region = f"{STATE}/{key}", account, region
        self.process, self.variables, self.principals = None, {}, None
        self.listen = "127.0.0.1:0"
        os.makedirs(self.folder, exist_ok=True)

    def start(self, principals):
        self.stop()
        file, variables = f"{self.folder}/principals.json", f"{self.folder}/env"
        with open(file, "w") as out:
            json.dump({"principals": principals}, out)
        if os.path.exists(variables):
            os.remove(variables)
        command = [DSQL_LOCAL, "serve", "--verbose", "--data-dir", f"{self.folder}/data", "--env-file", variables]
        command += ["--principals", file, "--account", self.account, "--region", self.region]
        command += ["--listen", self.listen, "--control", "127.0.0.1:0"]
        with open(f"{self.folder}/log", "a") as log:
            self.process = subprocess.Popen(
                command, env=os.environ | {"NO_COLOR": "1"}, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
        deadline = time.monotonic() + START_LIMIT_S
        while not (os.path.exists(variables) and os.path.getsize(variables)):
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"dsql-local did not start: {open(self.folder + '/log').read()[-500:]}")
            time.sleep(0.02)
        with open(variables) as lines:
            self.variables = dict(line.strip().split("=", 1) for line in lines if "=" in line)
        self.listen = f"127.0.0.1:{self.variables['DSQL_PORT']}"  # functions keep the address they were given
        self.principals = principals

    def stop(self):
        if self.process and self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
            self.process.wait(START_LIMIT_S)


def principals_of(arn):
    """Every session that a function has, with what its role allows on this cluster."""
    found = []
    for session in sessions.values():
        policies = iam_evaluator._gather_role_policies(session["role"].rsplit("/", 1)[-1], session["account"])
        allowed = []
        for action in ("DbConnect", "DbConnectAdmin"):
            context = iam_evaluator.EvalContext(
                principal_arn=session["role"], principal_type="AssumedRole", principal_account=session["account"],
                action=f"dsql:{action}", resource_arn=arn, region=session["region"],
            )
            if iam_evaluator.evaluate(context, policies).decision == "Allow":
                allowed.append(action)
        role = session["role"].rsplit("/", 1)[-1]
        found.append({
            "access_key_id": session["key"], "secret_access_key": session["secret"], "session_token": session["token"],
            "arn": f"arn:aws:sts::{session['account']}:assumed-role/{role}/{session['name']}", "allowed_actions": allowed,
        })
    return found


def remember(function, credentials, account, region):
    sessions[credentials["AWS_ACCESS_KEY_ID"]] = {
        "key": credentials["AWS_ACCESS_KEY_ID"], "secret": credentials["AWS_SECRET_ACCESS_KEY"],
        "token": credentials["AWS_SESSION_TOKEN"], "role": function["Role"], "name": function["FunctionName"][:64],
        "account": account, "region": region,
    }


def environment_of(function, folder, port):
    """The variables of a function's process: what the emulator gives it, and where its cluster is."""
    environment = worker_environment(function, folder, port)
    account, region = lambda_svc._account_region_from_function_config(function)
    with lock:
        # All functions of the account at once: one start of the cluster anew instead of six.
        for (of_account, of_region, _), known in list(lambda_svc._functions._data.items()):
            if (of_account, of_region) == (account, region):
                remember(known["config"], lambda_runtime.execution_credentials(known["config"]), account, region)
        remember(function, environment, account, region)
        for identifier, cluster in clusters.items():
            principals = principals_of(f"arn:aws:dsql:{cluster.region}:{cluster.account}:cluster/{identifier}")
            if principals != cluster.principals:
                cluster.start(principals)
        cluster = clusters.get(environment.get("DSQL_ENDPOINT", "").split(".")[0])
    if cluster:
        environment |= {name: cluster.variables[name] for name in ("DSQL_HOSTADDR", "DSQL_PORT", "DSQL_CA_FILE")}
    here = os.environ["REHEARSAL_ENDPOINT"]
    return environment | {f"AWS_ENDPOINT_URL{service}": here for service in ("", "_SQS", "_BEDROCK_RUNTIME", "_STS", "_S3")}


def attributes(identifier):
    record = dsql._clusters[identifier]
    return identifier, {
        "Identifier": identifier, "ResourceArn": record["arn"], "Endpoint": record["endpoint"], "Status": "ACTIVE",
    }


def create(logical_id, properties, stack):
    with lock:
        cluster = Cluster(f"{stack}-{logical_id}-{len(clusters)}", get_account_id(), get_region())
        cluster.start([])
        endpoint = cluster.variables["DSQL_ENDPOINT"]
        identifier = endpoint.split(".")[0]
        clusters[identifier] = cluster
    arn = dsql._cluster_arn(identifier)
    dsql._clusters[identifier] = {
        "identifier": identifier, "arn": arn, "status": "ACTIVE", "creationTime": int(time.time()), "endpoint": endpoint,
        "deletionProtectionEnabled": bool(properties.get("DeletionProtectionEnabled", True)), "port": 0, "_has_backend": False,
        "encryptionDetails": dsql._encryption_details(properties.get("KmsEncryptionKey"), get_account_id(), get_region()),
    }
    dsql._tags[arn] = {tag["Key"]: tag["Value"] for tag in properties.get("Tags", [])}
    return attributes(identifier)


def update(identifier, old, new, stack, logical_id=None):
    return attributes(identifier)


def delete(identifier, properties):
    if dsql._clusters[identifier]["deletionProtectionEnabled"]:
        raise ValueError(f"Cluster {identifier} has deletion protection")
    del dsql._clusters[identifier]


def install():
    global worker_environment
    worker_environment = lambda_svc._provided_worker_env
    lambda_svc._provided_worker_env = environment_of
    provisioners._RESOURCE_HANDLERS["AWS::DSQL::Cluster"] = {"create": create, "delete": delete, "update": update}


def stop_all():
    for cluster in clusters.values():
        cluster.stop()
