// AWS's connector for node-postgres.
import { story } from "./pg-story.mjs";
import { ca, host, port } from "./story.mjs";

// snippet
import { AuroraDSQLPool } from "@aws/aurora-dsql-node-postgres-connector";
const pool = new AuroraDSQLPool({ host, port, user: "admin", ssl: { ca } });
// end

await story(pool, true);
