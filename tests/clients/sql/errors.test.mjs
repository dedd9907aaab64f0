// The server's errors are node-postgres's in every property, alone and inside a batch.
import assert from 'node:assert/strict'
import { after, before, describe, test } from 'node:test'
import { connectionString, complaint, driver, drivers, failure, postgres } from './site.mjs'
import { errors } from './samples.mjs'
import { createThings } from './setup.mjs'

let wire
before(async () => {
  wire = await postgres()
  await createThings(wire)
})
after(() => wire.end())

for (const version of Object.keys(drivers)) {
  describe(`driver ${version}`, () => {
    let sql
    before(async () => { sql = (await driver(version)).neon(connectionString) })

    for (const [text, params, code] of errors) {
      test(`${code} of ${JSON.stringify(text.slice(0, 50))}`, async () => {
        const expected = complaint(await failure(wire.run(text, params)))
        assert.equal(expected.code, code)
        assert.deepEqual(complaint(await failure(sql.query(text, params))), expected)
        const batch = [sql`SELECT 1`, sql.query(text, params), sql`SELECT 2`]
        const where = expected.where ?? 'batch query 2 of 3'
        assert.deepEqual(complaint(await failure(sql.transaction(batch))), { ...expected, where })
      })
    }
  })
}
