"""Makes clusters with boto3, unmodified, works in two of them, and deletes one."""

import os

import boto3
import psycopg

env = os.environ
dsql = boto3.client("dsql")


def connect(host):
    token = dsql.generate_db_connect_admin_auth_token(host, env["AWS_REGION"])
    return psycopg.connect(
        host=host, hostaddr=env["DSQL_HOSTADDR"], port=env["DSQL_PORT"], user="admin", dbname="postgres",
        password=token, sslmode="verify-full", sslrootcert=env["DSQL_CA_FILE"], autocommit=True)


made = [dsql.create_cluster(deletionProtectionEnabled=False, tags={"n": str(n)}) for n in range(2)]
for cluster in made:
    dsql.get_waiter("cluster_active").wait(identifier=cluster["identifier"], WaiterConfig={"Delay": 1})
first, second = (connect(cluster["endpoint"]) for cluster in made)
first.execute("CREATE TABLE here (n int)")
print(second.execute("SELECT count(*) FROM pg_tables WHERE tablename = 'here'").fetchone()[0], "tables of another cluster")

paginator = dsql.get_paginator("list_clusters").paginate(PaginationConfig={"PageSize": 1})
listed = {cluster["identifier"] for page in paginator for cluster in page["clusters"]}
print(len(listed & {cluster["identifier"] for cluster in made}), "clusters")
dsql.tag_resource(resourceArn=made[1]["arn"], tags={"a b": "c/d"})
dsql.untag_resource(resourceArn=made[1]["arn"], tagKeys=["n"])
print(dsql.list_tags_for_resource(resourceArn=made[1]["arn"])["tags"])

gone = made[0]["identifier"]
dsql.update_cluster(identifier=gone, deletionProtectionEnabled=True)
try:
    dsql.delete_cluster(identifier=gone)
except dsql.exceptions.ValidationException as error:
    print(error.response["reason"])
dsql.update_cluster(identifier=gone, deletionProtectionEnabled=False)
print(dsql.delete_cluster(identifier=gone)["status"])
dsql.get_waiter("cluster_not_exists").wait(identifier=gone, WaiterConfig={"Delay": 1})
try:
    first.execute("SELECT 1")
except psycopg.OperationalError:
    print("its connections ended")
print(second.execute("SELECT current_user").fetchone()[0], "of the other cluster goes on")
