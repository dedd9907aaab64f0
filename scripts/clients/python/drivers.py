"""The drivers with Python's DB-API: psycopg, psycopg2, and AWS's connectors of both.

  drivers.py psycopg|psycopg2|aurora_dsql_psycopg|aurora_dsql_psycopg2
"""
import importlib
import sys
import threading

import boto3
import psycopg
import psycopg2
import psycopg2.extras
from psycopg.types import TypeInfo
from psycopg.types.json import Jsonb

from story import CA, CREATE, ENDPOINT, INDEX, PORT, REGION, ROW, TABLE, Limit, insert, play, refused, same

NAME = sys.argv[1]
driver = importlib.import_module(NAME)
old = NAME.endswith("2")
errors = psycopg2.errors if old else psycopg.errors
psycopg2.extras.register_uuid()


def connect_psycopg():
    # snippet psycopg
    import boto3, psycopg
    token = boto3.client("dsql", REGION).generate_db_connect_admin_auth_token(ENDPOINT, REGION)
    session = psycopg.connect(host=ENDPOINT, port=PORT, user="admin", dbname="postgres", password=token,
                              sslmode="verify-full", sslrootcert=CA)
    # end
    return session


def connect_psycopg2():
    # snippet psycopg2
    import boto3, psycopg2
    token = boto3.client("dsql", REGION).generate_db_connect_admin_auth_token(ENDPOINT, REGION)
    session = psycopg2.connect(host=ENDPOINT, port=PORT, user="admin", dbname="postgres", password=token,
                               sslmode="verify-full", sslrootcert=CA)
    # end
    return session


def connect_aurora_dsql_psycopg():
    # snippet aurora_dsql_psycopg
    import aurora_dsql_psycopg as dsql
    session = dsql.connect(host=ENDPOINT, port=PORT, user="admin", sslmode="verify-full", sslrootcert=CA)
    # end
    return session


def connect_aurora_dsql_psycopg2():
    # snippet aurora_dsql_psycopg2
    import aurora_dsql_psycopg2 as dsql
    session = dsql.connect(host=ENDPOINT, port=PORT, user="admin", sslmode="verify-full", sslrootcert=CA)
    # end
    return session


connect = globals()[f"connect_{NAME}"]
sessions = []


def session():
    """One session with autocommit for all steps."""
    if not sessions:
        sessions.append(connect())
        sessions[0].autocommit = True
    return sessions[0]


def rows(sql, parameters=None, of=None):
    cursor = (of or session()).cursor()
    cursor.execute(sql, parameters)
    if cursor.description:
        names = [column[0] for column in cursor.description]
        return [dict(zip(names, row)) for row in cursor.fetchall()]
    return None


def ddl():
    rows(CREATE)
    (job,) = rows(INDEX)
    rows("CALL sys.wait_for_job(%s)", (job["job_id"],))


def catalogue():
    columns = "SELECT column_name::text AS name FROM information_schema.columns WHERE table_name = %s ORDER BY ordinal_position"
    same({"names": [row["name"] for row in rows(columns, (TABLE,))]}, {"names": list(ROW)})
    if not old:
        same({"oid": TypeInfo.fetch(session(), "jsonb").oid}, {"oid": 3802})


def types():
    wrapped = psycopg2.extras.Json if old else Jsonb
    rows(insert("%s"), [wrapped(value) if isinstance(value, dict) else value for value in ROW.values()])
    (found,) = rows(f"SELECT * FROM {TABLE} WHERE id = %s", (ROW["id"],))
    same(found | {"raw": bytes(found["raw"])})
    if not old:
        cursor = session().cursor(binary=True)
        same(dict(zip(ROW, cursor.execute(f"SELECT {', '.join(ROW)} FROM {TABLE}").fetchone())))
        cursor.executemany(f"INSERT INTO {TABLE} (t) VALUES (%s)", [(str(n),) for n in range(20)])
        with cursor.copy(f"COPY {TABLE} (t) FROM STDIN") as copy:
            copy.write_row(["copied"])
        return "prepared statements, `executemany` in a pipeline, binary results and COPY too"


def array():
    found = rows(f"SELECT count(*) AS n FROM {TABLE} WHERE i = ANY(%s)", ([-5, 7],))
    same(found[0], {"n": 1})
    assert rows("SELECT %s::text[] AS a", (["x", None, "y,z"],)) == [{"a": ["x", None, "y,z"]}]


def conflict():
    writer = connect()
    for attempt in (1, 2):
        try:
            rows(f"UPDATE {TABLE} SET i = i + 1 WHERE id = %s", (ROW["id"],), of=writer)
            if attempt == 1:
                rows(f"UPDATE {TABLE} SET i = i + 10 WHERE id = %s", (ROW["id"],))
            writer.commit()
        except errors.SerializationFailure as lost:
            refused(getattr(lost, "sqlstate", None) or lost.pgcode, "40001")
            writer.rollback()
        else:
            assert attempt == 2, "no conflict"
    same(rows(f"SELECT i FROM {TABLE} WHERE id = %s", (ROW["id"],))[0], {"i": 6})
    writer.close()


def cancel():
    victim = connect()
    cancelling = victim.cancel if old else victim.cancel_safe
    timer = threading.Timer(0.3, cancelling)
    timer.start()
    try:
        rows("SELECT pg_sleep(2)", of=victim)
    except errors.QueryCanceled as lost:
        refused(getattr(lost, "sqlstate", None) or lost.pgcode, "57014")
    else:
        raise Limit("a CancelRequest is taken and has no effect, and the statement goes on")
    finally:
        timer.join()
        victim.close()


def error():
    try:
        rows(f"INSERT INTO {TABLE} (id) VALUES (%s)", (ROW["id"],))
    except errors.UniqueViolation as violation:
        assert violation.diag.constraint_name == f"{TABLE}_pkey", violation.diag.constraint_name
    else:
        raise AssertionError("no error")


def aws_pool():
    """The pools that come with the connectors repeat a transaction that lost by themselves."""
    tls = {"host": ENDPOINT, "port": PORT, "user": "admin", "sslmode": "verify-full", "sslrootcert": CA}
    if old:
        made = driver.AuroraDSQLThreadedConnectionPool(1, 2, retry=True, **tls)
    else:
        made = driver.create_pool(kwargs=tls, min_size=1, max_size=2, retry=True)
    attempts = []

    def add(writer):
        rows(f"UPDATE {TABLE} SET i = i + 1 WHERE id = %s", (ROW["id"],), of=writer)
        if not attempts:
            rows(f"UPDATE {TABLE} SET i = i + 1 WHERE id = %s", (ROW["id"],))
        attempts.append(1)

    with made:
        made.run_transaction(add)
    same({"attempts": len(attempts)}, {"attempts": 2})
    return "`run_transaction` of its pool repeats what lost by itself"


def pool():
    if NAME.startswith("aurora"):
        return aws_pool()
    if old:
        raise Limit("`psycopg2.pool` keeps the token that it began with, for 15 minutes; AWS's connector has a pool that does not")
    from psycopg_pool import ConnectionPool

    def parameters():
        token = boto3.client("dsql", REGION).generate_db_connect_admin_auth_token(ENDPOINT, REGION)
        tls = {"sslmode": "verify-full", "sslrootcert": CA}
        return {"host": ENDPOINT, "port": PORT, "user": "admin", "dbname": "postgres", "password": token} | tls

    with ConnectionPool(kwargs=parameters, min_size=1, max_size=2, max_lifetime=3300) as made:
        for _ in range(3):
            with made.connection() as one:
                assert one.execute("SELECT 6 * 7").fetchone() == (42,)
    return "`ConnectionPool(kwargs=…)` takes a function, so that each connection has a token of its own; `max_lifetime` below 3600"


play(
    connect=session, ddl=ddl, catalogue=catalogue, types=types, array=array, conflict=conflict, cancel=cancel, error=error, pool=pool,
)
