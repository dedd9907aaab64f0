#!/usr/bin/env node
// The same requests as `sql`, served by Node and `pg` over one kept connection. It checks no password, knows no limits, and
// sends BEGIN, statements and COMMIT one after another, as `pg` does. It compresses what `sql` would, at the same level.
import { gzipSync } from 'node:zlib'
import { essence, postgres, rawTypes } from '../../tests/clients/sql/site.mjs'
import { serve } from './runtime.mjs'

const client = await postgres()
const run = async ({ query, params }) =>
  essence(await client.run(query, params, { rowMode: 'array', types: rawTypes }))

async function answer(asked) {
  if (!asked.queries) return run(asked)
  const results = []
  await client.query('BEGIN')
  for (const query of asked.queries) results.push(await run(query))
  await client.query('COMMIT')
  return { results }
}

await serve(async (event) => {
  const body = JSON.stringify(await answer(JSON.parse(event.body)))
  const headers = { 'content-type': 'application/json' }
  if (event.headers['Accept-Encoding'] !== 'gzip' || body.length <= 1024) return { statusCode: 200, headers, body }
  headers['content-encoding'] = 'gzip'
  return { statusCode: 200, headers, body: gzipSync(body, { level: 2 }).toString('base64'), isBase64Encoded: true }
})
