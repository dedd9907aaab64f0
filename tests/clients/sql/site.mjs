// What every test here stands on: the endpoint and the connection string, and node-postgres on the same database as the
// same role, signed in with an IAM token.
import { createHash, createHmac } from 'node:crypto'
import { readFileSync } from 'node:fs'
import pg from 'pg'

const env = (name) => {
  const value = process.env[name]
  if (!value) throw new Error(`${name} is not set: these tests are run by \`cargo test\``)
  return value
}

export const endpoint = env('SQL_ENDPOINT')
export const connectionString = env('DATABASE_URL')
export const token = process.env.SQL_TOKEN // opens the login in place of its password; the driver's tests need it
export const login = new URL(connectionString).username

// The unmodified driver, by version: the newest, or the one before it.
export const drivers = {
  '1.1.0': () => import('neon-1-1'),
  '1.2.0': () => import('@neondatabase/serverless'),
}

export async function driver(version) {
  const module = await drivers[version]()
  module.neonConfig.fetchEndpoint = endpoint
  module.neonConfig.fetchFunction = undefined
  return module
}

// A DSQL token: a presigned GET without its scheme.
function iamToken() {
  const host = env('DSQL_ENDPOINT')
  const region = env('AWS_REGION')
  const now = new Date().toISOString().replace(/[-:]|\.\d+/g, '')
  const scope = `${now.slice(0, 8)}/${region}/dsql/aws4_request`
  const query = [
    ['Action', 'DbConnect'],
    ['X-Amz-Algorithm', 'AWS4-HMAC-SHA256'],
    ['X-Amz-Credential', `${env('AWS_ACCESS_KEY_ID')}/${scope}`],
    ['X-Amz-Date', now],
    ['X-Amz-Expires', '900'],
    ['X-Amz-SignedHeaders', 'host'],
  ].map((pair) => pair.map(encodeURIComponent).join('=')).join('&')
  const sha256 = (text) => createHash('sha256').update(text).digest('hex')
  const hmac = (key, text) => createHmac('sha256', key).update(text).digest()
  const canonical = `GET\n/\n${query}\nhost:${host}\n\nhost\n${sha256('')}`
  const key = [now.slice(0, 8), region, 'dsql', 'aws4_request'].reduce(hmac, `AWS4${env('AWS_SECRET_ACCESS_KEY')}`)
  const signature = hmac(key, `AWS4-HMAC-SHA256\n${now}\n${scope}\n${sha256(canonical)}`).toString('hex')
  return `${host}/?${query}&X-Amz-Signature=${signature}`
}

// `run(text, values, more)` is one statement in the extended protocol, as the endpoint sends it; sent again after a
// change of the catalog by somebody else, which the endpoint does by itself.
export async function postgres() {
  const client = new pg.Client({
    host: env('DSQL_HOSTADDR'),
    port: Number(env('DSQL_PORT')),
    database: 'postgres',
    user: login,
    password: iamToken(),
    ssl: { ca: readFileSync(env('DSQL_CA_FILE')), servername: env('DSQL_ENDPOINT') },
  })
  await client.connect()
  client.run = async (text, values, more) => {
    for (let attempt = 1; ; attempt++) {
      try {
        return await client.query({ text, values, queryMode: 'extended', ...more })
      } catch (error) {
        if (error.code !== '40001' || attempt === 5) throw error
      }
    }
  }
  return client
}

// Every value as the text that came over the wire.
export const rawTypes = { getTypeParser: () => (text) => text }

// What both clients tell of a result.
export const essence = ({ command, rowCount, fields, rows, rowAsArray }) => ({
  command,
  rowCount,
  rows,
  rowAsArray,
  fields: fields.map(({ name, tableID, columnID, dataTypeID, dataTypeSize, dataTypeModifier, format }) =>
    ({ name, tableID, columnID, dataTypeID, dataTypeSize, dataTypeModifier, format })),
})

const errorFields = ['message', 'severity', 'code', 'detail', 'hint', 'position', 'internalPosition', 'internalQuery',
  'where', 'schema', 'table', 'column', 'dataType', 'constraint', 'file', 'line', 'routine']

// What both clients tell of an error.
export const complaint = (error) => Object.fromEntries(errorFields.map((name) => [name, error[name] ?? undefined]))

// The error that a promise ends with.
export async function failure(promise) {
  try {
    await promise
  } catch (error) {
    return error
  }
  throw new Error('it succeeded')
}
