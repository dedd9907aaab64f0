"""asyncpg, and AWS's connector of it.

  asynchronous.py asyncpg|aurora_dsql_asyncpg
"""
import asyncio
import json
import sys

import asyncpg

from story import CA, CREATE, ENDPOINT, INDEX, PORT, REGION, ROW, TABLE, insert, play, refused, same

aws = sys.argv[1] == "aurora_dsql_asyncpg"


async def with_json(session):
    await session.set_type_codec("jsonb", schema="pg_catalog", encoder=json.dumps, decoder=json.loads)


async def connect_asyncpg():
    # snippet asyncpg
    import asyncpg, boto3, ssl
    token = boto3.client("dsql", REGION).generate_db_connect_admin_auth_token(ENDPOINT, REGION)
    session = await asyncpg.connect(host=ENDPOINT, port=PORT, user="admin", database="postgres", password=token,
                                    ssl=ssl.create_default_context(cafile=CA))
    # end
    return session


async def connect_aurora():
    # snippet aurora_dsql_asyncpg
    import aurora_dsql_asyncpg as dsql
    session = await dsql.connect(host=ENDPOINT, port=PORT, user="admin", sslrootcert=CA)
    # end
    return session


connect = connect_aurora if aws else connect_asyncpg
sessions = []


async def session():
    if not sessions:
        sessions.append(await connect())
        await with_json(sessions[0])
    return sessions[0]


async def ddl():
    one = await session()
    await one.execute(CREATE)
    job = await one.fetchval(INDEX)
    await one.execute("CALL sys.wait_for_job($1)", job)


async def catalogue():
    # The types of information_schema are domains, which asyncpg looks up by itself.
    columns = "SELECT column_name, data_type FROM information_schema.columns WHERE table_name = $1 ORDER BY ordinal_position"
    found = await (await session()).fetch(columns, TABLE)
    same({"names": [row["column_name"] for row in found]}, {"names": list(ROW)})


async def types():
    one = await session()
    await one.execute(insert("${}"), *ROW.values())
    same(dict(await one.fetchrow(f"SELECT * FROM {TABLE} WHERE id = $1", ROW["id"])))
    await one.executemany(f"INSERT INTO {TABLE} (t) VALUES ($1)", [(str(n),) for n in range(20)])
    await one.copy_records_to_table(TABLE, records=[("copied",)], columns=["t"])
    return "binary parameters and results, prepared statements, `executemany` and `copy_records_to_table` too"


async def array():
    one = await session()
    same({"n": await one.fetchval(f"SELECT count(*) FROM {TABLE} WHERE i = ANY($1)", [-5, 7])}, {"n": 1})
    same({"a": await one.fetchval("SELECT $1::text[]", ["x", None, "y,z"])}, {"a": ["x", None, "y,z"]})


async def conflict():
    one, writer = await session(), await connect()
    for attempt in (1, 2):
        try:
            async with writer.transaction():
                await writer.execute(f"UPDATE {TABLE} SET i = i + 1 WHERE id = $1", ROW["id"])
                if attempt == 1:
                    await one.execute(f"UPDATE {TABLE} SET i = i + 10 WHERE id = $1", ROW["id"])
        except asyncpg.SerializationError as lost:
            refused(lost.sqlstate, "40001")
        else:
            assert attempt == 2, "no conflict"
    same({"i": await one.fetchval(f"SELECT i FROM {TABLE} WHERE id = $1", ROW["id"])}, {"i": 6})
    await writer.close()


async def cancel():
    one = await connect()
    try:
        await one.execute("SELECT pg_sleep(2)", timeout=0.3)
    except asyncio.TimeoutError:
        await one.close()
    else:
        raise AssertionError("the time-out had no effect")
    return "`timeout=` ends the wait"


async def error():
    try:
        await (await session()).execute(f"INSERT INTO {TABLE} (id) VALUES ($1)", ROW["id"])
    except asyncpg.UniqueViolationError as violation:
        refused(violation.sqlstate, "23505")
    else:
        raise AssertionError("no error")


async def pool():
    if aws:
        import aurora_dsql_asyncpg as dsql

        made = await dsql.create_pool(host=ENDPOINT, port=PORT, user="admin", sslrootcert=CA, min_size=1, max_size=2)
    else:
        made = await asyncpg.create_pool(connect=connect_with, reset=reset, min_size=1, max_size=2, host=ENDPOINT)
    for _ in range(3):
        async with made.acquire() as one:
            same({"n": await one.fetchval("SELECT 6 * 7")}, {"n": 42})
    await made.close()
    if not aws:
        return (
            "`create_pool(connect=…)` for a token of each connection's own, and `reset=` with RESET ALL: "
            "the usual one unlocks advisory locks, which DSQL does not have"
        )


async def reset(session):
    """What is left of asyncpg's own, which unlocks advisory locks and asks for UNLISTEN, without what DSQL lacks."""
    await session.execute("RESET ALL")


async def connect_with(*_, loop=None, connection_class=None, record_class=None, **given):
    return await connect_asyncpg()


play(
    connect=session, ddl=ddl, catalogue=catalogue, types=types, array=array, conflict=conflict, cancel=cancel, error=error, pool=pool,
)
