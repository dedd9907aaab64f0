"""The Python package, as a test uses it: the fixture that comes with it, and the context manager."""

import boto3
import psycopg
import pytest

from dsql_local import DsqlLocalError, dsql_local as start


def test_the_fixture_takes_tokens_that_boto3_signs(dsql_local):
    with psycopg.connect(**dsql_local.libpq()) as session:
        assert session.execute("SELECT current_user").fetchone() == ("admin",)
        session.execute("CREATE ROLE app WITH LOGIN")
    with psycopg.connect(**dsql_local.libpq(), autocommit=True) as session:
        session.execute(f"AWS IAM GRANT app TO '{dsql_local.principal_arn}'")
    with psycopg.connect(**dsql_local.libpq("app")) as session:
        assert session.execute("SELECT current_user").fetchone() == ("app",)


def test_clock_faults_and_clusters_are_at_hand_until_the_end_of_the_block():
    with start(control_plane=True) as dsql:
        clusters = boto3.client("dsql", endpoint_url=dsql.control_plane_url, **dsql.credentials)
        made = clusters.create_cluster()
        clusters.get_waiter("cluster_active").wait(identifier=made["identifier"], WaiterConfig={"Delay": 1})
        session = psycopg.connect(**dsql.libpq(host=made["endpoint"]), autocommit=True)
        dsql.set_faults(server_unavailable=1)
        with pytest.raises(psycopg.errors.InternalError_):
            session.execute("SELECT 1")
        with pytest.raises(DsqlLocalError, match="server_unavailable"):
            dsql.set_faults(no_such_fault=1)
        dsql.advance(3600)
        with pytest.raises(psycopg.OperationalError):
            session.execute("SELECT 1")
        assert dsql.stats()["unavailable_injected"] == 1
        with pytest.raises(clusters.exceptions.ClientError, match="Signature expired"):
            clusters.list_clusters()
        dsql.reset_clock()
        # Without the certificate, which goes with the rest.
        parameters = dsql.libpq() | {"sslmode": "require", "sslrootcert": ""}
        psycopg.connect(**parameters).close()
    with pytest.raises(psycopg.OperationalError, match="refused"):
        psycopg.connect(**parameters)


def test_what_keeps_it_from_starting_is_told():
    with pytest.raises(DsqlLocalError, match="not a loopback address"):
        start("--listen", "0.0.0.0:0").start()
