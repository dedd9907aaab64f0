#!/usr/bin/env node
// The floor of this bench's comparison: the same requests served by Node and `pg` over one kept connection, behind the same
// Runtime API. It checks no password, knows no limits, and sends BEGIN, statements and COMMIT one after another, as `pg` does.
import { Agent, request } from 'node:http'
import { essence, postgres, rawTypes } from '../../tests/clients/sql/site.mjs'

const api = `http://${process.env.AWS_LAMBDA_RUNTIME_API}/2018-06-01/runtime`
const agent = new Agent({ keepAlive: true })
const call = (method, path, body) => new Promise((resolve, reject) => {
  const sent = request(`${api}${path}`, { method, agent }, async (response) => {
    const parts = []
    for await (const part of response) parts.push(part)
    resolve([response.headers, Buffer.concat(parts).toString()])
  })
  sent.on('error', reject)
  sent.end(body)
})

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

for (;;) {
  const [headers, event] = await call('GET', '/invocation/next')
  const body = JSON.stringify(await answer(JSON.parse(JSON.parse(event).body)))
  const response = JSON.stringify({ statusCode: 200, headers: { 'content-type': 'application/json' }, body })
  await call('POST', `/invocation/${headers['lambda-runtime-aws-request-id']}/response`, response)
}
