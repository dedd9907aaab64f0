#!/usr/bin/env bash
# Everything about template.yaml that can be checked without an account and without the network.
set -euo pipefail
cd "$(dirname "$0")/.."

scripts/install-tools.sh cloud
export PYTHONPATH=$PWD/.tools/cloud PATH=$PWD/.tools/cloud/bin:$PATH
export AWS_DEFAULT_REGION=us-east-1 SAM_CLI_TELEMETRY=0 PYTHONWARNINGS=ignore
python3 scripts/check-template.py
python3 scripts/prove-template-checks.py
python3 scripts/deploy-policy.py
cfn-lint template.yaml regions.yaml
# Every optional part, a cluster in several Regions included.
cfn-lint .aws-sam/everything.json
sam validate --lint
checkov --config-file .checkov.yaml -f template.yaml -f regions.yaml
