// What node-postgres does, and AWS's connector of it.
import { conflict, insert, play, refused, row, same, table, STORY_CREATE, STORY_INDEX } from "./story.mjs";

export const story = (pool, aws) => {
  const one = (sql, parameters) => pool.query(sql, parameters).then(({ rows }) => rows[0]);
  return play({
    connect: async () => same(await one("SELECT current_user::text AS who"), { who: "admin" }),
    ddl: async () => {
      await pool.query(STORY_CREATE);
      const { job_id } = await one(STORY_INDEX);
      await pool.query("CALL sys.wait_for_job($1)", [job_id]);
    },
    types: async () => {
      await pool.query(insert, Object.values(row));
      same(await one(`SELECT * FROM ${table} WHERE id = $1`, [row.id]));
      const named = { name: "named", text: `SELECT t FROM ${table} WHERE id = $1`, values: [row.id] };
      for (let n = 0; n < 3; n++) same((await pool.query(named)).rows[0], { t: row.t });
      return "named prepared statements too";
    },
    array: async () => {
      same(await one(`SELECT count(*)::int AS n FROM ${table} WHERE i = ANY($1)`, [[-5, 7]]), { n: 1 });
      same(await one("SELECT $1::text[] AS a", [["x", null, "y,z"]]), { a: ["x", null, "y,z"] });
    },
    conflict: async () => {
      const add = (by) => [`UPDATE ${table} SET i = i + $1 WHERE id = $2`, [by, row.id]];
      let attempts = 0;
      if (aws) {
        await pool.transaction(async (client) => {
          await client.query(...add(1));
          if (++attempts === 1) await pool.query(...add(10));
        });
        same(await one(`SELECT i FROM ${table} WHERE id = $1`, [row.id]), { i: 6 });
        return "`pool.transaction` repeats what lost by itself";
      }
      const attempt = async (rival) => {
        const client = await pool.connect();
        try {
          await client.query("BEGIN");
          await client.query(...add(1));
          await rival();
          await client.query("COMMIT");
        } catch (error) {
          await client.query("ROLLBACK");
          throw error;
        } finally {
          client.release();
        }
      };
      await conflict(attempt, () => pool.query(...add(10)), async () => (await one(`SELECT i FROM ${table} WHERE id = $1`, [row.id])).i);
    },
    cancel: async () => {
      const late = await pool.query({ text: "SELECT pg_sleep(2)", query_timeout: 300 }).then(() => null, (error) => error);
      same({ message: late?.message }, { message: "Query read timeout" });
      return "`query_timeout` ends the wait, not the statement";
    },
    error: async () => {
      const violation = await refused(() => pool.query(`INSERT INTO ${table} (id) VALUES ($1)`, [row.id]), "23505");
      same(violation, { constraint: `${table}_pkey`, table });
    },
    pool: async () => {
      const found = await Promise.all([1, 2, 3, 4].map((n) => pool.query("SELECT $1::int AS n", [n])));
      same({ n: found.map(({ rows }) => rows[0].n) }, { n: [1, 2, 3, 4] });
      return aws ? undefined : "its pool asks `password` for each connection; `maxLifetimeSeconds` below 3600";
    },
  });
};
