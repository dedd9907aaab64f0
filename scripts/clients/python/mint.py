"""Prints a token of the administrator, as `aws dsql generate-db-connect-admin-auth-token` does."""
import os

import boto3

region = os.environ["AWS_REGION"]
print(boto3.client("dsql", region).generate_db_connect_admin_auth_token(os.environ["DSQL_ENDPOINT"], region), end="")
