// Sessions with a token from /token, each by its own unmodified client.
import assert from 'node:assert/strict'
import { after, before, beforeEach, test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { Client, Pool, neonConfig } from '@neondatabase/serverless'
import { eq } from 'drizzle-orm'
import { drizzle as overWebSocket } from 'drizzle-orm/neon-serverless'
import { drizzle as overPg } from 'drizzle-orm/node-postgres'
import { integer, pgTable, text as textColumn } from 'drizzle-orm/pg-core'
import { build } from 'esbuild'
import { Kysely, Migrator, PostgresAdapter, PostgresDialect, sql } from 'kysely'
import { Miniflare, fetch as send } from 'miniflare'
import pg from 'pg'
import postgresjs from 'postgres'
import { sessionToken, settings, tokenUrl, WebSocket, wsProxy } from './session.mjs'
import { connectionString, failure } from './site.mjs'
import { block, transfer } from './transfer.mjs'

neonConfig.webSocketConstructor = WebSocket // Node before 22
neonConfig.wsProxy = wsProxy

let other
// Another session; its statements are sent again after a change of the catalog.
const rival = async (text, values) => {
  for (;;) {
    try {
      return (await other.query(text, values)).rows
    } catch (error) {
      if (!/OC001/.test(error.message)) throw error
    }
  }
}
before(async () => {
  other = new pg.Client({ ...await settings(), ssl: true })
  await other.connect()
  await other.query('CREATE TABLE accounts (id text PRIMARY KEY, balance int NOT NULL)')
})
beforeEach(() => rival("INSERT INTO accounts VALUES ('a', 100), ('b', 0) ON CONFLICT (id) DO UPDATE SET balance = excluded.balance"))
after(() => other.end())

const isMoved = async () => {
  const rows = await rival('SELECT id, balance FROM accounts ORDER BY id')
  assert.deepEqual(rows, [{ id: 'a', balance: 91 }, { id: 'b', balance: 10 }])
}
// A client whose `query` answers as node-postgres does, in a transaction with a conflict.
const transfers = async (client) => {
  const query = async (text, values) => (await client.query(text, values)).rows
  await query('SELECT 1').catch(() => {}) // hears of what changed in the catalog
  assert.equal(await transfer(block(query), rival), 2)
  await isMoved()
}

test('node-postgres', async () => {
  const pool = new pg.Pool({ ...await settings(), ssl: true })
  const client = await pool.connect()
  await transfers(client)
  client.release()
  await pool.end()
})

test('postgres.js', async () => {
  const { options, ...rest } = await settings()
  const session = postgresjs({ ...rest, ssl: 'verify-full', connection: { options }, max: 1 })
  await session`SELECT 1`.catch(() => {})
  const transaction = (work) => session.begin((tx) => work((text, values) => tx.unsafe(text, values)))
  assert.equal(await transfer(transaction, rival), 2)
  await isMoved()
  await session.end()
})

for (const pipelineConnect of ['password', false]) {
  test(`the Neon driver over WebSocket, pipelineConnect ${pipelineConnect}`, async () => {
    neonConfig.pipelineConnect = pipelineConnect
    const client = new Client(await settings())
    await client.connect()
    await transfers(client)
    await client.end()
    const pool = new Pool({ ...await settings(), max: 3 })
    const rows = await Promise.all([1, 2, 3, 4].map((n) => pool.query('SELECT $1::int AS n, current_schema()::text AS s', [n])))
    assert.deepEqual(rows.map(({ rows: [row] }) => row), [1, 2, 3, 4].map((n) => ({ n, s: 'blog' })))
    const { rows: [{ text }] } = await pool.query("SELECT repeat('x', 2000000) AS text")
    assert.equal(text.length, 2000000)
    assert.equal((await failure(pool.query('SELECT 1/0'))).code, '22012')
    await pool.end()
  })
}

const accounts = pgTable('accounts', { id: textColumn().primaryKey(), balance: integer().notNull() })
for (const [name, open, connection] of [
  ['node-postgres', overPg, async () => new pg.Pool({ ...await settings(), ssl: true, max: 1 })],
  ['the Neon driver', overWebSocket, async () => new Pool({ ...await settings(), max: 1 })],
]) {
  test(`drizzle's transactions over ${name}`, async () => {
    const pool = await connection()
    const db = open(pool)
    await db.execute('SELECT 1').catch(() => {})
    const balance = async (tx, id) => (await tx.select().from(accounts).where(eq(accounts.id, id)))[0].balance
    const set = (tx, id, balance) => tx.update(accounts).set({ balance }).where(eq(accounts.id, id))
    let attempts = 0
    for (let code = '40001'; code === '40001' && attempts < 5;) {
      attempts += 1
      const moved = db.transaction(async (tx) => {
        const left = await balance(tx, 'a')
        if (attempts === 1) await rival("UPDATE accounts SET balance = balance + 1 WHERE id = 'a'")
        await set(tx, 'a', left - 10)
        await set(tx, 'b', await balance(tx, 'b') + 10)
      })
      code = await moved.then(() => undefined, (error) => (error.cause ?? error).code)
    }
    assert.equal(attempts, 2)
    await isMoved()
    await pool.end()
  })
}

// What a Worker answers that moved the money.
async function answerOf(entry, bundling, options, bindings) {
  const { outputFiles: [{ text: script }] } = await build({
    entryPoints: [fileURLToPath(new URL(entry, import.meta.url))],
    bundle: true, write: false, format: 'esm', target: 'es2022', ...bundling,
  })
  const worker = new Miniflare({
    modules: true, script, compatibilityDate: '2026-04-01', ...options,
    bindings: { DATABASE_URL: connectionString, TOKEN_URL: tokenUrl, ...bindings },
  })
  try {
    const response = await worker.dispatchFetch('http://worker.example.com/')
    const text = await response.text()
    assert.equal(response.status, 200, text)
    return JSON.parse(text)
  } finally {
    await worker.dispose()
  }
}
const moved = { attempts: 2, rows: [{ id: 'a', balance: 91 }, { id: 'b', balance: 10 }] }

test('the Neon driver in workerd, with nothing but the connection string', async () => {
  const bindings = { WEBSOCKET_PORT: `:${process.env.DSQL_WEBSOCKET_PORT}` }
  // By Node's name resolution and certificates.
  const options = { outboundService: (request) => send(request.url, request) }
  assert.deepEqual(await answerOf('worker-session.mjs', { platform: 'browser' }, options, bindings), moved)
})

test('node-postgres in workerd, over a socket of its own', async () => {
  // As wrangler bundles for `nodejs_compat`.
  const bundling = {
    platform: 'node', conditions: ['workerd'], external: ['cloudflare:sockets'],
    banner: { js: "import { createRequire } from 'node:module'; const require = createRequire('/')" },
  }
  const bindings = { ADDRESS: process.env.DSQL_HOSTADDR }
  assert.deepEqual(await answerOf('worker-sockets.mjs', bundling, { compatibilityFlags: ['nodejs_compat'] }, bindings), moved)
})

test('a wrong token is refused over WebSocket in the words of the service', async () => {
  const client = new Client({ ...await settings(), password: async () => 'x' })
  const error = await failure(client.connect())
  assert.match(error.message, /access denied/)
})

// DSQL has neither advisory locks nor several changes of the catalog in one transaction.
class DsqlAdapter extends PostgresAdapter {
  get supportsTransactionalDdl() { return false }
  async acquireMigrationLock() {}
  async releaseMigrationLock() {}
}
class DsqlDialect extends PostgresDialect {
  createAdapter() { return new DsqlAdapter() }
}

test("kysely's migrations and transactions", async () => {
  const db = new Kysely({ dialect: new DsqlDialect({ pool: new pg.Pool({ ...await settings(), ssl: true, max: 1 }) }) })
  const migrations = {
    '1-notes': {
      up: (db) => db.schema.createTable('notes').addColumn('id', 'integer', (c) => c.primaryKey()).addColumn('body', 'text').execute(),
      down: (db) => db.schema.dropTable('notes').execute(),
    },
    '2-index': { up: (db) => sql`CREATE INDEX ASYNC notes_body ON notes (body)`.execute(db) },
  }
  const migrator = new Migrator({ db, provider: { getMigrations: async () => migrations } })
  for (const expected of [2, 0]) {
    const { error, results } = await migrator.migrateToLatest()
    assert.ifError(error)
    assert.deepEqual(results.map(({ status }) => status), Array(expected).fill('Success'))
  }
  await db.transaction().execute(async (tx) => {
    await tx.insertInto('notes').values([{ id: 1, body: 'one' }, { id: 2, body: 'two' }]).execute()
    const { count } = await tx.selectFrom('notes').select(({ fn }) => fn.countAll().as('count')).executeTakeFirst()
    assert.equal(count, '2')
  })
  await db.destroy()
})

test('a token opens the login and tells how to connect', async () => {
  const given = await sessionToken()
  assert.equal(given.user, 'blog')
  assert.ok(new Date(given.expiresAt) > new Date())
  await assert.rejects(sessionToken(connectionString.replace(/:[^:@]+@/, ':wrong@')), /28P01/)
})
