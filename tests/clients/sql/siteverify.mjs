// Turnstile's siteverify on this machine, as its description says: a token is worth something once, for five minutes, to who has
// the secret; the same request again, by its idempotency_key, gets the same answer.
import { createServer } from 'node:http'
import { once } from 'node:events'

const LIFE_MS = 300_000

export async function siteverify(secret) {
  const tokens = new Map()
  const judge = ({ secret: given, response, idempotency_key: key }, now) => {
    const refused = (...codes) => ({ success: false, 'error-codes': codes, messages: [] })
    if (!given) return refused('missing-input-secret')
    if (given !== secret) return refused('invalid-input-secret')
    if (!response) return refused('missing-input-response')
    const token = tokens.get(response)
    if (!token) return refused('invalid-input-response')
    if (now - token.solved > LIFE_MS || (token.spent && (!key || token.spent !== key))) return refused('timeout-or-duplicate')
    token.spent = key ?? true
    const { solved, hostname, action } = token
    return { success: true, 'error-codes': [], challenge_ts: new Date(solved).toISOString(), hostname, action, cdata: '' }
  }
  const server = createServer(async (request, response) => {
    if (service.failure) return service.failure(request, response)
    let body = ''
    for await (const piece of request) body += piece
    const isJson = request.headers['content-type']?.startsWith('application/json')
    const asked = isJson ? JSON.parse(body) : Object.fromEntries(new URLSearchParams(body))
    service.asked.push(asked)
    response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify(judge(asked, Date.now())))
  })
  const service = {
    asked: [],
    // What it does in place of answering.
    failure: undefined,
    // A token as the widget would make it.
    solve(hostname, action, solved = Date.now()) {
      const token = `token-${crypto.randomUUID()}`
      tokens.set(token, { solved, hostname, action })
      return token
    },
    close: () => server.close(),
  }
  await once(server.listen(0, '127.0.0.1'), 'listening')
  service.url = `http://127.0.0.1:${server.address().port}/turnstile/v0/siteverify`
  return service
}
