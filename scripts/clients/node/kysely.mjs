// Kysely on node-postgres.
import { sql } from "kysely";
import { Limit, ca, conflict, host, play, port, refused, row, same, region, table, STORY_CREATE, STORY_INDEX } from "./story.mjs";

// snippet kysely
import { DsqlSigner } from "@aws-sdk/dsql-signer";
import { Kysely, PostgresDialect } from "kysely";
import pg from "pg";
const db = new Kysely({ dialect: new PostgresDialect({ pool: new pg.Pool({
  host, port, user: "admin", database: "postgres", ssl: { ca }, maxLifetimeSeconds: 3300,
  password: () => new DsqlSigner({ hostname: host, region }).getDbConnectAdminAuthToken(),
}) }) });
// end

await play({
  connect: async () => same((await sql`SELECT current_user::text AS who`.execute(db)).rows[0], { who: "admin" }),
  ddl: async () => {
    await sql.raw(STORY_CREATE).execute(db);
    const { rows: [{ job_id }] } = await sql.raw(STORY_INDEX).execute(db);
    await sql`CALL sys.wait_for_job(${job_id})`.execute(db);
    await db.schema.createTable(`${table}_built`).addColumn("k", "bigint", (c) => c.primaryKey()).addColumn("v", "text").execute();
    await db.schema.alterTable(`${table}_built`).addColumn("w", "integer").execute();
    return "`db.schema` makes and alters tables; an index by `sql`: its builder has no ASYNC. Its `Migrator` takes an advisory lock";
  },
  catalogue: async () => {
    const tables = await db.introspection.getTables();
    const { columns } = tables.find(({ name }) => name === table);
    same({ names: columns.map(({ name }) => name) }, { names: Object.keys(row) });
    const strange = tables.filter(({ name, schema }) => schema !== "sys" && !name.startsWith("story_"));
    same({ strange }, { strange: [] });
    await db.introspection.getSchemas();
  },
  types: async () => {
    await db.insertInto(table).values(row).execute();
    same(await db.selectFrom(table).selectAll().where("n", "=", row.n).executeTakeFirst());
    await db.insertInto(table).values([1, 2, 3].map((n) => ({ t: `${n}` }))).returning("id").execute();
  },
  array: async () => {
    same(await db.selectFrom(table).select(sql`count(*)::int`.as("n")).where("i", "=", sql`ANY(${[-5, 7]})`).executeTakeFirst(), { n: 1 });
  },
  conflict: async () => {
    const add = (on, by) => on.updateTable(table).set({ i: sql`i + ${by}::int` }).where("id", "=", row.id).execute();
    const attempt = (rival) => db.transaction().execute(async (transaction) => {
      await add(transaction, 1);
      await rival();
    });
    const read = async () => (await db.selectFrom(table).select("i").where("id", "=", row.id).executeTakeFirst()).i;
    await conflict(attempt, () => add(db, 10), read);
  },
  cancel: () => { throw new Limit("the driver's: `query_timeout`"); },
  error: async () => { await refused(() => db.insertInto(table).values({ id: row.id }).execute(), "23505"); },
});
