// Drizzle on node-postgres.
import assert from "node:assert/strict";
import { eq, inArray, sql } from "drizzle-orm";
import { bigint, boolean, customType, index, integer, jsonb, numeric, pgTable, text, timestamp, uuid } from "drizzle-orm/pg-core";
import { Limit, ca, conflict, host, play, port, refused, row, same, region, table, STORY_CREATE, STORY_INDEX } from "./story.mjs";

// snippet drizzle
import { DsqlSigner } from "@aws-sdk/dsql-signer";
import { drizzle } from "drizzle-orm/node-postgres";
import pg from "pg";
const db = drizzle(new pg.Pool({
  host, port, user: "admin", database: "postgres", ssl: { ca }, maxLifetimeSeconds: 3300,
  password: () => new DsqlSigner({ hostname: host, region }).getDbConnectAdminAuthToken(),
}));
// end

const bytea = customType({ dataType: () => "bytea" });
const items = pgTable(table, {
  id: uuid().primaryKey().defaultRandom(), t: text(), i: integer(), b: bigint({ mode: "bigint" }), n: numeric({ precision: 20, scale: 4 }),
  f: boolean(), at: timestamp({ withTimezone: true }), j: jsonb(), raw: bytea(), nothing: text(),
}, (columns) => [index(`${table}_by_t`).on(columns.t, columns.i)]);
const written = { ...row, b: BigInt(row.b) };

await play({
  connect: async () => same((await db.execute(sql`SELECT current_user::text AS who`)).rows[0], { who: "admin" }),
  ddl: async () => {
    await db.execute(STORY_CREATE);
    const { rows: [{ job_id }] } = await db.execute(STORY_INDEX);
    await db.execute(sql`CALL sys.wait_for_job(${job_id})`);
  },
  catalogue: async () => {
    const { pushSchema } = require("drizzle-kit/api");
    const { statementsToExecute } = await pushSchema({ items }, db, ["public"], [table]);
    const changes = statementsToExecute.filter((statement) => !/INDEX/.test(statement));
    same({ changes }, { changes: [] });
    assert.match(statementsToExecute.at(-1), /^CREATE INDEX .* USING btree/);
    return "drizzle-kit reads the table as the schema has it; its own CREATE INDEX has no ASYNC, so indexes are SQL by hand";
  },
  types: async () => {
    const [found] = await db.insert(items).values(written).returning();
    same(found, written);
    await db.insert(items).values([1, 2, 3].map((n) => ({ t: `${n}` }))).onConflictDoNothing();
    same((await db.select().from(items).where(eq(items.n, row.n)))[0], written);
  },
  array: async () => {
    same({ n: await db.$count(items, inArray(items.i, [-5, 7])) }, { n: 1 });
    same({ n: await db.$count(items, sql`${items.i} = ANY(${sql.param([-5, 7])})`) }, { n: 1 });
  },
  conflict: async () => {
    const add = (on, by) => on.update(items).set({ i: sql`${items.i} + ${by}::int` }).where(eq(items.id, row.id));
    const attempt = (rival) => db.transaction(async (transaction) => {
      await add(transaction, 1);
      await rival();
    });
    const read = async () => (await db.select({ i: items.i }).from(items).where(eq(items.id, row.id)))[0].i;
    await conflict(attempt, () => add(db, 10), read);
  },
  cancel: () => { throw new Limit("the driver's: `query_timeout`"); },
  error: async () => {
    await refused(() => db.insert(items).values({ id: row.id }), "23505");
    return "the SQLSTATE is in `error.cause.code`";
  },
});
