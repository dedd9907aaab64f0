// The Neon driver over WebSocket, unmodified: a cluster speaks PostgreSQL over WebSocket on 443.
import { Limit, conflict, host, insert, play, refused, row, same, region, table, STORY_CREATE, STORY_INDEX } from "./story.mjs";

const { DSQL_WEBSOCKET_PORT } = process.env;
// snippet neon
import { DsqlSigner } from "@aws-sdk/dsql-signer";
import { Pool, neonConfig } from "@neondatabase/serverless";
import ws from "ws"; // Node 22 has a WebSocket of its own
neonConfig.webSocketConstructor = ws;
neonConfig.wsProxy = (host) => `${host}:${DSQL_WEBSOCKET_PORT}/`; // on a cluster: (host) => `${host}/`
const pool = new Pool({
  host, user: "admin", database: "postgres",
  password: () => new DsqlSigner({ hostname: host, region }).getDbConnectAdminAuthToken(),
});
// end
const one = (sql, parameters) => pool.query(sql, parameters).then(({ rows }) => rows[0]);
const add = (by) => [`UPDATE ${table} SET i = i + $1 WHERE id = $2`, [by, row.id]];

await play({
  connect: async () => same(await one("SELECT current_user::text AS who"), { who: "admin" }),
  ddl: async () => {
    await pool.query(STORY_CREATE);
    await pool.query("CALL sys.wait_for_job($1)", [(await one(STORY_INDEX)).job_id]);
  },
  types: async () => {
    await pool.query(insert, Object.values(row));
    same(await one(`SELECT * FROM ${table} WHERE id = $1`, [row.id]));
  },
  array: async () => same(await one(`SELECT count(*)::int AS n FROM ${table} WHERE i = ANY($1)`, [[-5, 7]]), { n: 1 }),
  conflict: async () => {
    const attempt = async (rival) => {
      const client = await pool.connect();
      try {
        for (const statement of [["BEGIN"], add(1)]) await client.query(...statement);
        await rival();
        await client.query("COMMIT");
      } finally {
        client.release();
      }
    };
    await conflict(attempt, () => pool.query(...add(10)), async () => (await one(`SELECT i FROM ${table} WHERE id = $1`, [row.id])).i);
  },
  cancel: () => { throw new Limit("none of its own"); },
  error: async () => { await refused(() => pool.query(`INSERT INTO ${table} (id) VALUES ($1)`, [row.id]), "23505"); },
  pool: async () => {
    const found = await Promise.all([1, 2, 3, 4].map((n) => pool.query("SELECT $1::int AS n", [n])));
    same({ n: found.map(({ rows }) => rows[0].n) }, { n: [1, 2, 3, 4] });
  },
});
