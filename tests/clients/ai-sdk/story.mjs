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

/** What is exported of these messages, and imported again, has the same parts. Gives the id of such an import. */
export async function sameWhenImported(visitor, id, messages) {
  const lines = await (await visitor.fetch('GET', '/api/me/export')).text()
  const parts = all => JSON.stringify(comparable(all).map(message => message.parts))
  const exported = lines.trim().split('\n').map(line => JSON.parse(line)).filter(line => line.type === 'message' && line.chatId === id)
  assert.equal(parts(exported), parts(messages))
  const { ids } = await visitor.json('POST', '/api/import', lines, 201)
  for (const one of ids) if (parts((await visitor.stored(one)).messages) === parts(messages)) return one
  assert.fail('no import is the same')
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

const long = count => `${Array.from({ length: count }, (_, i) => `word${i}`).join(' ')} [[delay 60]]`

/** The moments of a reply at which somebody may stop it: what was asked, and what the page shows by then. */
export const MOMENTS = {
  acceptance: { text: 'one [[accept 1500]]', isShown: () => true },
  start: { text: 'one [[delay 1500]]', isShown: last => last.parts.some(part => part.type === 'step-start') },
  word: { text: long(60), isShown: last => textOf(last).includes('word2') },
}

/** Sends a message, and stops its reply at this moment, as the README's halt() does. */
export async function stopped(visitor, page, { text, isShown }) {
  const sent = page.chat.sendMessage({ text })
  await until('the moment', async () => {
    const response = await visitor.fetch('GET', `/api/chats/${page.id}`)
    return response.status === 200 && (await response.json()).activeStreamId && isShown(page.chat.messages.at(-1))
  })
  await Promise.all([visitor.json('POST', `/api/chat/${page.id}/stop`, {}, 202), page.chat.stop()])
  await sent
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
