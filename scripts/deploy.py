#!/usr/bin/env python3
"""Deploys what was built (`make build`) as a stack: asks what it must know, once, and keeps it in deploy.toml.

  make deploy                     the stack that deploy.toml names first, or three questions
  make deploy STACK=other         another one
  deploy.py [STACK] [--settings FILE] [--build DIR] [--no-smoke]

deploy.toml has a section for each stack: its Region, and any parameter of template.yaml. It holds no secret and is yours:
edit it, and deploy again. The key that signs visitors' tokens is made in deploy-key.pem; only its public half is sent.
"""
import argparse
import hashlib
import json
import os
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import boto3

from stack import KEY_FILE, ROOT, Refused, Stack, mint_token

MACHINES = {62: "x86_64", 183: "arm64"}  # e_machine of an ELF file
FAILED_CREATION = ("ROLLBACK_COMPLETE", "ROLLBACK_FAILED", "CREATE_FAILED", "DELETE_FAILED")


def ask(question, default, pattern, expected):
    """An answer that looks like what is needed."""
    while True:
        print(f"{question} [{default}]: ", end="", flush=True)
        line = sys.stdin.readline()
        answer = line.strip() or default
        if re.fullmatch(pattern, answer):
            return answer
        if not line:
            raise Refused(f"no answer: {expected}")
        print(f"  {expected}")


def settings_of(name, file_name):
    """The stack's name and section of deploy.toml. What is missing is asked for, and written."""
    known = tomllib.loads(file_name.read_text()) if file_name.exists() else {}
    name = name or next(iter(known), None)
    if name in known:
        return name, known[name]
    print("Three questions; everything else has a default that can be changed in deploy.toml later.")
    name = name or ask("1. Name of the stack", "dsql-chat", r"[A-Za-z][A-Za-z0-9-]{0,63}", "letters, digits and hyphens")
    region = ask("2. Region", boto3.Session().region_name or "us-east-1", r"[a-z]{2}(-[a-z]+)+-\d", "such as us-east-1")
    site = ask(
        "3. Address of your site, whose pages will chat",
        "http://localhost:3000",
        r"https?://[A-Za-z0-9.:\[\]-]+",
        "such as https://blog.example.com, without a path",
    )
    section = {"region": region, "parameters": {"AuthIssuer": site, "CorsAllowedOrigins": site}}
    with file_name.open("a") as file:
        file.write(f"[{name}]\nregion = {json.dumps(region)}\n\n[{name}.parameters]\n")
        file.writelines(f"{key} = {json.dumps(value)}\n" for key, value in section["parameters"].items())
        file.write("\n")
    print(f"Kept in {file_name.name}.")
    return name, section


def architecture(build):
    """The processor that the functions were built for, which the template has to know."""
    bootstrap = build / "AdminFunction" / "bootstrap"
    if not bootstrap.exists():
        raise Refused("nothing is built: make build")
    with bootstrap.open("rb") as file:
        head = file.read(20)
    return MACHINES[int.from_bytes(head[18:20], "little")]


def revision(build, parameters):
    """What is deployed, in a word: SAM publishes no new version of a function where only a parameter is another."""
    digest = hashlib.sha256(json.dumps(parameters, sort_keys=True).encode())
    digest.update((build / "template.yaml").read_bytes())
    for bootstrap in sorted(build.glob("*/bootstrap")):
        digest.update(hashlib.sha256(bootstrap.read_bytes()).digest())
    return digest.hexdigest()[:16]


def check_account(region):
    """Whether there are credentials, before anything is uploaded."""
    try:
        identity = boto3.Session(region_name=region).client("sts").get_caller_identity()
    except Exception as error:  # every way to have no credentials
        raise Refused(f"no credentials for AWS: {error}\nLog in with the AWS CLI (aws configure sso, aws login), then again.")
    print(f"Account {identity['Account']}, as {identity['Arn']}, Region {region}.")


def check_state(stack):
    """A stack whose creation failed can only be deleted; its cluster, if there is one, is kept."""
    found = stack.description()
    if found is None or found["StackStatus"] not in FAILED_CREATION:
        return
    raise Refused(
        f"the stack {stack.name} could not be made ({found['StackStatus']}). See why, then delete it:\n"
        f"  aws cloudformation describe-stack-events --stack-name {stack.name} --region {stack.region} --output table \\\n"
        "    --query \"StackEvents[?contains(ResourceStatus, 'FAILED')].[LogicalResourceId, ResourceStatusReason]\"\n"
        f"  aws cloudformation delete-stack --stack-name {stack.name} --region {stack.region}\n"
        "Its cluster stays: give its id as ClusterId in deploy.toml to use it, or see docs/guide.md to delete it too."
    )


def deploy(name, region, parameters, build):
    overrides = " ".join(f"{key}={shlex.quote(str(value))}" for key, value in parameters.items())
    command = ["sam", "deploy", "--template-file", str(build / "template.yaml"), "--stack-name", name, "--region", region]
    command += ["--config-file", str(ROOT / "samconfig.toml"), "--no-confirm-changeset", "--parameter-overrides", overrides]
    command += ["--tags", f"Project=dsql-chat Stack={name}"]
    if subprocess.run(command, cwd=ROOT).returncode:
        raise Refused("the deployment failed; what CloudFormation says stands above")


def next_steps(stack):
    of_stack = f"STACK={stack.name}"
    print(f"\n{stack.outputs['ChatEndpoint']} is what useChat is given as api. Next:\n")
    for command, meaning in (
        (f"make admin {of_stack} COMMAND='create-login name=blog access=owner'", "the connection string, shown once"),
        (f"node scripts/mint-token.mjs jwk {KEY_FILE.relative_to(ROOT)}", "the key that your site mints visitors' tokens with"),
        (f"make smoke-deployed {of_stack}", "these checks again, at any time"),
    ):
        print(f"  {command}\n      {meaning}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("stack", nargs="?", default="")
    parser.add_argument("--settings", type=Path, default=ROOT / "deploy.toml")
    parser.add_argument("--build", type=Path, default=ROOT / ".aws-sam" / "build")
    parser.add_argument("--no-smoke", action="store_true")
    options = parser.parse_args()
    built_for = architecture(options.build)
    name, section = settings_of(options.stack, options.settings)
    region = section.get("region") or os.environ.get("AWS_REGION")
    check_account(region)
    stack = Stack(name, region)
    check_state(stack)
    keys = {"AuthJwks": mint_token("jwks", str(KEY_FILE)), "Architecture": built_for}
    parameters = keys | section.get("parameters", {})
    deploy(name, region, parameters | {"Revision": revision(options.build, parameters)}, options.build)
    if not options.no_smoke:
        print("\nWhat a visitor and a login will do:")
        command = [sys.executable, str(ROOT / "scripts" / "smoke-deployed.py"), name, region]
        # Metrics come minutes later.
        failed = subprocess.run([*command, "--without", "metrics"]).returncode
        if failed:
            return 1
    next_steps(Stack(name, region))
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except Refused as refusal:
        print(refusal, file=sys.stderr)
        sys.exit(1)
