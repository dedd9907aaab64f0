// postgres.js.
import { Limit, ca, conflict, host, play, port, refused, row, same, region, table, STORY_CREATE, STORY_INDEX } from "./story.mjs";

// snippet postgresjs
import { DsqlSigner } from "@aws-sdk/dsql-signer";
import postgres from "postgres";
const sql = postgres({
  host, port, user: "admin", database: "postgres", ssl: { ca, servername: host }, max_lifetime: 3300,
  password: () => new DsqlSigner({ hostname: host, region }).getDbConnectAdminAuthToken(),
});
// end

await play({
  connect: async () => same((await sql`SELECT current_user::text AS who`)[0], { who: "admin" }),
  ddl: async () => {
    await sql.unsafe(STORY_CREATE);
    const [{ job_id }] = await sql.unsafe(STORY_INDEX);
    await sql`CALL sys.wait_for_job(${job_id})`;
  },
  types: async () => {
    await sql`INSERT INTO ${sql(table)} ${sql({ ...row, j: sql.json(row.j) })}`;
    same((await sql`SELECT * FROM ${sql(table)} WHERE id = ${row.id}`)[0]);
    const many = await sql`INSERT INTO ${sql(table)} ${sql([1, 2, 3].map((n) => ({ t: `${n}` })))} RETURNING t`;
    same({ n: many.length }, { n: 3 });
    await sql`SELECT t FROM ${sql(table)}`.cursor(2, () => {});
    return "prepared statements, several rows at once, `cursor()` too";
  },
  array: async () => {
    same((await sql`SELECT count(*)::int AS n FROM ${sql(table)} WHERE i = ANY(${[-5, 7]})`)[0], { n: 1 });
    same((await sql`SELECT ${["x", "y,z"]}::text[] AS a`)[0], { a: ["x", "y,z"] });
  },
  conflict: async () => {
    const add = (on, by) => on`UPDATE ${sql(table)} SET i = i + ${by} WHERE id = ${row.id}`;
    const attempt = (rival) => sql.begin(async (transaction) => {
      await add(transaction, 1);
      await rival();
    });
    await conflict(attempt, () => add(sql, 10), async () => (await sql`SELECT i FROM ${sql(table)} WHERE id = ${row.id}`)[0].i);
  },
  cancel: async () => {
    const slow = sql`SELECT pg_sleep(2)`.execute();
    setTimeout(() => slow.cancel(), 300);
    await slow.then(() => { throw new Limit("`cancel()` sends a CancelRequest, which has no effect: the statement goes on") });
  },
  error: async () => {
    const violation = await refused(() => sql`INSERT INTO ${sql(table)} (id) VALUES (${row.id})`, "23505");
    same(violation, { constraint_name: `${table}_pkey`, table_name: table });
  },
  pool: async () => {
    const found = await Promise.all([1, 2, 3, 4].map((n) => sql`SELECT ${n}::int AS n`));
    same({ n: found.map(([{ n }]) => n) }, { n: [1, 2, 3, 4] });
    return "its pool asks `password` for each connection; `max_lifetime` below 3600";
  },
});
