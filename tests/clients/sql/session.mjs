// A session of a login: what POST /token gives for its connection string, and a network in which the cluster's name leads
// to dsql-local. The harness has Node trust its certificate.
import dns from 'node:dns'
import { WebSocket } from 'ws'
import { connectionString, endpoint } from './site.mjs'

const { DSQL_ENDPOINT, DSQL_HOSTADDR, DSQL_WEBSOCKET_PORT } = process.env

// What a hosts entry does.
const { lookup } = dns
dns.lookup = (name, options, done) => lookup(name === DSQL_ENDPOINT ? DSQL_HOSTADDR : name, options, done)

export const tokenUrl = endpoint.replace(/sql$/, 'token')

export async function sessionToken(connection = connectionString) {
  const response = await fetch(tokenUrl, { method: 'POST', headers: { 'Neon-Connection-String': connection } })
  if (!response.ok) throw new Error(await response.text())
  return response.json()
}

// A driver's settings; the token is asked for when a connection is opened.
export async function settings() {
  const { host, port, user, database, options } = await sessionToken()
  return { host, port, user, database, options, password: async () => (await sessionToken()).password }
}

// `wss://<cluster>/` on a cluster; here its port is another one.
export const wsProxy = (host) => `${host}:${DSQL_WEBSOCKET_PORT}/`
export { WebSocket }
