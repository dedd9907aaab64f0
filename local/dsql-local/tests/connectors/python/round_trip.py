# A round trip with the official connector for psycopg, unmodified.
import os

import aurora_dsql_psycopg as dsql

env = os.environ
settings = {
    "host": env["DSQL_ENDPOINT"],
    "hostaddr": env["DSQL_HOSTADDR"],
    "port": env["DSQL_PORT"],
    "user": "admin",
    "sslmode": "verify-full",
    "sslrootcert": env["DSQL_CA_FILE"],
}
with dsql.connect(**settings, autocommit=True) as session:
    session.execute("CREATE TABLE item_python (k int PRIMARY KEY, n int NOT NULL)")
    session.execute("INSERT INTO item_python VALUES (1, 0)")

attempts = 0


def add(connection):
    """Adds 100 in a transaction, and 10 in another session's while the first attempt is open."""
    global attempts
    attempts += 1
    connection.execute("UPDATE item_python SET n = n + %s WHERE k = %s", (100, 1))
    if attempts == 1:
        rival.execute("UPDATE item_python SET n = n + 10 WHERE k = 1")


with (
    dsql.create_pool(kwargs=settings, min_size=1, max_size=2) as pool,
    dsql.connect(**settings, autocommit=True) as rival,
):
    pool.run_transaction(add, retry=True)
    who, n = rival.execute("SELECT current_user, n FROM item_python WHERE k = %s", (1,)).fetchone()
    print(f"{who} {n} after {attempts} attempts")
    attempts = 0
    try:
        pool.run_transaction(add)
    except Exception as lost:
        assert dsql.is_occ_error(lost)
        print(lost.sqlstate, str(lost).splitlines()[0])
