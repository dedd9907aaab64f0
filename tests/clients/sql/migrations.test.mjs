// drizzle-kit, unmodified, on a cluster that a token opens: what it can do there, and where DSQL's rules end it.
import assert from 'node:assert/strict'
import { readFile, readdir, rm, writeFile } from 'node:fs/promises'
import { test } from 'node:test'
import { documented, project } from './project.mjs'

const { path, rows, run } = project()
const drizzleKit = (command) => run('drizzle-kit/bin.cjs', command, '--config=drizzle.config.mjs')

const SCHEMA = `
import { pgSchema, text, timestamp, uuid } from 'drizzle-orm/pg-core'
export const blog = pgSchema('blog')
export const posts = blog.table('posts', { id: uuid().primaryKey().defaultRandom(), title: text().notNull(), made: timestamp({ withTimezone: true }).defaultNow() })
export const tags = blog.table('tags', { id: uuid().primaryKey().defaultRandom(), post: uuid().notNull(), word: text().notNull() })
`
const GROWN = SCHEMA.replace('title: text().notNull(),', 'title: text().notNull(), body: text(),')

const write = (schema) => Promise.all([writeFile(path('drizzle.config.mjs'), documented('drizzle.config.mjs')), writeFile(path('schema.mjs'), schema)])

const columns = async (table) => {
  const text = "SELECT column_name FROM information_schema.columns WHERE table_schema = 'blog' AND table_name = $1 ORDER BY 1"
  return (await rows(text, [table])).map(({ column_name: name }) => name)
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
  const [file] = (await readdir(path('drizzle'))).filter((name) => name === 'schema.ts')
  assert.match(await readFile(path(`drizzle/${file}`), 'utf8'), /blog\.table\("tags"/)
})

test('generate writes SQL, of which DSQL takes one statement at a time', async () => {
  await write(SCHEMA.replaceAll("'posts'", "'pages'").replaceAll("'tags'", "'words'"))
  await rm(path('drizzle'), { recursive: true, force: true })
  assert.equal((await drizzleKit('generate')).code, 0)
  const [file] = (await readdir(path('drizzle'))).filter((name) => name.endsWith('.sql'))
  const statements = (await readFile(path(`drizzle/${file}`), 'utf8')).split('--> statement-breakpoint')
  assert.match(statements[0], /CREATE SCHEMA "blog"/)
  await assert.rejects(rows(statements[0]), { code: '42501' })
  for (const statement of statements.slice(1)) await rows(statement)
  assert.deepEqual(await columns('words'), ['id', 'post', 'word'])
  for (const table of ['pages', 'words']) await rows(`DROP TABLE ${table}`)
})

test('migrate, and an index, are refused by DSQL', async () => {
  assert.equal((await drizzleKit('migrate')).code, 1)
  await assert.rejects(rows('CREATE TABLE m (id SERIAL PRIMARY KEY)'), { code: '42704' })
  await write(GROWN.replace('word: text().notNull() }', 'word: text().notNull() }, (table) => [index().on(table.word)]').replace('{ pgSchema', '{ index, pgSchema'))
  assert.match((await drizzleKit('push')).written, /ASYNC/)
})
