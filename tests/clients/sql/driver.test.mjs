// What the driver promises its users over HTTP, by the unmodified driver, both versions, against node-postgres.
import assert from 'node:assert/strict'
import { after, before, describe, test } from 'node:test'
import { connectionString, complaint, driver, drivers, endpoint, essence, failure, postgres, token } from './site.mjs'
import { statements } from './samples.mjs'
import { createThings } from './setup.mjs'

let wire
before(async () => {
  wire = await postgres()
  await createThings(wire)
})
after(() => wire.end())

for (const version of Object.keys(drivers)) {
  describe(`driver ${version}`, () => {
    let neon, neonConfig, Pool, sql
    before(async () => {
      ({ neon, neonConfig, Pool } = await driver(version))
      sql = neon(connectionString)
    })

    for (const [text, params = []] of statements) {
      test(`the full result of ${JSON.stringify(text.slice(0, 60))} is node-postgres's`, async () => {
        const writes = /^(INSERT|UPDATE|DELETE)/.test(text)
        if (writes) await wire.run('BEGIN')
        const expected = await wire.run(text, params)
        if (writes) await wire.run('ROLLBACK')
        const result = await sql.query(text, params, { fullResults: true })
        const { viaNeonFetch, ...rest } = result
        assert.equal(viaNeonFetch, true)
        assert.deepEqual(essence(rest), { ...essence(expected), rowAsArray: false })
      })
    }

    test('template parameters are numbered, composed, and come back as they went', async () => {
      const id = 1
      const condition = sql`id = ${id}`
      assert.deepEqual(await sql`SELECT word, ${'x'} AS x FROM things WHERE ${condition} AND word <> ${'y'}`, [{ word: 'one', x: 'x' }])
      assert.deepEqual(await sql`SELECT ${5} AS five`, [{ five: '5' }])
      assert.deepEqual(await sql`SELECT ${5}::int AS five FROM ${sql.unsafe('things')} WHERE id = 1`, [{ five: 5 }])
      assert.deepEqual(await sql.query('SELECT $1 AS bytea', [Uint8Array.from([65, 66, 67])]), [{ bytea: '\\x414243' }])
      const [{ b }] = await sql`SELECT ${Buffer.from([0, 255])} AS b`
      assert.deepEqual(Buffer.from(b), Buffer.from([0, 255]))
    })

    test('a token opens the login without a password, and asks the host for tokens', async () => {
      const url = new URL(connectionString)
      url.password = ''
      const hosts = []
      neonConfig.fetchEndpoint = (host, _port, { jwtAuth }) => {
        hosts.push(jwtAuth)
        return endpoint
      }
      try {
        const withToken = neon(url.href, { authToken: async () => token })
        assert.deepEqual(await withToken`SELECT current_user AS me`, [{ me: 'blog' }])
        const refused = neon(url.href, { authToken: `${token}x` })
        assert.match((await failure(refused`SELECT 1`)).message, /the token does not open the login "blog"/)
      } finally {
        neonConfig.fetchEndpoint = endpoint
      }
      assert.deepEqual(hosts, [true, true])
    })

    for (const arrayMode of [false, true]) for (const fullResults of [false, true]) {
      test(`arrayMode ${arrayMode} and fullResults ${fullResults} hold for a client and for a query`, async () => {
        const rows = arrayMode ? [['1', 2]] : [{ a: '1', b: 2 }]
        const check = (result) => {
          assert.deepEqual(fullResults ? result.rows : result, rows)
          if (fullResults) {
            assert.equal(result.rowAsArray, arrayMode)
            assert.equal(result.fields[0].dataTypeID, 25)
          }
        }
        check(await neon(connectionString, { arrayMode, fullResults })`SELECT ${1} AS a, 2 AS b`)
        const opposite = neon(connectionString, { arrayMode: !arrayMode, fullResults: !fullResults })
        check(await opposite.query('SELECT $1 AS a, 2 AS b', [1], { arrayMode, fullResults }))
        const [inBatch] = await opposite.transaction([opposite`SELECT ${1} AS a, 2 AS b`], { arrayMode, fullResults })
        check(inBatch)
      })
    }

    test('an own fetch function is called once for a query', async () => {
      let calls = 0
      neonConfig.fetchFunction = (...call) => (calls++, fetch(...call))
      await sql`SELECT 1`
      neonConfig.fetchFunction = undefined
      assert.equal(calls, 1)
    })

    test('the endpoint is found without configuration under api.<zone>', async () => {
      const { fetchEndpoint } = neonConfig
      const urls = []
      neonConfig.fetchFunction = (url, init) => (urls.push(String(url)), fetch(endpoint, init))
      neonConfig.fetchEndpoint = (host) => `https://${host.replace(/^[^.]+\./, 'api.')}/sql` // the driver's own rule, in words
      assert.deepEqual(await sql`SELECT 1 AS one`, [{ one: 1 }])
      neonConfig.fetchFunction = undefined
      neonConfig.fetchEndpoint = fetchEndpoint
      assert.deepEqual(urls, ['https://api.example.com/sql'])
    })

    test('an error is node-postgres\'s in every property', async () => {
      const text = 'SELECT 123 WHERE x'
      const error = await failure(sql.query(text))
      assert.equal(error.name, 'NeonDbError')
      assert.deepEqual(complaint(error), complaint(await failure(wire.run(text))))
    })

    test('too few and too many parameters are told apart from each other', async () => {
      assert.match((await failure(sql.query('SELECT $1'))).message, /bind message supplies 0 parameters/)
      assert.match((await failure(sql.query('SELECT $1', [1, 2]))).message, /bind message supplies 2 parameters/)
    })

    test('a query that takes too long can be given up, and one that does not goes on', async () => {
      const give = (ms) => ({ fetchOptions: { signal: AbortSignal.timeout(ms) } })
      await assert.rejects(sql.query('SELECT pg_sleep(2)', [], give(250)), /aborted/)
      assert.deepEqual(await sql.query('SELECT pg_sleep(.25)', [], give(20_000)), [{ pg_sleep: '' }])
    })

    test('a wrong user and a wrong password look the same', async () => {
      const of = async (change) => complaint(await failure(neon(change(connectionString))`SELECT 1`))
      const user = await of((url) => url.replace('//blog:', '//nobody:'))
      const password = await of((url) => url.replace(/:[^:@]+@/, ':wrong@'))
      assert.match(password.message, /^password authentication failed for user "blog"$/)
      assert.equal(password.code, '28P01')
      assert.deepEqual({ ...user, message: '' }, { ...password, message: '' })
    })

    test('a batch takes templates and queries, as an array or from a function', async () => {
      const expected = [[{ a: '1' }], [{ b: 2 }]]
      assert.deepEqual(await sql.transaction([sql`SELECT ${1} AS a`, sql.query('SELECT $1::int AS b', [2])]), expected)
      assert.deepEqual(await sql.transaction((tx) => [tx`SELECT ${1} AS a`, tx.query('SELECT $1::int AS b', [2])]), expected)
    })

    test('an empty batch has no results', async () => {
      assert.deepEqual(await sql.transaction([]), [])
      assert.deepEqual(await sql.transaction(() => []), [])
    })

    test('a batch is one transaction with the options of the call, then of the client', async () => {
      const asks = (s) => [s`SELECT current_setting('transaction_isolation') AS i, current_setting('transaction_read_only') AS r`]
      const [[plain]] = await sql.transaction(asks)
      assert.deepEqual(plain, { i: 'repeatable read', r: 'off' })
      const reader = neon(connectionString, { readOnly: true, isolationLevel: 'RepeatableRead' })
      assert.equal((await reader.transaction(asks))[0][0].r, 'on')
      assert.equal((await reader.transaction(asks, { readOnly: false }))[0][0].r, 'off')
      const error = await failure(reader.transaction([reader`DELETE FROM things`]))
      assert.equal(error.code, '25006')
    })

    test('a batch that fails leaves nothing behind and names the statement', async () => {
      const error = await failure(sql.transaction([
        sql`INSERT INTO things (id, word) VALUES (300, 'lost')`,
        sql`SELECT 1/0`,
        sql`SELECT 1`,
      ]))
      assert.equal(error.code, '22012')
      assert.match(error.where, /batch query 2 of 3/)
      assert.deepEqual(await sql`SELECT * FROM things WHERE id = 300`, [])
    })

    test('half a surrogate pair arrives as node-postgres sends it, and a missing query is told', async () => {
      const text = 'a\ud83d', query = "SELECT $1::text AS t, '\udc00' AS u"
      const { rows } = await wire.run(query, [text])
      assert.deepEqual(await sql.query(query, [text]), rows)
      assert.match((await failure(sql.query(undefined))).message, /the query is missing/)
    })

    test('with a key added by fetchFunction DDL is done once', async () => {
      const key = crypto.randomUUID()
      neonConfig.fetchFunction = (url, init) => {
        const headers = new Headers(init.headers)
        headers.set('Idempotency-Key', key)
        return fetch(url, { ...init, headers })
      }
      try {
        const table = `once_${version.replace(/\W/g, '_')}`
        for (let n = 0; n < 2; n++) await sql.query(`CREATE TABLE ${table} (id int PRIMARY KEY)`)
      } finally {
        neonConfig.fetchFunction = undefined
      }
    })

    test('types of a query are used, and what DSQL lacks is refused in its words', async () => {
      const types = { getTypeParser: () => (value) => `<${value}>` }
      assert.deepEqual(await sql.query('SELECT 1 AS one', [], { types }), [{ one: '<1>' }])
      for (const text of [
        'CREATE TABLE refused (a int[])', "CREATE TYPE mood AS ENUM ('sad')", 'TRUNCATE things', 'CREATE EXTENSION citext',
        'SELECT pg_advisory_lock(1)', 'DECLARE c CURSOR FOR SELECT 1',
        'PREPARE p AS SELECT 1', 'CREATE TEMPORARY TABLE refused (a int)', 'CREATE INDEX ON things (word)',
      ]) {
        const { code, message } = await failure(sql.query(text))
        assert.ok(['0A000', '42883', '42704', '42501'].includes(code), `${text}: ${code} ${message}`)
      }
    })

    test('what is no query is refused by the client', async () => {
      await assert.rejects(async () => sql.transaction(['SELECT 1']))
      await assert.rejects(async () => sql.transaction('SELECT 1'))
    })

    test('Pool.query goes over HTTP when it may', async () => {
      neonConfig.poolQueryViaFetch = true
      const pool = new Pool({ connectionString })
      const { rows } = await pool.query('SELECT $1::int AS one', [1])
      await pool.end()
      assert.deepEqual(rows, [{ one: 1 }])
    })

    test('awaiting a query twice runs it twice', async () => {
      const query = sql`INSERT INTO things (id, word) SELECT 400 + count(*), 'again' FROM things WHERE id >= 400`
      await query
      await query
      assert.deepEqual(await sql`DELETE FROM things WHERE id >= 400 RETURNING id`, [{ id: 400 }, { id: 401 }])
    })
  })
}
