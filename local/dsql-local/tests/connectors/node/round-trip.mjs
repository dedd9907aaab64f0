// A round trip with the official node-postgres connector, unmodified.
import dns from "node:dns";
import fs from "node:fs";
import { AuroraDSQLClient, AuroraDSQLPool } from "@aws/aurora-dsql-node-postgres-connector";

const { DSQL_ENDPOINT, DSQL_HOSTADDR, DSQL_PORT, DSQL_CA_FILE } = process.env;
// What a hosts entry does.
const lookup = dns.lookup;
dns.lookup = (name, options, done) => lookup(name === DSQL_ENDPOINT ? DSQL_HOSTADDR : name, options, done);

const config = { host: DSQL_ENDPOINT, port: Number(DSQL_PORT), user: "admin", ssl: { ca: fs.readFileSync(DSQL_CA_FILE) } };
const pool = new AuroraDSQLPool(config);
await pool.query("CREATE TABLE item_node (k int PRIMARY KEY, n int NOT NULL)");
await pool.query("INSERT INTO item_node VALUES (1, 0)");
const rival = new AuroraDSQLClient(config);
await rival.connect();

let attempts = 0;
// Adds 100 in a transaction, and 10 in another session's while the first attempt is open.
const add = async (client) => {
  attempts += 1;
  await client.query("UPDATE item_node SET n = n + $1 WHERE k = $2", [100, 1]);
  if (attempts === 1) await rival.query("UPDATE item_node SET n = n + 10 WHERE k = 1");
};
await pool.transaction(add);
const { rows } = await pool.query("SELECT current_user::text AS who, n FROM item_node WHERE k = $1", [1]);
console.log(`${rows[0].who} ${rows[0].n} after ${attempts} attempts`);
attempts = 0;
await pool.transaction(add, { maxRetries: 0 }).catch((lost) => console.log(`${lost.code} ${lost.message}`));
await rival.end();
await pool.end();
