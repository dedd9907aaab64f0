// Runs in workerd: an interactive transaction over the Neon driver's WebSocket, with nothing but the login's connection
// string, a conflict and its repetition.
import { Client, neonConfig } from '@neondatabase/serverless'
import { block, transfer } from './transfer.mjs'

export default {
  async fetch(_request, env) {
    neonConfig.wsProxy = (host) => `${host}${env.WEBSOCKET_PORT}/`
    const response = await fetch(env.TOKEN_URL, { method: 'POST', headers: { 'Neon-Connection-String': env.DATABASE_URL } })
    const { host, user, password, database, options } = await response.json()
    const clients = [1, 2].map(() => new Client({ host, user, password, database, options }))
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
