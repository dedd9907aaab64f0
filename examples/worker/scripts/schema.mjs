// Creates the tables of schema.sql, one request each; may run again.
import { readFileSync } from 'node:fs'
import { neon, neonConfig } from '@neondatabase/serverless'

if (process.env.SQL_ENDPOINT) neonConfig.fetchEndpoint = process.env.SQL_ENDPOINT
const sql = neon(process.env.DATABASE_URL)
const schema = readFileSync(new URL('../schema.sql', import.meta.url), 'utf8')
for (const statement of schema.split(/;\s*$/m).filter((text) => text.trim())) await sql.query(statement)
