// What a scenario works with: a visitor with a chat of their own, the API as they see it, and waiting.
import assert from 'node:assert/strict'

export const base = process.env.API_URL

/** Waits for a condition, never for a time. */
export async function until(what, condition, limitMs = 20_000) {
  const end = Date.now() + limitMs
  for (;;) {
    const value = await condition()
    if (value) return value
    if (Date.now() > end) throw new Error(`${what} did not happen within ${limitMs} ms`)
    await new Promise(resolve => setTimeout(resolve, 15))
  }
}

export async function control(order) {
  const response = await fetch(`${base}/control/${order}`)
  assert.equal(response.status, 200, order)
  return response.text()
}

/** A visitor. `client` is the version under test. */
export class Visitor {
  static async create(client, subject, { guest = false } = {}) {
    const visitor = new Visitor()
    visitor.client = client
    visitor.subject = subject
    visitor.guest = guest
    await visitor.login()
    return visitor
  }

  async login() {
    this.token = await control(`${this.guest ? 'guest' : 'token'}/${this.subject}`)
  }

  /** A request without the client. */
  fetch(method, path, body, headers = {}) {
    return fetch(base + path, {
      method,
      headers: {
        authorization: `Bearer ${this.token}`,
        ...(body === undefined ? {} : { 'content-type': 'application/json' }),
        ...headers,
      },
      body: body === undefined ? undefined : typeof body === 'string' ? body : JSON.stringify(body),
    })
  }

  async json(method, path, body, status = 200) {
    const response = await this.fetch(method, path, body)
    const text = await response.text()
    assert.equal(response.status, status, `${method} ${path}: ${text}`)
    return text === '' ? undefined : JSON.parse(text)
  }

  /** A chat as a page has it: `chat` is the client's, the rest is what its callbacks saw. */
  page({ id, messages, api = '/api/chat', headers = {}, when, ...transport }) {
    const seen = { id, errors: [], finishes: [], data: [] }
    seen.transport = new this.client.ai.DefaultChatTransport({
      api: base + api,
      headers: () => ({ authorization: `Bearer ${this.token}`, ...headers }),
      ...transport,
    })
    seen.chat = this.client.make({
      id,
      messages,
      transport: seen.transport,
      sendAutomaticallyWhen: when,
      onError: error => seen.errors.push(error),
      onFinish: finish => seen.finishes.push(finish),
      onData: part => seen.data.push(part),
    })
    return seen
  }

  /** What the API has stored of a chat. */
  stored(id) {
    return this.json('GET', `/api/chats/${id}`)
  }

  /** What is stored once no reply is being written. */
  settled(id) {
    return until(`the reply in ${id}`, async () => {
      const chat = await this.stored(id)
      return chat.activeStreamId === null && chat.messages.at(-1)?.role === 'assistant' && chat
    })
  }
}

export const textOf = message =>
  (message?.parts ?? []).filter(part => part.type === 'text').map(part => part.text).join('')

export const partOf = (message, type) => message.parts.find(part => part.type === type)

/** As JSON has it, without what older cores drop: the id of reasoning. */
export function comparable(messages) {
  const copy = JSON.parse(JSON.stringify(messages))
  for (const message of copy) {
    for (const part of message.parts) if (part.type === 'reasoning') delete part.id
  }
  return copy
}

/** The page shows what a reload will show. */
export async function sameAfterReload(visitor, page) {
  const stored = await visitor.settled(page.id)
  assert.deepEqual(comparable(page.chat.messages), comparable(stored.messages))
  return stored
}

/** A turn that went well: ready, no error, answered. */
export function answered(page, text) {
  assert.deepEqual(page.errors.map(String), [])
  assert.equal(page.chat.status, 'ready')
  const reply = page.chat.messages.at(-1)
  assert.equal(reply.role, 'assistant')
  assert.equal(reply.metadata.status, 'complete')
  assert.equal(textOf(reply), text)
  assert.ok(reply.parts.every(part => !part.state?.endsWith('streaming')))
  return reply
}

/** The problem that an error carries, as every page reads it. */
export const problem = error => JSON.parse(error.message)

export const user = (id, text) => ({ id, role: 'user', parts: [{ type: 'text', text }] })

/** The chunks of a raw stream, its comments, and whether it was ended. */
export async function raw(response) {
  const text = await response.text()
  const lines = text.split('\n')
  const data = lines.filter(line => line.startsWith('data: ')).map(line => line.slice(6))
  return {
    text,
    comments: lines.filter(line => line.startsWith(':')),
    chunks: data.filter(line => line !== '[DONE]').map(line => JSON.parse(line)),
    isEnded: data.at(-1) === '[DONE]',
  }
}
