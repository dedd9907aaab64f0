"""A function on the official connector for psycopg, unmodified: it connects in Init and keeps the connection."""
import http.client
import json
import os

import aurora_dsql_psycopg as dsql

env = os.environ
connection = dsql.connect(
    host=env["DSQL_ENDPOINT"],
    hostaddr=env["DSQL_HOSTADDR"],
    port=env["DSQL_PORT"],
    user=env["DSQL_ROLE"],
    sslmode="verify-full",
    sslrootcert=env["DSQL_CA_FILE"],
    autocommit=True,
)
# The least of a runtime; Lambda's own has more to load.
api = http.client.HTTPConnection(env["AWS_LAMBDA_RUNTIME_API"])
runtime = "/2018-06-01/runtime/invocation"
while True:
    api.request("GET", f"{runtime}/next")
    event = api.getresponse()
    json.loads(event.read())
    connection.execute("SELECT 1")
    answer = json.dumps({"statusCode": 200, "headers": {}, "body": "ready"})
    api.request("POST", f"{runtime}/{event.headers['lambda-runtime-aws-request-id']}/response", answer)
    api.getresponse().read()
