"""Tortoise with AWS's adapter, on asyncpg."""
import ssl

from asyncpg import SerializationError
from tortoise import Tortoise, connections, fields
from tortoise.exceptions import IntegrityError
from tortoise.expressions import F
from tortoise.models import Model
from tortoise.transactions import in_transaction

from story import CA, ENDPOINT, PORT, ROW, TABLE, Limit, play, refused, same


class Item(Model):
    id = fields.UUIDField(primary_key=True)
    t = fields.TextField(null=True)
    i = fields.IntField(null=True)
    b = fields.BigIntField(null=True)
    n = fields.DecimalField(20, 4, null=True)
    f = fields.BooleanField(null=True)
    at = fields.DatetimeField(null=True)
    j = fields.JSONField(null=True)
    raw_ = fields.BinaryField(null=True, source_field="raw")
    nothing = fields.CharField(20, null=True)

    class Meta:
        table = TABLE
        indexes = [("i", "b")]


def named(column):
    """`raw` is a method of every model."""
    return "raw_" if column == "raw" else column


def written(row):
    return {named(column): value for column, value in row.items()}


async def connect():
    # snippet
    connection = {"engine": "aurora_dsql_tortoise.asyncpg",
                  "credentials": {"host": ENDPOINT, "port": PORT, "user": "admin",
                                  "ssl": ssl.create_default_context(cafile=CA)}}
    await Tortoise.init({"connections": {"default": connection}, "apps": {"models": {"models": [__name__]}}})
    # end
    found = await connections.get("default").execute_query_dict("SELECT current_user::text AS who")
    same(found[0], {"who": "admin"})


async def ddl():
    await Tortoise.generate_schemas(safe=False)
    return "`generate_schemas` makes tables and, ASYNC, indexes"


async def types():
    await Item.create(**written(ROW))
    found = await Item.get(n=ROW["n"], at=ROW["at"])
    same({name: getattr(found, named(name)) for name in ROW})
    await Item.bulk_create([Item(t=str(n)) for n in range(20)])
    assert await Item.filter(i__gt=-9).count() == 1


async def array():
    found = await connections.get("default").execute_query_dict(f"SELECT count(*) AS n FROM {TABLE} WHERE i = ANY($1)", [[-5, 7]])
    same(found[0], {"n": 1})
    same({"n": await Item.filter(i__in=[-5, 7]).count()}, {"n": 1})


async def conflict():
    rival = connections.get("default")
    for attempt in (1, 2):
        try:
            async with in_transaction() as one:
                await Item.filter(id=ROW["id"]).using_db(one).update(i=F("i") + 1)
                if attempt == 1:
                    async with rival.acquire_connection() as other:
                        await other.execute(f"UPDATE {TABLE} SET i = i + 10 WHERE id = $1", ROW["id"])
        except SerializationError as lost:
            refused(lost.sqlstate, "40001")
        else:
            assert attempt == 2, "no conflict"
    same({"i": (await Item.get(id=ROW["id"])).i}, {"i": 6})
    return "a conflict at COMMIT is asyncpg's `SerializationError`"


def cancel():
    raise Limit("Tortoise has none of its own: `command_timeout` of asyncpg")


async def error():
    try:
        await Item.create(id=ROW["id"])
    except IntegrityError as violation:
        refused(violation.args[0].sqlstate, "23505")
    else:
        raise AssertionError("no error")


async def pool():
    await connections.close_all()


play(connect=connect, ddl=ddl, types=types, array=array, conflict=conflict, cancel=cancel, error=error, pool=pool)
