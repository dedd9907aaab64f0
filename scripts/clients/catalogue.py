"""Which clients there are: how each is called, run, and found to have a version."""
import json
import re
import subprocess
import sys
import zipfile
from dataclasses import dataclass
from importlib import metadata

NOWHERE = "-"
JDBC = "jdbc/postgresql.jar"


@dataclass
class Client:
    """One row of the page's table."""

    key: str
    name: str
    file: str  # its program, below this folder
    package: str  # what tells its version: "pip NAME [NAME]", "npm NAME", "jar FILE", or "run" and a command
    tag: str = ""  # an argument of the program, where several clients share one
    section: str = ""  # where several versions share one
    shown: str = ""  # the file with its snippet, if that is not its program; or NOWHERE
    install: str = ""  # what installs it
    about: str = ""  # what stands beside it, with its version
    found: str = ""  # the version, if it is there

    def __post_init__(self):
        self.section = self.section or self.name

    def command(self, here, target):
        file = here / self.file
        runners = {
            ".py": [sys.executable], ".mjs": ["node", "--import", here / "node" / "modules.mjs"], ".php": ["php"], ".rb": ["ruby"],
            ".java": ["java", "-cp", target / JDBC],
        }
        return [*runners[file.suffix], file, *([self.tag] if self.tag else [])]

    def version(self, target):
        kind, _, rest = self.package.partition(" ")
        if kind == "pip":
            found = metadata.distributions(path=[str(target / "python")])
            versions = {package.metadata["Name"].lower().replace("_", "-"): package.version for package in found}
            name, _, beside = rest.partition(" ")
            self.about = f" with {beside} {versions.get(beside)}" if beside else ""
            return versions.get(name, "")
        if kind == "npm":
            file = target / "node" / "node_modules" / rest / "package.json"
            return json.loads(file.read_text())["version"] if file.exists() else ""
        if kind == "jar":
            file = target / rest
            manifest = zipfile.ZipFile(file).read("META-INF/MANIFEST.MF").decode() if file.exists() else ""
            return (re.findall(r"Implementation-Version: (\S+)", manifest) or [""])[0]
        try:
            done = subprocess.run(rest.split(), cwd=target, check=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        except (OSError, subprocess.CalledProcessError):
            return ""
        return re.search(r"\d+(\.\d+)+", done.stdout).group()


def postgres(program, version):
    """psql or pg_dump of one version of PostgreSQL."""
    command = f"run ./postgres-{version}/bin/{program} --version"
    tag = f"{program}-{version}"
    shown = "others/psql.sh" if program == "psql" else NOWHERE
    return Client(f"{program}_{version}", f"{program} {version}", "python/psql.py", command, tag, program, shown)


CONNECTOR = "pip aurora-dsql-python-connector"
CLIENTS = [
    *(postgres("psql", version) for version in ("16", "17", "18")),
    *(postgres("pg_dump", version) for version in ("16", "17", "18")),
    Client(
        "psycopg", "psycopg 3", "python/drivers.py", "pip psycopg", "psycopg",
        install='pip install "psycopg[binary,pool]" boto3',
    ),
    Client(
        "psycopg2", "psycopg2", "python/drivers.py", "pip psycopg2-binary", "psycopg2",
        install="pip install psycopg2-binary boto3",
    ),
    Client(
        "asyncpg", "asyncpg", "python/asynchronous.py", "pip asyncpg", "asyncpg",
        install="pip install asyncpg boto3",
    ),
    Client(
        "aurora_psycopg", "AWS's Python connector: psycopg", "python/drivers.py", CONNECTOR, "aurora_dsql_psycopg",
        install='pip install "aurora-dsql-python-connector[psycopg]"',
    ),
    Client(
        "aurora_psycopg2", "AWS's Python connector: psycopg2", "python/drivers.py", CONNECTOR, "aurora_dsql_psycopg2",
        install='pip install "aurora-dsql-python-connector[psycopg2]"',
    ),
    Client(
        "aurora_asyncpg", "AWS's Python connector: asyncpg", "python/asynchronous.py", CONNECTOR, "aurora_dsql_asyncpg",
        install='pip install "aurora-dsql-python-connector[asyncpg]"',
    ),
    Client(
        "sqlalchemy", "SQLAlchemy", "python/alchemy.py", "pip sqlalchemy", "postgresql",
        install='pip install sqlalchemy "psycopg[binary]" boto3',
    ),
    Client(
        "sqlalchemy_aurora", "AWS's dialect for SQLAlchemy", "python/alchemy.py", "pip aurora-dsql-sqlalchemy sqlalchemy", "aurora",
        install='pip install "aurora-dsql-sqlalchemy[psycopg]"',
    ),
    Client(
        "django", "AWS's adapter for Django", "python/with_django.py", "pip aurora-dsql-django django",
        install='pip install aurora-dsql-django "psycopg[binary]"',
    ),
    Client(
        "tortoise", "AWS's adapter for Tortoise", "python/with_tortoise.py", "pip aurora-dsql-tortoise-orm tortoise-orm",
        install='pip install "aurora-dsql-tortoise-orm[asyncpg]"',
    ),
    Client(
        "pg", "node-postgres", "node/pg.mjs", "npm pg",
        install="npm install pg @aws-sdk/dsql-signer",
    ),
    Client(
        "aurora_pg", "AWS's connector for node-postgres", "node/aurora-pg.mjs", "npm @aws/aurora-dsql-node-postgres-connector",
        install="npm install @aws/aurora-dsql-node-postgres-connector pg pg-connection-string",
    ),
    Client(
        "postgresjs", "postgres.js", "node/postgresjs.mjs", "npm postgres",
        install="npm install postgres @aws-sdk/dsql-signer",
    ),
    Client(
        "neon", "Neon's driver over WebSocket", "node/neon.mjs", "npm @neondatabase/serverless",
        install="npm install @neondatabase/serverless ws @aws-sdk/dsql-signer",
    ),
    Client(
        "drizzle", "Drizzle", "node/drizzle.mjs", "npm drizzle-orm",
        install="npm install drizzle-orm pg @aws-sdk/dsql-signer",
    ),
    Client(
        "kysely", "Kysely", "node/kysely.mjs", "npm kysely",
        install="npm install kysely pg @aws-sdk/dsql-signer",
    ),
    Client(
        "knex", "Knex", "node/knex.mjs", "npm knex",
        install="npm install knex pg @aws-sdk/dsql-signer",
    ),
    Client(
        "typeorm", "TypeORM", "node/typeorm.mjs", "npm typeorm",
        install="npm install typeorm reflect-metadata pg @aws-sdk/dsql-signer",
    ),
    Client(
        "sequelize", "Sequelize", "node/sequelize.mjs", "npm sequelize",
        install="npm install sequelize pg @aws-sdk/dsql-signer",
    ),
    Client(
        "prisma", "Prisma", "node/prisma.mjs", "npm prisma",
        install="npm install prisma @prisma/client @prisma/adapter-pg @aws-sdk/dsql-signer",
    ),
    Client(
        "pgjdbc", "pgjdbc", "others/Jdbc.java", f"jar {JDBC}",
        install="org.postgresql:postgresql",
    ),
    Client(
        "pdo", "PHP's PDO", "others/pdo.php", "run php -r echo(PHP_VERSION);",
        install="apt-get install php-cli php-pgsql",
    ),
    Client(
        "ruby", "Ruby's pg", "others/ruby.rb", "run ruby -r pg -e puts(PG::VERSION)",
        install="gem install pg",
    ),
]
