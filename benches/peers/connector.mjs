#!/usr/bin/env node
// A function on the official node-postgres connector, unmodified: it connects in Init and keeps the connection.
import dns from 'node:dns'
import fs from 'node:fs'
import { createRequire } from 'node:module'
import { pathToFileURL } from 'node:url'
import { serve } from './runtime.mjs'

const { CONNECTOR_ROOT, DSQL_ENDPOINT, DSQL_HOSTADDR, DSQL_PORT, DSQL_CA_FILE, DSQL_ROLE } = process.env
const found = createRequire(`${CONNECTOR_ROOT}/package.json`).resolve('@aws/aurora-dsql-node-postgres-connector')
const { AuroraDSQLClient } = await import(pathToFileURL(found))

// What a hosts entry does.
const lookup = dns.lookup
dns.lookup = (name, options, done) => lookup(name === DSQL_ENDPOINT ? DSQL_HOSTADDR : name, options, done)

const client = new AuroraDSQLClient({
  host: DSQL_ENDPOINT,
  port: Number(DSQL_PORT),
  user: DSQL_ROLE,
  ssl: { ca: fs.readFileSync(DSQL_CA_FILE) },
})
await client.connect()
await serve(async () => {
  await client.query('SELECT 1')
  return { statusCode: 200, headers: {}, body: 'ready' }
})
