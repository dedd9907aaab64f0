// The npm package, as a test uses it.
import assert from "node:assert/strict";
import { startDsqlLocal } from "dsql-local";
import pg from "pg";

const dsql = await startDsqlLocal();
const config = await dsql.pg();
const client = new pg.Client(config);
await client.connect();
const { rows } = await client.query("SELECT current_user::text AS who");
console.log(rows[0].who);
await dsql.setFaults({ conflict_commits: 1 });
await client.query("CREATE TABLE t (n int)").catch((error) => console.log(error.code));
await assert.rejects(dsql.setFaults({ no_such_fault: 1 }), /conflict_commits/);
const cut = new Promise((resolve) => {
  client.once("error", resolve);
});
await dsql.advance(3600);
await cut;
console.log((await dsql.stats()).conflicts_injected, "conflict,", (await dsql.stats()).connections_open, "open");
await dsql.resetClock();
const again = new pg.Client(config);
await again.connect();
await again.end();
await dsql[Symbol.asyncDispose]();
await assert.rejects(new pg.Client(config).connect(), { code: "ECONNREFUSED" });
await assert.rejects(startDsqlLocal({ arguments: ["--listen", "0.0.0.0:0"] }), /not a loopback address/);
console.log("stopped");
