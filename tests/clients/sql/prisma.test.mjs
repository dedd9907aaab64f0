// Prisma Migrate, unmodified, on a cluster that a token opens: migrations by AWS's own tool, and models on what they make.
import assert from 'node:assert/strict'
import { mkdir, readFile, rm, writeFile } from 'node:fs/promises'
import { createRequire } from 'node:module'
import { test } from 'node:test'
import { PrismaPg } from '@prisma/adapter-pg'
import { documented, project } from './project.mjs'
import { settings } from './session.mjs'

const { path, rows, run } = project({ DATABASE_URL: 'postgresql://is.not.used/', CHECKPOINT_DISABLE: '1' })
const prisma = (...args) => run('prisma/build/index.js', ...args)
const awsTool = (...args) => run('@aws/aurora-dsql-prisma-tools/dist/cli/index.js', ...args)

const SCHEMA = `
generator client {
  provider   = "prisma-client-js"
  engineType = "client"
  output     = "../client"
}
datasource db {
  provider     = "postgresql"
  url          = env("DATABASE_URL")
  relationMode = "prisma"
}
model Author {
  id    String @id @default(dbgenerated("gen_random_uuid()")) @db.Uuid
  email String @unique
  posts Post[]
}
model Post {
  id       String @id @default(dbgenerated("gen_random_uuid()")) @db.Uuid
  title    String
  authorId String @db.Uuid
  author   Author @relation(fields: [authorId], references: [id])
  @@index([authorId])
}
`
const GROWN = SCHEMA.replace('title    String\n', 'title    String\n  body     String?\n')

async function succeeds(running) {
  const { code, answer, written } = await running
  assert.equal(code, 0, written)
  return answer
}

// As docs/sql.md has it: what has changed in the schema, in DSQL's terms.
async function writeMigration(name, from) {
  const difference = await succeeds(prisma('migrate', 'diff', ...from, '--to-schema-datamodel', 'prisma/schema.prisma', '--script'))
  const at = path(`prisma/migrations/${name}`)
  await mkdir(at, { recursive: true })
  await writeFile(path('difference.sql'), difference.replace(/^CREATE SCHEMA.*\n/m, ''))
  await succeeds(awsTool('transform', 'difference.sql', '-o', `${at}/migration.sql`))
  return readFile(`${at}/migration.sql`, 'utf8')
}

const isApplied = 'SELECT migration_name AS name FROM _prisma_migrations WHERE finished_at IS NOT NULL ORDER BY 1'

test('a schema becomes tables and an index, once', async () => {
  await mkdir(path('prisma/migrations'), { recursive: true })
  await writeFile(path('prisma.config.ts'), documented('prisma.config.ts'))
  await writeFile(path('prisma/schema.prisma'), SCHEMA)
  await writeFile(path('prisma/migrations/migration_lock.toml'), 'provider = "postgresql"\n')
  await succeeds(awsTool('validate', 'prisma/schema.prisma'))
  assert.match(await writeMigration('1_init', ['--from-empty']), /CREATE UNIQUE INDEX ASYNC "Author_email_key"/)
  assert.match(await succeeds(prisma('migrate', 'deploy')), /All migrations have been successfully applied/)
  assert.match(await succeeds(prisma('migrate', 'deploy')), /No pending migrations/)
  assert.match(await succeeds(prisma('migrate', 'status')), /Database schema is up to date/)
  assert.deepEqual(await rows(isApplied), [{ name: '1_init' }])
})

test('a new column is a migration of its own', async () => {
  await writeFile(path('before.prisma'), SCHEMA)
  await writeFile(path('prisma/schema.prisma'), GROWN)
  assert.match(await writeMigration('2_body', ['--from-schema-datamodel', 'before.prisma']), /ADD COLUMN +"body" TEXT;/)
  await succeeds(prisma('migrate', 'deploy'))
  assert.deepEqual(await rows(isApplied), [{ name: '1_init' }, { name: '2_body' }])
})

test('a migration that DSQL refuses is told, and keeps others back until it is marked', async () => {
  const at = path('prisma/migrations/3_serial')
  await mkdir(at)
  await writeFile(`${at}/migration.sql`, 'CREATE TABLE serials (id SERIAL PRIMARY KEY);\n')
  for (const reason of [/type "serial" does not exist[^]*3_serial/, /P3009[^]*3_serial/]) {
    const { code, written } = await prisma('migrate', 'deploy')
    assert.equal(code, 1)
    assert.match(written, reason)
  }
  await rows("UPDATE _prisma_migrations SET rolled_back_at = now() WHERE migration_name = '3_serial'")
  await rm(at, { recursive: true })
  assert.match(await succeeds(prisma('migrate', 'deploy')), /No pending migrations/)
})

test('models, relations, upsert and errors work as Prisma has them', async () => {
  await succeeds(prisma('generate'))
  const { PrismaClient } = createRequire(path('client/'))('./index.js')
  const db = new PrismaClient({ adapter: new PrismaPg({ ...await settings(), ssl: true }, { schema: 'blog' }) })
  const [email, other] = ['ada@example.com', 'ada@example.org']
  await db.author.create({ data: { email, posts: { create: [{ title: 'one', body: 'x' }, { title: 'two' }] } } })
  await assert.rejects(db.author.create({ data: { email } }), { code: 'P2002' })
  await db.author.upsert({ where: { email }, create: { email }, update: { email: other } })
  const posts = { select: { title: true, body: true }, orderBy: { title: 'asc' } }
  assert.deepEqual(await db.author.findMany({ select: { email: true, posts } }), [
    { email: other, posts: [{ title: 'one', body: 'x' }, { title: 'two', body: null }] },
  ])
  await assert.rejects(db.$transaction(async (tx) => {
    await tx.post.deleteMany()
    throw new Error('not after all')
  }), /not after all/)
  assert.equal(await db.post.count(), 2)
  // What foreign keys would do elsewhere.
  await assert.rejects(db.author.delete({ where: { email: other } }), { code: 'P2014' })
  await db.$disconnect()
})
