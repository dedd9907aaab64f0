// Runs in workerd: an interactive transaction over node-postgres and `cloudflare:sockets`, with nothing but the login's
// connection string, a conflict and its repetition.
import pg from 'pg'
import { block, transfer } from './transfer.mjs'

export default {
  async fetch(_request, env) {
    const response = await fetch(env.TOKEN_URL, { method: 'POST', headers: { 'Neon-Connection-String': env.DATABASE_URL } })
    const { host, port, user, password, database, options } = await response.json()
    // On Cloudflare `host` and `ssl: true` suffice; here no name server knows the host.
    const reached = env.ADDRESS ? { host: env.ADDRESS, ssl: { expectedServerHostname: host } } : { host, ssl: true }
    const clients = [1, 2].map(() => new pg.Client({ ...reached, port, user, password, database, options }))
    await Promise.all(clients.map((client) => client.connect()))
    const [query, rival] = clients.map((client) => async (text, values) => (await client.query(text, values)).rows)
    try {
      const attempts = await transfer(block(query), rival)
      return Response.json({ attempts, rows: await rival('SELECT id, balance FROM accounts ORDER BY id') })
    } finally {
      await Promise.all(clients.map((client) => client.end()))
    }
  },
}
