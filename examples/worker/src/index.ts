// A blog's reactions, comments and gifts, stored in Aurora DSQL through the unmodified Neon driver, and the token with which
// its visitors chat. The Worker holds a connection string and a signing key: no AWS SDK, no socket.
import { neon, neonConfig, NeonDbError, type NeonQueryFunction } from '@neondatabase/serverless';
import { transaction, type SessionEnv } from './session';
import { mint } from './token';
import { verified, type CheckEnv } from './turnstile';

export interface Env extends SessionEnv, CheckEnv {
  TOKEN_KEY: string;
  VISITOR_KEY: string;
  TOKEN_ISSUER: string;
  TOKEN_AUDIENCE: string;
  SITE: string;
  TOKENS: RateLimit;
}

type Sql = NeonQueryFunction<false, false>;

const EMOJI = new Set(['👍', '❤️', '🎉', '🤔']);
// What the database cannot hold: a NUL, half an emoji.
const BROKEN = /[\0\p{Surrogate}]/u;
// SQLSTATEs that pass: connections, conflicts, a full or waking database, time. 08P01 is a request that is wrong.
const PASSING = /^(?:08(?!P01)|40|53|57)/;
const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/;
const TOKEN_SECONDS = 3600;
const CHECK_SECONDS = 30 * 24 * 3600;

export default {
  async fetch(request: Request, env: Env): Promise<Response> {
    let response: Response;
    try {
      response = await answer(request, env);
    } catch (error) {
      response = failure(error);
    }
    response.headers.set('Access-Control-Allow-Origin', env.SITE);
    response.headers.set('Access-Control-Allow-Credentials', 'true');
    response.headers.set('Vary', 'Origin');
    return response;
  },
} satisfies ExportedHandler<Env>;

async function answer(request: Request, env: Env): Promise<Response> {
  if (request.method === 'OPTIONS') {
    const headers = {
      'Access-Control-Allow-Methods': 'GET, POST, OPTIONS',
      'Access-Control-Allow-Headers': 'Content-Type',
      'Access-Control-Max-Age': '86400',
    };
    return new Response(null, { status: 204, headers });
  }
  // Cookies are sent from any page; only the blog's own may write with them.
  const origin = request.headers.get('Origin');
  if (request.method === 'POST' && origin !== null && origin !== env.SITE) return reply({ error: 'origin' }, 403);

  if (env.SQL_ENDPOINT) neonConfig.fetchEndpoint = env.SQL_ENDPOINT;
  const sql = neon(env.DATABASE_URL);
  const { secret, cookie } = identify(request);
  const visitor = await derived(env.VISITOR_KEY, 'visitor', secret);
  const segments = new URL(request.url).pathname.split('/').filter(Boolean);
  const [root, post, what] = segments.map(decodeURIComponent);
  const route = `${request.method} ${root === 'posts' ? `/posts/:post/${what}` : `/${segments.join('/')}`}`;
  let response: Response;
  if (root === 'posts' && (!post || post.length > 200 || segments.length !== 3)) return reply({ error: 'not found' }, 404);
  if (post && BROKEN.test(post)) return reply({ error: 'post' }, 422);
  switch (route) {
    case 'GET /posts/:post/reactions':
      response = await reactions(sql, post!);
      break;
    case 'POST /posts/:post/reactions':
      response = await react(sql, post!, visitor, await request.json());
      break;
    case 'GET /posts/:post/comments':
      response = await comments(sql, post!);
      break;
    case 'POST /posts/:post/comments':
      response = await comment(sql, post!, visitor, await request.json());
      break;
    case 'POST /gifts':
      response = await give(env, visitor, await request.json());
      break;
    case 'POST /token':
      response = await guest(request, env, secret);
      break;
    default:
      return reply({ error: 'not found' }, 404);
  }
  if (cookie) response.headers.append('Set-Cookie', cookie);
  return response;
}

// Every token is a day's budget of the chat's model, so none is made without a check that a visitor passes once a month, and no
// more than a few a minute for an address.
async function guest(request: Request, env: Env, secret: string): Promise<Response> {
  const address = request.headers.get('CF-Connecting-IP') ?? '';
  const { success } = await env.TOKENS.limit({ key: network(address) });
  if (!success) return reply({ error: 'too many' }, 429, { 'Retry-After': '60' });
  let cookie: string | undefined;
  if (!(await isChecked(request, env, secret))) {
    const text = await request.text();
    const { turnstile } = fields(text ? JSON.parse(text) : undefined);
    const verdict = await verified(env, turnstile, address, new URL(env.SITE).hostname);
    if (verdict === 'unknown') return reply({ error: 'try again' }, 503);
    if (verdict === 'refused') return reply({ error: 'turnstile' }, 403);
    cookie = await checked(env, secret);
  }
  // anon: a guest without an account, with a guest's limits.
  const sub = await derived(env.VISITOR_KEY, 'chat', secret);
  const claims = { iss: env.TOKEN_ISSUER, aud: env.TOKEN_AUDIENCE, sub, anon: true };
  const token = await mint(JSON.parse(env.TOKEN_KEY), claims, TOKEN_SECONDS);
  return reply({ token, expiresIn: TOKEN_SECONDS }, 200, cookie ? { 'Set-Cookie': cookie } : {});
}

// Whoever has an IPv6 address has the /64 that it is in.
function network(address: string): string {
  if (!address.includes(':')) return address;
  const [head = '', tail] = address.split('::');
  const groups = (part: string) => part.split(':').filter(Boolean);
  const zeros = tail === undefined ? 0 : 8 - groups(head).length - groups(tail).length;
  return [...groups(head), ...Array<string>(Math.max(zeros, 0)).fill('0'), ...groups(tail ?? '')].slice(0, 4).join(':');
}

// A cookie that says until when its visitor has passed the check, signed together with the visitor's secret.
async function checked(env: Env, secret: string): Promise<string> {
  const until = Math.floor(Date.now() / 1000) + CHECK_SECONDS;
  const mac = await derived(env.VISITOR_KEY, `checked:${until}`, secret);
  return `checked=${until}.${mac}; Path=/token; Max-Age=${CHECK_SECONDS}; HttpOnly; Secure; SameSite=None`;
}

async function isChecked(request: Request, env: Env, secret: string): Promise<boolean> {
  const [, until, mac] = /(?:^|;\s*)checked=(\d{1,12})\.([0-9a-f-]{36})(?:;|$)/.exec(request.headers.get('Cookie') ?? '') ?? [];
  if (!until || !mac || Number(until) * 1000 < Date.now()) return false;
  const bytes = (text: string) => new TextEncoder().encode(text);
  return crypto.subtle.timingSafeEqual(bytes(mac), bytes(await derived(env.VISITOR_KEY, `checked:${until}`, secret)));
}

async function reactions(sql: Sql, post: string): Promise<Response> {
  const rows = await sql`SELECT emoji, count(*)::int AS count FROM reactions WHERE post = ${post} GROUP BY emoji`;
  return reply(Object.fromEntries(rows.map((row) => [row.emoji, row.count])));
}

// A second click takes the reaction back. Both statements are one transaction and one round trip.
async function react(sql: Sql, post: string, visitor: string, input: unknown): Promise<Response> {
  const { emoji, on } = fields(input);
  if (typeof emoji !== 'string' || !EMOJI.has(emoji)) return reply({ error: 'emoji' }, 422);
  const change =
    on === false
      ? sql`DELETE FROM reactions WHERE post = ${post} AND visitor = ${visitor} AND emoji = ${emoji}`
      : sql`INSERT INTO reactions (post, visitor, emoji) VALUES (${post}, ${visitor}, ${emoji}) ON CONFLICT DO NOTHING`;
  const count = sql`SELECT count(*)::int AS count FROM reactions WHERE post = ${post} AND emoji = ${emoji}`;
  const [, counted] = await sql.transaction([change, count]);
  return reply({ emoji, count: counted?.[0]?.count ?? 0 });
}

async function comments(sql: Sql, post: string): Promise<Response> {
  const rows = await sql`
    SELECT id, visitor, name, body, created_at AS "createdAt" FROM comments WHERE post = ${post} ORDER BY created_at DESC, id LIMIT 100`;
  return reply(rows);
}

// The page chooses the id, so that sending again after a lost answer stores nothing twice.
async function comment(sql: Sql, post: string, visitor: string, input: unknown): Promise<Response> {
  const { id, name, body } = fields(input);
  if (typeof id !== 'string' || !UUID.test(id)) return reply({ error: 'id' }, 422);
  if (typeof name !== 'string' || name.length < 1 || name.length > 80 || BROKEN.test(name)) return reply({ error: 'name' }, 422);
  if (typeof body !== 'string' || body.length < 1 || body.length > 4000 || BROKEN.test(body)) return reply({ error: 'body' }, 422);
  await sql`
    INSERT INTO comments (post, id, visitor, name, body) VALUES (${post}, ${id}, ${visitor}, ${name}, ${body})
    ON CONFLICT DO NOTHING`;
  return reply({ id }, 201);
}

// Everyone has ten hearts, and may give them away: how many are left decides, so this needs a transaction that reads first.
// The page chooses the gift's id, so that sending again after a lost answer gives nothing twice.
async function give(env: Env, visitor: string, input: unknown): Promise<Response> {
  const { id, to, hearts } = fields(input);
  if (typeof id !== 'string' || !UUID.test(id)) return reply({ error: 'id' }, 422);
  if (typeof to !== 'string' || !UUID.test(to) || to === visitor) return reply({ error: 'to' }, 422);
  if (typeof hearts !== 'number' || !Number.isInteger(hearts) || hearts < 1 || hearts > 10) return reply({ error: 'hearts' }, 422);
  return transaction(env, async (client) => {
    const given = await client.query('INSERT INTO gifts (id, visitor) VALUES ($1, $2) ON CONFLICT DO NOTHING', [id, visitor]);
    for (const who of [visitor, to]) {
      await client.query('INSERT INTO hearts (visitor, count) VALUES ($1, 10) ON CONFLICT DO NOTHING', [who]);
    }
    const { rows: [mine] } = await client.query('SELECT count FROM hearts WHERE visitor = $1', [visitor]);
    if (given.rowCount === 0) return reply({ left: mine.count });
    if (mine.count < hearts) return reply({ error: 'hearts', left: mine.count }, 409);
    await client.query('UPDATE hearts SET count = count - $2 WHERE visitor = $1', [visitor, hearts]);
    await client.query('UPDATE hearts SET count = count + $2 WHERE visitor = $1', [to, hearts]);
    return reply({ left: mine.count - hearts });
  });
}

function fields(input: unknown): Record<string, unknown> {
  return typeof input === 'object' && input !== null ? (input as Record<string, unknown>) : {};
}

// The cookie holds a random secret, which is stored nowhere.
function identify(request: Request): { secret: string; cookie?: string } {
  const known = /(?:^|;\s*)visitor=([0-9a-f-]{36})(?:;|$)/.exec(request.headers.get('Cookie') ?? '')?.[1];
  if (known && UUID.test(known)) return { secret: known };
  const secret = crypto.randomUUID();
  return { secret, cookie: `visitor=${secret}; Path=/; Max-Age=31536000; HttpOnly; Secure; SameSite=None` };
}

// The visitor's id for one use, a UUID: the owner of reactions and comments, and that of chats. Who reads one, in a row, a page or
// a token, learns neither the cookie nor the other one.
async function derived(key: string, use: string, secret: string): Promise<string> {
  const bytes = (text: string) => new TextEncoder().encode(text);
  const hmac = await crypto.subtle.importKey('raw', bytes(key), { name: 'HMAC', hash: 'SHA-256' }, false, ['sign']);
  const tag = new Uint8Array(await crypto.subtle.sign('HMAC', hmac, bytes(`${use}:${secret}`)));
  const hex = [...tag.slice(0, 16)].map((byte) => byte.toString(16).padStart(2, '0')).join('');
  return hex.replace(/^(.{8})(.{4})(.{4})(.{4})/, '$1-$2-$3-$4-');
}

function failure(error: unknown): Response {
  if (error instanceof SyntaxError || error instanceof URIError) return reply({ error: 'invalid request' }, 400);
  const code = error instanceof NeonDbError ? error.code : undefined;
  console.error(JSON.stringify({ message: 'the request failed', code, error: String(error) }));
  // The data is refused (a value, a constraint), and would be again.
  if (code && /^2[23]/.test(code)) return reply({ error: 'refused' }, 422);
  // 08007: it may have been done. Everything here may be sent again; without a code there was no answer at all.
  if (!code || PASSING.test(code)) return reply({ error: 'try again' }, 503);
  return reply({ error: 'failed' }, 500);
}

function reply(body: unknown, status = 200, headers: Record<string, string> = {}): Response {
  const all = { 'Content-Type': 'application/json', 'Cache-Control': 'no-store', ...headers };
  return new Response(JSON.stringify(body), { status, headers: all });
}
