// drizzle-kit, unmodified, on a cluster that a token opens: what it can do there, and where DSQL's rules end it.
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { mkdtemp, readFile, readdir, rm, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { fileURLToPath } from 'node:url'
import pg from 'pg'
import { sessionToken, settings } from './session.mjs'

const here = (name) => fileURLToPath(new URL(name, import.meta.url))
let folder, session
before(async () => {
  folder = await mkdtemp(join(tmpdir(), 'drizzle-'))
  await symlink(here('node_modules'), join(folder, 'node_modules'))
  session = new pg.Client({ ...await settings(), ssl: true })
  await session.connect()
})
after(async () => {
  await session.end()
  await rm(folder, { recursive: true })
})

// As docs/sql.md has it; TOKEN is what POST /token answered.
const CONFIG = `
const { host, port, user, password, database } = JSON.parse(process.env.TOKEN)
export default { dialect: 'postgresql', schema: './schema.mjs', schemaFilter: [user], dbCredentials: { host, port, user, password, database, ssl: true } }
`
const SCHEMA = `
import { pgSchema, text, timestamp, uuid } from 'drizzle-orm/pg-core'
export const blog = pgSchema('blog')
export const posts = blog.table('posts', { id: uuid().primaryKey().defaultRandom(), title: text().notNull(), made: timestamp({ withTimezone: true }).defaultNow() })
export const tags = blog.table('tags', { id: uuid().primaryKey().defaultRandom(), post: uuid().notNull(), word: text().notNull() })
`
const GROWN = SCHEMA.replace('title: text().notNull(),', 'title: text().notNull(), body: text(),')

async function drizzleKit(command) {
  const kit = spawn(process.execPath, [here('node_modules/drizzle-kit/bin.cjs'), command, '--config=drizzle.config.mjs'], {
    cwd: folder,
    env: { ...process.env, TOKEN: JSON.stringify(await sessionToken()), NODE_OPTIONS: `--import ${new URL('session.mjs', import.meta.url)}` },
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  let written = ''
  for (const stream of [kit.stdout, kit.stderr]) stream.on('data', (data) => { written += data })
  const code = await new Promise((done) => kit.on('close', done))
  return { code, written }
}

const write = (schema) => Promise.all([writeFile(join(folder, 'drizzle.config.mjs'), CONFIG), writeFile(join(folder, 'schema.mjs'), schema)])

// A statement; sent again where the catalog was changed since the session's last one.
const run = async (text, values) => {
  for (;;) {
    try {
      return await session.query(text, values)
    } catch (error) {
      if (!/OC001/.test(error.message)) throw error
    }
  }
}
const columns = async (table) => {
  const text = "SELECT column_name FROM information_schema.columns WHERE table_schema = 'blog' AND table_name = $1 ORDER BY 1"
  const { rows } = await run(text, [table])
  return rows.map(({ column_name: name }) => name)
}

test('push makes tables, adds columns, and has nothing to do when all is there', async () => {
  await write(SCHEMA)
  for (const expected of [/Changes applied/, /No changes detected/]) {
    const { code, written } = await drizzleKit('push')
    assert.equal(code, 0, written)
    assert.match(written, expected)
  }
  assert.deepEqual(await columns('tags'), ['id', 'post', 'word'])
  await write(GROWN)
  assert.match((await drizzleKit('push')).written, /Changes applied/)
  assert.deepEqual(await columns('posts'), ['body', 'id', 'made', 'title'])
})

test('pull reads what is there', async () => {
  const { code, written } = await drizzleKit('pull')
  assert.equal(code, 0, written)
  const [file] = (await readdir(join(folder, 'drizzle'))).filter((name) => name === 'schema.ts')
  assert.match(await readFile(join(folder, 'drizzle', file), 'utf8'), /blog\.table\("tags"/)
})

test('generate writes SQL, of which DSQL takes one statement at a time', async () => {
  await write(SCHEMA.replaceAll("'posts'", "'pages'").replaceAll("'tags'", "'words'"))
  await rm(join(folder, 'drizzle'), { recursive: true, force: true })
  assert.equal((await drizzleKit('generate')).code, 0)
  const [file] = (await readdir(join(folder, 'drizzle'))).filter((name) => name.endsWith('.sql'))
  const statements = (await readFile(join(folder, 'drizzle', file), 'utf8')).split('--> statement-breakpoint')
  assert.match(statements[0], /CREATE SCHEMA "blog"/)
  await assert.rejects(run(statements[0]), { code: '42501' })
  for (const statement of statements.slice(1)) await run(statement)
  assert.deepEqual(await columns('words'), ['id', 'post', 'word'])
  for (const table of ['pages', 'words']) await run(`DROP TABLE ${table}`)
})

test('migrate, and an index, are refused by DSQL', async () => {
  assert.equal((await drizzleKit('migrate')).code, 1)
  await assert.rejects(run('CREATE TABLE m (id SERIAL PRIMARY KEY)'), { code: '42704' })
  await write(GROWN.replace('word: text().notNull() }', 'word: text().notNull() }, (table) => [index().on(table.word)]').replace('{ pgSchema', '{ index, pgSchema'))
  assert.match((await drizzleKit('push')).written, /ASYNC/)
})
