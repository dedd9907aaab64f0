"""A local Aurora DSQL that checks real IAM tokens, for tests.

    with dsql_local() as dsql:
        with psycopg.connect(**dsql.libpq()) as session:
            session.execute("SELECT 1")
"""

from ._binary import find_binary
from ._server import DsqlLocal, DsqlLocalError

__all__ = ["DsqlLocal", "DsqlLocalError", "dsql_local", "find_binary"]

dsql_local = DsqlLocal
