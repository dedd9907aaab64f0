// Creates the tables, one statement a request: DSQL takes one DDL statement a transaction. Harmless to run again.
//   DATABASE_URL=… [SQL_ENDPOINT=…] npm run schema
import { neon, neonConfig } from '@neondatabase/serverless';

if (process.env.SQL_ENDPOINT) neonConfig.fetchEndpoint = process.env.SQL_ENDPOINT;
const sql = neon(process.env.DATABASE_URL);

await sql`CREATE TABLE IF NOT EXISTS reactions (
  post text NOT NULL, visitor text NOT NULL, emoji text NOT NULL, PRIMARY KEY (post, visitor, emoji))`;
await sql`CREATE TABLE IF NOT EXISTS comments (
  post text NOT NULL, id uuid NOT NULL, visitor text NOT NULL, name text NOT NULL, body text NOT NULL,
  created_at timestamptz NOT NULL DEFAULT now(), PRIMARY KEY (post, id))`;
await sql`CREATE TABLE IF NOT EXISTS hearts (visitor text PRIMARY KEY, count int NOT NULL)`;
await sql`CREATE TABLE IF NOT EXISTS gifts (id uuid PRIMARY KEY, visitor text NOT NULL)`;
