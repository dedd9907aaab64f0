// Knex.
import { ca, conflict, host, play, port, refused, row, same, region, table, STORY_CREATE, STORY_INDEX } from "./story.mjs";

// snippet knex
import { DsqlSigner } from "@aws-sdk/dsql-signer";
import knex from "knex";
const db = knex({ client: "pg", pool: { min: 0, maxConnectionLifetimeMillis: 3300_000 }, connection: async () => {
  const password = await new DsqlSigner({ hostname: host, region }).getDbConnectAdminAuthToken();
  const until = Date.now() + 600_000;
  const expirationChecker = () => Date.now() > until;
  return { host, port, user: "admin", database: "postgres", password, ssl: { ca }, expirationChecker };
} });
// end

await play({
  connect: async () => same((await db.raw("SELECT current_user::text AS who")).rows[0], { who: "admin" }),
  ddl: async () => {
    await db.raw(STORY_CREATE);
    const { rows: [{ job_id }] } = await db.raw(STORY_INDEX);
    await db.raw("CALL sys.wait_for_job(?)", [job_id]);
    await db.schema.createTable(`${table}_built`, (built) => { built.bigInteger("k").primary(); built.text("v"); }).catch(() => {});
    const made = await db.schema.hasTable(`${table}_built`);
    return made ? undefined : "`.primary()` is an ALTER TABLE of its own, which DSQL refuses: tables by `raw`";
  },
  catalogue: async () => {
    const columns = await db(table).columnInfo();
    same({ names: Object.keys(columns).sort() }, { names: Object.keys(row).sort() });
    same({ has: await db.schema.hasColumn(table, "raw") }, { has: true });
  },
  types: async () => {
    await db(table).insert(row);
    same(await db(table).where({ n: row.n }).first());
    await db.batchInsert(table, [1, 2, 3].map((n) => ({ t: `${n}` })), 2);
  },
  array: async () => same(await db(table).whereRaw("i = ANY(?)", [[-5, 7]]).count("* as n").first(), { n: "1" }),
  conflict: async () => {
    const add = (on, by) => on(table).where({ id: row.id }).increment("i", by);
    const attempt = (rival) => db.transaction(async (transaction) => {
      await add(transaction, 1);
      await rival();
    });
    await conflict(attempt, () => add(db, 10), async () => (await db(table).where({ id: row.id }).first()).i);
  },
  cancel: async () => {
    const late = await db.raw("SELECT pg_sleep(2)").timeout(300).then(() => null, (error) => error);
    same({ name: late?.name }, { name: "KnexTimeoutError" });
    return "`timeout()` ends the wait";
  },
  error: async () => { await refused(() => db(table).insert({ id: row.id }), "23505"); },
  pool: async () => {
    const found = await Promise.all([1, 2, 3, 4].map((n) => db.raw("SELECT ?::int AS n", [n])));
    same({ n: found.map(({ rows }) => rows[0].n) }, { n: [1, 2, 3, 4] });
  },
});
