// Every parameter type and every scalar and array type, byte by byte as node-postgres reads it on the same database.
// TYPES=other tests the types that DSQL does not have.
import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import { connectionString, complaint, driver, essence, failure, postgres, rawTypes } from './site.mjs'
import { otherTypes, parameters, types } from './samples.mjs'

const isOther = process.env.TYPES === 'other'
const { neon } = await driver('1.2.0')
const older = (await driver('1.1.0')).neon(connectionString, { fullResults: true })
const sql = neon(connectionString, { fullResults: true })
let wire
before(async () => {
  wire = await postgres()
  if (isOther) {
    await wire.run("CREATE TYPE mood AS ENUM ('sad', 'ok', 'very happy')")
    await wire.run('CREATE TYPE pair AS (a int, b text)')
    await wire.run('CREATE DOMAIN positive AS int CHECK (value > 0)')
  }
})
after(() => wire.end())

// Text for text, and as each client parses it.
async function compare(text, values) {
  const raw = await wire.run(text, values, { types: rawTypes, rowMode: 'array' })
  for (const client of [sql, older]) {
    const result = await client.query(text, values, { types: rawTypes, arrayMode: true })
    assert.deepEqual(essence(result), { ...essence(raw), rowAsArray: true })
  }
  const plain = (rows) => JSON.stringify(rows, (_, value) => (typeof value === 'number' && !Number.isFinite(value) ? String(value) : value))
  const parsed = await sql.query(text, values)
  assert.equal(plain(parsed.rows), plain((await wire.run(text, values)).rows))
}

for (const [type, values] of isOther ? [] : parameters) {
  test(`JavaScript values as ${type}: ${values.length}`, async () => {
    for (const value of values) await compare(`SELECT $1::${type} AS v`, [value])
  })
}

for (const [type, values] of isOther ? otherTypes : types) {
  test(`${type} and its array`, async () => {
    for (const value of values) {
      await compare(`SELECT $1::text::${type} AS v, ARRAY[$1::text::${type}, NULL]::${type}[] AS a, NULL::${type} AS n`, [value])
      await compare(`SELECT ARRAY[ARRAY[$1::text::${type}], ARRAY[$1::text::${type}]] AS nested, '{}'::${type}[] AS none`, [value])
    }
  })
}

test('an array of typed arrays is refused by the driver itself', async () => {
  await assert.rejects(async () => sql.query('SELECT $1::bytea[]', [[Uint8Array.from([1])]]), TypeError)
})

// A small generator with a fixed seed: a failure can be repeated.
function generator(seed) {
  return (below) => {
    seed = (Math.imul(seed, 1664525) + 1013904223) >>> 0
    return Math.floor((seed / 2 ** 32) * below)
  }
}

const alphabet = ['a', 'Z', '0', ' ', '"', "'", '\\', '\\x', '{', '}', ',', 'NULL', '$1', ';', '--', '/*', '\n', '\r', '\t', '\u0001',
  '\u007f', '\u0080', 'é', 'ß', '漢', '😀', '\u200d', '\ufeff', '\uffff', '\u{10ffff}', '%', '_']

test('random text, arrays and JSON come back byte by byte', async () => {
  const random = generator(20261125)
  const word = (longest) => Array.from({ length: random(longest) }, () => alphabet[random(alphabet.length)]).join('')
  for (let round = 0; round < 150; round++) {
    const text = word(200)
    const array = Array.from({ length: random(6) }, () => (random(5) ? word(20) : null))
    const json = { [word(5)]: word(20), list: [random(10), null, word(9)] }
    const { rows: [row] } = await sql.query(
      "SELECT $1::text AS text, $2::text[] AS array, $3::json AS json, convert_to($1::text, 'UTF8') AS bytes", [text, array, json])
    assert.equal(row.text, text)
    assert.deepEqual(row.array, array)
    assert.deepEqual(row.json, json)
    assert.deepEqual(Buffer.from(row.bytes), Buffer.from(text))
  }
})

test('a mebibyte of anything comes back byte by byte', async () => {
  const random = generator(7)
  const bytes = Buffer.from(Array.from({ length: 1 << 20 }, () => random(256)))
  let text = ''
  while (text.length < 1 << 20) text += alphabet[random(alphabet.length)]
  const { rows: [row] } = await sql.query('SELECT $1::bytea AS b, $2::text AS t', [bytes, text])
  assert.ok(Buffer.from(row.b).equals(bytes))
  assert.ok(row.t === text)
})

test('NUL is refused as PostgreSQL refuses it', async () => {
  for (const value of ['\0', 'a\0b']) {
    const error = complaint(await failure(sql.query('SELECT $1::text', [value])))
    assert.deepEqual(error, complaint(await failure(wire.run('SELECT $1::text', [value]))))
    assert.equal(error.code, '22021')
  }
  assert.equal((await failure(sql.query("SELECT 'a\0b'"))).code, '22021')
})
