#!/usr/bin/env node
// A function on the official node-postgres connector, unmodified: it connects in Init and keeps the connection,
// or a pool of as many as there are requests at once.
import dns from 'node:dns'
import fs from 'node:fs'
import { createRequire } from 'node:module'
import { pathToFileURL } from 'node:url'
import { serve } from './runtime.mjs'

const { CONNECTOR_ROOT, DSQL_ENDPOINT, DSQL_HOSTADDR, DSQL_PORT, DSQL_CA_FILE, DSQL_ROLE } = process.env
const found = createRequire(`${CONNECTOR_ROOT}/package.json`).resolve('@aws/aurora-dsql-node-postgres-connector')
const { AuroraDSQLClient, AuroraDSQLPool } = await import(pathToFileURL(found))

// What a hosts entry does.
const lookup = dns.lookup
dns.lookup = (name, options, done) => lookup(name === DSQL_ENDPOINT ? DSQL_HOSTADDR : name, options, done)

const atOnce = Number(process.env.AWS_LAMBDA_MAX_CONCURRENCY ?? 1)
const config = {
  host: DSQL_ENDPOINT,
  port: Number(DSQL_PORT),
  user: DSQL_ROLE,
  ssl: { ca: fs.readFileSync(DSQL_CA_FILE) },
}
const client = atOnce > 1 ? new AuroraDSQLPool({ ...config, max: atOnce }) : new AuroraDSQLClient(config)
if (atOnce === 1) await client.connect()
const workers = Array.from({ length: atOnce }, () => serve(async () => {
  await client.query('SELECT 1')
  return { statusCode: 200, headers: {}, body: 'ready' }
}))
await Promise.all(workers)
