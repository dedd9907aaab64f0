// An interactive transaction: one that reads, decides, and writes. It runs in a session on the cluster itself, by PostgreSQL
// over WebSocket, with a token that the connection string opens; the Worker still holds nothing of AWS.
import { Client, neonConfig } from '@neondatabase/serverless';

export interface SessionEnv {
  DATABASE_URL: string;
  SQL_ENDPOINT?: string;
  // Where the cluster speaks WebSocket, if not on 443: dsql-local's DSQL_WEBSOCKET_PORT.
  WEBSOCKET_PORT?: string;
}

interface Login {
  host: string;
  user: string;
  password: string;
  database: string;
  options: string;
  expiresAt: string;
}

const ATTEMPTS = 8;
const MARGIN_MS = 60_000;

// A token opens any number of sessions until it expires; an isolate keeps it, for the connection string it is of.
let kept: { of: string; login: Login } | undefined;

async function login(env: SessionEnv): Promise<Login> {
  const of = env.DATABASE_URL;
  if (kept?.of === of && Date.parse(kept.login.expiresAt) - MARGIN_MS > Date.now()) return kept.login;
  const response = await fetch(tokenUrl(env), { method: 'POST', headers: { 'Neon-Connection-String': of } });
  if (!response.ok) throw new Error(`no token: ${response.status} ${await response.text()}`);
  kept = { of, login: await response.json<Login>() };
  return kept.login;
}

// Beside /sql, wherever that is: see the driver's rule in docs/sql.md.
function tokenUrl(env: SessionEnv): string {
  if (env.SQL_ENDPOINT) return env.SQL_ENDPOINT.replace(/\/sql$/, '/token');
  return `https://${new URL(env.DATABASE_URL).hostname.replace(/^[^.]+/, 'api')}/token`;
}

// Runs `work` in a transaction, and again from the start when another one was faster: DSQL has no locks, and says so with
// 40001. When the connection is lost at COMMIT nobody knows: `work` must be something that may be done twice.
export async function transaction<T>(env: SessionEnv, work: (client: Client) => Promise<T>): Promise<T> {
  neonConfig.wsProxy = (host) => `${host}${env.WEBSOCKET_PORT ? `:${env.WEBSOCKET_PORT}` : ''}/`;
  const { host, user, password, database, options } = await login(env);
  const client = new Client({ host, user, password, database, options });
  await client.connect();
  try {
    for (let attempt = 1; ; attempt++) {
      try {
        await client.query('BEGIN');
        const result = await work(client);
        await client.query('COMMIT');
        return result;
      } catch (error) {
        await client.query('ROLLBACK');
        if ((error as { code?: string }).code !== '40001' || attempt === ATTEMPTS) throw error;
        await new Promise((resolve) => setTimeout(resolve, Math.random() * 10 * 2 ** attempt));
      }
    }
  } finally {
    await client.end();
  }
}
