"""Django with AWS's adapter, without its contrib applications' migrations."""
import uuid

import django
from django.conf import settings

from story import CA, ENDPOINT, PORT, ROW, TABLE, Limit, play, refused, same

# snippet
settings.configure(
    DATABASES={"default": {
        "ENGINE": "aurora_dsql_django", "HOST": ENDPOINT, "PORT": PORT, "NAME": "postgres", "USER": "admin",
        "CONN_MAX_AGE": 3300, "OPTIONS": {"sslmode": "verify-full", "sslrootcert": CA},
    }},
    USE_TZ=True,
)
# end
django.setup()

from django.core.management.commands.inspectdb import Command as InspectDb  # noqa: E402
from django.db import IntegrityError, OperationalError, ProgrammingError  # noqa: E402
from django.db import connection, connections, migrations, models, transaction  # noqa: E402
from django.db.migrations.executor import MigrationExecutor  # noqa: E402


class Item(models.Model):
    id = models.UUIDField(primary_key=True)
    t = models.TextField(null=True)
    i = models.IntegerField(null=True)
    b = models.BigIntegerField(null=True)
    n = models.DecimalField(max_digits=20, decimal_places=4, null=True)
    f = models.BooleanField(null=True)
    at = models.DateTimeField(null=True)
    j = models.JSONField(null=True)
    raw = models.BinaryField(null=True)
    nothing = models.TextField(null=True)

    class Meta:
        app_label, db_table = "story", TABLE
        indexes = [models.Index(fields=["t", "i"], name=f"{TABLE}_by_t")]


def connect():
    with connection.cursor() as cursor:
        cursor.execute("SELECT current_user")
        same({"user": cursor.fetchone()[0]}, {"user": "admin"})


def ddl():
    with connection.schema_editor() as editor:
        editor.create_model(Item)
    MigrationExecutor(connection).recorder.ensure_schema()
    added = models.TextField(null=True)
    added.set_attributes_from_name("added")
    with connection.schema_editor() as editor:
        editor.add_field(Item, added)
        editor.remove_field(Item, added)
    assert migrations.Migration.atomic and not connection.features.can_rollback_ddl
    return "models, indexes (ASYNC), nullable columns; a column that is changed or gets NOT NULL is DSQL's limit"


def catalogue():
    with connection.cursor() as cursor:
        reads = connection.introspection
        names = [column.name for column in reads.get_table_description(cursor, TABLE)]
        same({"names": names}, {"names": list(ROW)})
        indexes = [found for found in reads.get_constraints(cursor, TABLE).values() if not found["primary_key"]]
        same({"columns": [found["columns"] for found in indexes]}, {"columns": [["t", "i"]]})
        reads.get_sequences(cursor, TABLE)
        reads.get_relations(cursor, TABLE)
    options = {"database": "default", "table": [TABLE], "table_name_filter": None, "include_views": True, "include_partitions": False}
    models_file = "\n".join(InspectDb().handle_inspection(options))
    assert "DecimalField(max_digits=20, decimal_places=4" in models_file, models_file
    return "`inspectdb` too"


def types():
    Item.objects.create(**ROW)
    found = Item.objects.get(n=ROW["n"], at=ROW["at"])
    same({name: bytes(value) if name == "raw" else value for name, value in found.__dict__.items()})
    Item.objects.bulk_create([Item(id=uuid.uuid4(), t=str(n)) for n in range(20)])
    assert len(list(Item.objects.order_by("t").iterator(chunk_size=5))) == 21
    try:
        Item.objects.get(j__a__0=1)
    except ProgrammingError:
        return "look-ups into JSON (`j__a=…`) fail: Django knows how for `postgresql`, and the adapter calls itself `dsql`"
    return None


def array():
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT count(*) FROM {TABLE} WHERE i = ANY(%s)", [[-5, 7]])
        same({"n": cursor.fetchone()[0]}, {"n": 1})


def conflict():
    rival = connections.create_connection("default")
    for attempt in (1, 2):
        try:
            with transaction.atomic():
                Item.objects.filter(id=ROW["id"]).update(i=models.F("i") + 1)
                if attempt == 1:
                    with rival.cursor() as cursor:
                        cursor.execute(f"UPDATE {TABLE} SET i = i + 10 WHERE id = %s", [ROW["id"]])
        except OperationalError as lost:
            refused(lost.__cause__.sqlstate, "40001")
        else:
            assert attempt == 2, "no conflict"
    rival.close()
    same({"i": Item.objects.get(id=ROW["id"]).i}, {"i": 6})
    with transaction.atomic(), transaction.atomic():
        Item.objects.count()
    return "a conflict is an `OperationalError`, as the block of `atomic()` ends"


def cancel():
    raise Limit("Django has none of its own: the driver's")


def error():
    try:
        Item.objects.create(id=ROW["id"])
    except IntegrityError as violation:
        refused(violation.__cause__.sqlstate, "23505")
    else:
        raise AssertionError("no error")


play(connect=connect, ddl=ddl, catalogue=catalogue, types=types, array=array, conflict=conflict, cancel=cancel, error=error)
