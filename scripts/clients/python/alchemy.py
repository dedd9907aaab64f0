"""SQLAlchemy with AWS's dialect, on psycopg, and with its own for PostgreSQL.

  alchemy.py aurora|postgresql
"""
import sys
from datetime import datetime
from decimal import Decimal
from uuid import UUID

import boto3
import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.exc import IntegrityError, NoSuchColumnError, OperationalError
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from story import CA, ENDPOINT, PORT, REGION, ROW, TABLE, Limit, play, refused, same

aws = sys.argv[1] == "aurora"


class Base(DeclarativeBase):
    pass


class Item(Base):
    __tablename__ = TABLE
    id: Mapped[UUID] = mapped_column(primary_key=True, server_default=sa.text("gen_random_uuid()"))
    t: Mapped[str | None]
    i: Mapped[int | None]
    b: Mapped[int | None] = mapped_column(sa.BigInteger)
    n: Mapped[Decimal | None] = mapped_column(sa.Numeric(20, 4))
    f: Mapped[bool | None]
    at: Mapped[datetime | None] = mapped_column(sa.DateTime(timezone=True))
    j: Mapped[dict | None] = mapped_column(JSONB)
    raw: Mapped[bytes | None]
    nothing: Mapped[str | None]


def engine_aurora():
    # snippet aurora
    from aurora_dsql_sqlalchemy import create_dsql_engine
    engine = create_dsql_engine(host=ENDPOINT, user="admin", sslrootcert=CA, connect_args={"port": PORT})
    # end
    return engine


def engine_postgresql():
    # snippet postgresql
    import boto3, sqlalchemy as sa
    engine = sa.create_engine(f"postgresql+psycopg://admin@{ENDPOINT}:{PORT}/postgres", pool_recycle=3300,
                              use_native_hstore=False,
                              connect_args={"sslmode": "verify-full", "sslrootcert": CA})
    @sa.event.listens_for(engine, "do_connect")
    def with_a_token(dialect, record, arguments, parameters):
        dsql = boto3.client("dsql", REGION)
        parameters["password"] = dsql.generate_db_connect_admin_auth_token(ENDPOINT, REGION)
    # end
    return engine


engine = engine_aurora() if aws else engine_postgresql()


def connect():
    with engine.connect() as one:
        same({"user": one.scalar(sa.text("SELECT current_user"))}, {"user": "admin"})
    return None if aws else "without `use_native_hstore=False` it starts with a SAVEPOINT, which DSQL does not support"


def ddl():
    if aws:
        sa.Index(f"{TABLE}_by_t", Item.t, Item.i)
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as one:
        Base.metadata.create_all(one)
        if aws:
            job = one.scalar(sa.text("SELECT job_id FROM sys.jobs WHERE object_name LIKE :name"), {"name": f"%{TABLE}%"})
        else:
            job = one.scalar(sa.text(f"CREATE INDEX ASYNC {TABLE}_by_t ON {TABLE} (t, i)"))
        one.execute(sa.text("CALL sys.wait_for_job(:job)"), {"job": job})
    by_hand = "`create_all` with `AUTOCOMMIT`, since a transaction takes one statement of DDL; CREATE INDEX ASYNC as text"
    return None if aws else by_hand


def catalogue():
    inspector = sa.inspect(engine)
    try:
        inspector.get_columns(TABLE)
    except NoSuchColumnError as missing:
        raise Limit(
            "inspection fails: AWS's dialect has a query of its own, without the `collation` that newer SQLAlchemy reads; "
            "2.0.43 inspects"
        ) from missing
    columns = {column["name"]: str(column["type"]) for column in inspector.get_columns(TABLE)}
    same(columns, {"t": "VARCHAR", "b": "BIGINT", "n": "NUMERIC(20, 4)", "at": "TIMESTAMP", "j": "JSONB", "raw": "BYTEA"})
    assert inspector.get_pk_constraint(TABLE)["constrained_columns"] == ["id"]
    assert [index["column_names"] for index in inspector.get_indexes(TABLE)] == [["t", "i"]], inspector.get_indexes(TABLE)
    for read in ("get_foreign_keys", "get_unique_constraints", "get_check_constraints", "get_table_comment"):
        getattr(inspector, read)(TABLE)
    assert TABLE in inspector.get_table_names() and "public" in inspector.get_schema_names()
    inspector.get_view_names()
    inspector.get_sequence_names()
    reflected = sa.MetaData()
    reflected.reflect(engine)
    assert len(reflected.tables[TABLE].columns) == len(ROW)


def types():
    with Session(engine) as one:
        one.add(Item(**ROW))
        one.add_all(Item(t=str(n)) for n in range(20))
        one.commit()
        found = one.scalars(sa.select(Item).where(Item.n == ROW["n"], Item.at == ROW["at"])).one()
        same({name: getattr(found, name) for name in ROW})
        assert one.scalar(sa.select(sa.func.count()).where(Item.j["a"][0].as_integer() == 1)) == 1


def array():
    with engine.connect() as one:
        among = sa.literal([-5, 7], sa.ARRAY(sa.Integer))
        same({"n": one.scalar(sa.select(sa.func.count()).select_from(Item).where(Item.i == sa.any_(among)))}, {"n": 1})


def conflict():
    for attempt in (1, 2):
        try:
            with Session(engine) as one, one.begin():
                one.get(Item, ROW["id"]).i += 1
                one.flush()
                if attempt == 1:
                    with engine.begin() as rival:
                        rival.execute(sa.update(Item).where(Item.id == ROW["id"]).values(i=Item.i + 10))
        except OperationalError as lost:
            refused(lost.orig.sqlstate, "40001")
        else:
            assert attempt == 2, "no conflict"
    with Session(engine) as one:
        same({"i": one.get(Item, ROW["id"]).i}, {"i": 6})
    return "a conflict is an `OperationalError`, at `commit`"


def cancel():
    raise Limit("SQLAlchemy has none of its own: the driver's")


def error():
    try:
        with Session(engine) as one:
            one.add(Item(id=ROW["id"]))
            one.commit()
    except IntegrityError as violation:
        refused(violation.orig.sqlstate, "23505")
    else:
        raise AssertionError("no error")


def pool():
    engine.dispose()
    with engine.connect() as one, engine.connect() as two:
        assert one.scalar(sa.text("SELECT 1")) == two.scalar(sa.text("SELECT 1"))
    return "each connection of its pool has a token of its own; `pool_recycle=3300` ends it before DSQL does"


play(
    connect=connect, ddl=ddl, catalogue=catalogue, types=types, array=array, conflict=conflict, cancel=cancel, error=error, pool=pool
)
