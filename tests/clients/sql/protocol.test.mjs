// The protocol as other clients speak it: output modes, batch headers, credentials, pooled connections, CORS.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { connectionString, endpoint } from './site.mjs'

async function post(body, headers = {}, url = connectionString) {
  const response = await fetch(endpoint, {
    method: 'POST',
    headers: { 'Neon-Connection-String': url, ...headers },
    body: JSON.stringify(body),
  })
  return { status: response.status, headers: response.headers, body: await response.json() }
}

const raw = { 'Neon-Raw-Text-Output': 'true', 'Neon-Array-Mode': 'true' }
const query = `SELECT 1::int4 AS i, 2::int8 AS big, 1.50::numeric AS n, true AS b, NULL AS nothing, 'NaN'::float8 AS nan,
  '{"a": [1]}'::jsonb AS j, ARRAY[1, NULL, 3] AS list, ARRAY[['a'], ['b"']] AS nested, '{}'::text[] AS empty`

test('rows are arrays or objects, and raw text or JSON values', async () => {
  const text = ['1', '2', '1.50', 't', null, 'NaN', '{"a": [1]}', '{1,NULL,3}', '{{a},{"b\\""}}', '{}']
  const values = [1, '2', '1.50', true, null, 'NaN', { a: [1] }, [1, null, 3], [['a'], ['b"']], []]
  const names = ['i', 'big', 'n', 'b', 'nothing', 'nan', 'j', 'list', 'nested', 'empty']
  const object = (row) => Object.fromEntries(names.map((name, at) => [name, row[at]]))
  for (const [isRaw, isArray, row] of [[true, true, text], [true, false, object(text)], [false, true, values], [false, false, object(values)]]) {
    const { body } = await post({ query }, { 'Neon-Raw-Text-Output': String(isRaw), 'Neon-Array-Mode': String(isArray) })
    assert.deepEqual(body.rows, [row])
    assert.equal(body.rowAsArray, isArray)
  }
  assert.deepEqual((await post({ query })).body.rows, [object(values)])
  assert.deepEqual((await post({ query: 'SELECT 1 AS a' }, { 'Neon-Array-Mode': 'True' })).body.rows, [{ a: 1 }], 'only "true" is true')
})

test('a query of a batch may have its own array mode', async () => {
  const { body } = await post({ queries: [{ query: 'SELECT 1 AS a', arrayMode: false }, { query: 'SELECT 1 AS a' }] }, raw)
  assert.deepEqual(body.results.map(({ rows }) => rows), [[{ a: '1' }], [['1']]])
})

test('batch headers are understood and echoed as understood', async () => {
  const { status, headers, body } = await post({ queries: [{ query: "SELECT current_setting('transaction_read_only')", params: [] }] }, {
    ...raw, 'Neon-Batch-Isolation-Level': 'RepeatableRead', 'Neon-Batch-Read-Only': 'true', 'Neon-Batch-Deferrable': 'false',
  })
  assert.equal(status, 200)
  assert.deepEqual(body.results[0].rows, [['on']])
  assert.equal(headers.get('neon-batch-isolation-level'), 'RepeatableRead')
  assert.equal(headers.get('neon-batch-read-only'), 'true')
  assert.equal(headers.get('neon-batch-deferrable'), 'false')
  const wrong = await post({ queries: [{ query: 'SELECT 1' }] }, { ...raw, 'Neon-Batch-Isolation-Level': 'bogus' })
  assert.deepEqual([wrong.status, wrong.body.code], [400, '22023'])
  const serializable = await post({ queries: [{ query: 'SELECT 1' }] }, { ...raw, 'Neon-Batch-Isolation-Level': 'Serializable' })
  assert.deepEqual([serializable.status, serializable.body.code], [400, '0A000'])
  assert.ok(serializable.body.hint)
})

test('no setting and no transaction passes from one request to the next', async () => {
  const value = async (name) => (await post({ query: `SHOW ${name}` }, raw)).body.rows[0][0]
  const before = await value('intervalstyle')
  for (let round = 0; round < 8; round++) {
    assert.equal((await post({ query: 'SET intervalstyle = iso_8601' }, raw)).status, 200)
    assert.equal((await post({ query: 'SET search_path = sys' }, raw)).status, 200)
    assert.equal(await value('intervalstyle'), before)
    assert.equal(await value('search_path'), 'blog')
    const began = async () => (await post({ query: 'SELECT now()' }, raw)).body.rows[0][0]
    assert.notEqual(await began(), await began(), 'each is a transaction of its own')
  }
})

test('transaction control has no place in a batch, and none alone', async () => {
  for (const [text, code] of [['COMMIT', '2D000'], ['/* a /* b */ */ rollback', '2D000'], ['-- x\nBEGIN', '25001'], ['savepoint a', '0A000']]) {
    const { status, body } = await post({ queries: [{ query: 'SELECT 1' }, { query: text }] }, raw)
    assert.deepEqual([status, body.code], [400, code], text)
    const alone = await post({ query: text }, raw)
    assert.deepEqual([alone.status, alone.body.code], [400, code], text)
    assert.match(alone.body.hint, /POST \/token/)
  }
})

test('a connection string is decoded once, and what it does not need is ignored', async () => {
  const { username, password } = new URL(connectionString)
  const encoded = [...password].map((c) => `%${c.charCodeAt(0).toString(16).padStart(2, '0')}`).join('')
  for (const url of [
    `postgres://${username}:${encoded}@db.example.com/postgres`,
    `postgresql://${username}:${password}@anything/postgres?sslmode=require&channel_binding=require&options=x&application_name=a+b`,
    `postgresql://${username}:${password}@db.example.com`,
    `postgresql://${username}:${password}@db.example.com:6543/`,
  ]) {
    const { status, body } = await post({ query: 'SELECT 1' }, raw, url)
    assert.equal(status, 200, `${body.message} for ${url.replace(/:[^:@]+@/, ':…@')}`)
  }
  for (const [url, code] of [
    [`postgresql://${username}:${password.replaceAll('', '%00')}@h/postgres`, '28P01|08001|28000'],
    [`postgresql://${username}:${encoded.replaceAll('%', '%25')}@h/postgres`, '28P01'],
    [`postgresql://${username}:${password}+@h/postgres`, '28P01'],
    [`postgresql://${username}@h/postgres`, '28000'],
    [`postgresql://${username}:${password}@h/app%20db`, '3D000'],
    ['nonsense', '08001'],
  ]) {
    const { status, body } = await post({ query: 'SELECT 1' }, raw, url)
    assert.equal(status, 400)
    assert.match(body.code, new RegExp(code))
    assert.ok(!JSON.stringify(body).includes(password))
  }
})

test('a request without the driver\'s headers is told so', async () => {
  const response = await fetch(endpoint, { method: 'POST', headers: { 'X-Only': '1' }, body: '{"query":"SELECT 1","params":[]}' })
  const body = await response.json()
  assert.deepEqual([response.status, body.code, Object.keys(body).length], [400, '08001', 17])
  assert.match(`${body.message} ${body.hint}`, /fetchOptions/)
})

test('an answer that is too large says what to do', async () => {
  const { status, body } = await post({ query: "SELECT string_agg(md5(n::text), '') FROM generate_series(1, 600000) n" }, raw)
  assert.deepEqual([status, body.code], [400, '54000'])
  assert.ok(body.hint)
})

test('browsers are let in, caches are kept out', async () => {
  const preflight = await fetch(endpoint, { method: 'OPTIONS', headers: { Origin: 'https://a.example', 'Access-Control-Request-Method': 'POST' } })
  assert.equal(preflight.status, 200)
  assert.match(preflight.headers.get('access-control-allow-headers').toLowerCase(), /neon-connection-string.*neon-batch-deferrable/s)
  for (const text of ['SELECT 1', 'SELEC']) {
    const { headers } = await post({ query: text }, raw)
    assert.equal(headers.get('access-control-allow-origin'), '*')
    assert.equal(headers.get('access-control-allow-credentials'), null)
    assert.equal(headers.get('cache-control'), 'no-store')
    assert.match(headers.get('neon-request-id'), /^[0-9a-f-]{36}$/)
  }
})

test('parameters of clients that send JSON values', async () => {
  const params = [1, 1.5, true, null, 'x', { a: 1 }, [1, null, 'a\nb"\\'], [[1], [2]]]
  const { body } = await post({ query: 'SELECT $1::int, $2::float8, $3::bool, $4::text, $5::text, $6::json, $7::text[], $8::int[]', params }, { 'Neon-Array-Mode': 'true' })
  assert.deepEqual(body.rows, [[1, 1.5, true, null, 'x', { a: 1 }, ['1', null, 'a\nb"\\'], [[1], [2]]]])
  const buffer = await post({ query: 'SELECT $1::bytea', params: [{ type: 'Buffer', data: [1, 2] }] }, raw)
  assert.deepEqual(buffer.body.rows, [['\\x0102']])
})
