// node-postgres.
import { story } from "./pg-story.mjs";
import { ca, host, port, region } from "./story.mjs";

// snippet
import { DsqlSigner } from "@aws-sdk/dsql-signer";
import pg from "pg";
const pool = new pg.Pool({
  host, port, user: "admin", database: "postgres", ssl: { ca }, maxLifetimeSeconds: 3300,
  password: () => new DsqlSigner({ hostname: host, region }).getDbConnectAdminAuthToken(),
});
// end

await story(pool, false);
