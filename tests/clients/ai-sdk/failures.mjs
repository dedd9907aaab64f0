// What goes wrong, and how a page learns of it.
import assert from 'node:assert/strict'
import { Visitor, answered, control, partOf, problem, raw, textOf, until, user } from './story.mjs'

async function refused(visitor, page, act, status, code) {
  await act()
  assert.equal(page.chat.status, 'error', code)
  assert.equal(page.errors.length, 1)
  const { code: found, message, requestId } = problem(page.errors[0])
  assert.equal(found, code)
  assert.ok(message && requestId, page.errors[0].message)
  if (page.errors[0].statusCode !== undefined) assert.equal(page.errors[0].statusCode, status)
}

export const failures = {
  async 'every refusal is a problem that the page can parse'(visitor, id) {
    const nobody = await Visitor.create(visitor.client, `${visitor.subject}-nobody`)
    nobody.token = 'no token'
    const send = (who, page, message) => () => page.chat.sendMessage(message)
    for (const [who, chat, message, status, code] of [
      [visitor, 'not an id!', { text: 'x' }, 400, undefined],
      [nobody, id, { text: 'x' }, 401, undefined],
      [visitor, id, { text: 'x'.repeat(4_300_000) }, 413, undefined],
      [visitor, id, { text: 'x'.repeat(60_000) }, 422, undefined],
      [visitor, id, { files: [{ type: 'file', mediaType: 'text/plain', url: 'https://example.com/a.txt' }] }, 422, undefined],
    ]) {
      const page = who.page({ id: chat })
      await send(who, page, message)()
      assert.equal(page.chat.status, 'error', `${status}`)
      const { code: found, message: text, requestId } = problem(page.errors[0])
      assert.ok(found && text && requestId, page.errors[0].message)
      if (code) assert.equal(found, code)
      if (page.errors[0].statusCode !== undefined) assert.equal(page.errors[0].statusCode, status)
    }
    const response = await visitor.fetch('GET', `/api/chats/${id}`)
    assert.equal(response.status, 404, 'a refusal has written nothing')
  },

  async 'a guest who sends too much is told when to come back'(visitor, id) {
    const guest = await Visitor.create(visitor.client, `anon_${visitor.subject}`, { guest: true })
    const page = guest.page({ id })
    await page.chat.sendMessage({ text: 'one' })
    await page.chat.sendMessage({ text: 'two' })
    // Two a minute: where a minute ends meanwhile, the next one has two more.
    await refused(guest, page, async () => {
      for (let sent = 2; sent < 5 && page.chat.status !== 'error'; sent += 1) await page.chat.sendMessage({ text: 'more' })
    }, 429, 'rate_limited')
    let response
    for (let sent = 0; sent < 3 && response?.status !== 429; sent += 1) {
      const body = { id, message: user(`u-${sent}`, 'yet more'), trigger: 'submit-message' }
      response = await guest.fetch('POST', '/api/chat', body)
      await response.text()
    }
    assert.equal(response.status, 429)
    assert.ok(Number(response.headers.get('retry-after')) > 0)
  },

  async 'a provider that refuses is an HTTP status, and the question stays'(visitor, id) {
    for (const [directive, statuses] of [
      ['throttled 7', [429, 503]],
      ['unavailable', [502, 503]],
      ['invalid', [400, 422, 502]],
    ]) {
      const page = visitor.page({ id: `${id}-${directive.split(' ')[0]}` })
      await page.chat.sendMessage({ text: `hi [[refuse ${directive}]]` })
      assert.equal(page.chat.status, 'error')
      assert.ok(problem(page.errors[0]).code, page.errors[0].message)
      const { statusCode } = page.errors[0]
      if (statusCode !== undefined) assert.ok(statuses.includes(statusCode), `${directive}: ${statusCode}`)
      const stored = await visitor.stored(page.id)
      assert.equal(stored.activeStreamId, null)
      assert.deepEqual(stored.messages.map(message => message.role), ['user'])
      // Asked differently, the same chat goes on.
      await page.chat.sendMessage({ text: 'hi', messageId: stored.messages[0].id })
      assert.equal(textOf(page.chat.messages.at(-1)), 'You said: hi')
    }
  },

  async 'a provider that fails midway leaves what it said, marked'(visitor, id) {
    for (const directive of ['fail 3', 'eof 3', 'throttle 3']) {
      const page = visitor.page({ id: `${id}-${directive.split(' ')[0]}` })
      await page.chat.sendMessage({ text: `hi you [[${directive}]]` })
      assert.equal(page.chat.status, 'error', directive)
      assert.ok(problem(page.errors[0]).code)
      const reply = page.chat.messages.at(-1)
      assert.equal(textOf(reply), 'You said: hi ')
      assert.equal(partOf(reply, 'text').state, 'done')
      assert.ok(['error', 'interrupted'].includes(reply.metadata.status), reply.metadata.status)
      const stored = await visitor.settled(page.id)
      assert.equal(textOf(stored.messages[1]), 'You said: hi ')
      assert.equal(stored.messages[1].metadata.status, reply.metadata.status)
      await page.chat.sendMessage({ text: 'again', messageId: stored.messages[0].id })
      assert.equal(textOf(page.chat.messages.at(-1)), 'You said: again')
      assert.equal((await visitor.settled(page.id)).messages.length, 2)
    }
  },

  async 'a reply that would outlive its function ends as interrupted'(visitor, id) {
    const page = visitor.page({ id, headers: { 'x-test-limit-ms': '7500' } })
    await page.chat.sendMessage({ text: 'hi you [[hang 3]]' })
    assert.equal(page.chat.status, 'error')
    assert.ok(problem(page.errors[0]).code)
    const reply = page.chat.messages.at(-1)
    assert.equal(reply.metadata.status, 'interrupted')
    assert.equal(textOf(reply), 'You said: hi ')
    const stored = await visitor.settled(id)
    assert.equal(stored.messages[1].metadata.status, 'interrupted')
    assert.equal(textOf(stored.messages[1]), 'You said: hi ')
  },

  async 'a silent stream is kept alive with comments'(visitor, id) {
    const page = visitor.page({ id })
    await page.chat.sendMessage({ text: 'slow [[delay 350]]' })
    answered(page, 'You said: slow')
    const body = { id: `${id}-2`, messages: [user('u', 'slow [[delay 350]]')], trigger: 'submit-message' }
    const { comments, isEnded } = await raw(await visitor.fetch('POST', '/api/chat', body))
    assert.ok(isEnded && comments.length > 0)
  },

  async 'nobody else\'s chat exists'(visitor, id) {
    const page = visitor.page({ id })
    await page.chat.sendMessage({ text: 'mine' })
    const reply = page.chat.messages.at(-1).id
    const other = await Visitor.create(visitor.client, `${visitor.subject}-other`)
    const bodyOf = async response => {
      const { code, message } = JSON.parse(await response.text())
      return { status: response.status, code, message }
    }
    for (const [method, path, body] of [
      ['POST', '/api/chat/CHAT/stop', {}],
      ['GET', '/api/chats/CHAT'],
      ['PATCH', '/api/chats/CHAT', { title: 'x' }],
      ['DELETE', '/api/chats/CHAT'],
      ['DELETE', '/api/chats/CHAT/messages', { messageId: reply, type: 'regenerate' }],
      ['PUT', `/api/chats/CHAT/messages/${reply}/vote`, { messageId: reply, isUpvoted: true }],
      ['POST', '/api/chats/CHAT/fork', { messageId: reply }],
      ['POST', '/api/chats/CHAT/share', {}],
    ]) {
      const ask = chat => other.fetch(method, path.replace('CHAT', chat), body)
      const foreign = await bodyOf(await ask(id))
      assert.equal(foreign.status, 404, `${method} ${path}`)
      assert.deepEqual(foreign, await bodyOf(await ask(`${id}-absent`)), `${method} ${path}`)
    }
    assert.equal((await other.fetch('GET', `/api/chat/${id}/stream`)).status, 204)
    // A turn begins a chat of one's own, as it does with an id that nobody has.
    const own = other.page({ id })
    await own.chat.sendMessage({ text: 'mine, too' })
    assert.equal(own.chat.status, 'ready')
    assert.equal((await other.stored(id)).messages.length, 2)
    const stored = await visitor.stored(id)
    assert.equal(stored.messages.length, 2)
    assert.equal(stored.title.startsWith('mine'), true)
  },
}

/** A reply whose function is killed midway; the client takes the end of the stream for the end of the reply. */
async function died(visitor, id) {
  const page = visitor.page({ id, headers: { 'x-test-name': id } })
  const sent = page.chat.sendMessage({ text: '[[words 9]] [[delay 20]] [[hang 4]]' })
  await until('the reply', () => textOf(page.chat.messages.at(-1)).startsWith('word1 word2'))
  await until('the stream', async () => (await visitor.stored(id)).activeStreamId)
  await control(`kill/${id}`)
  await sent
  assert.equal(page.chat.status, 'ready', 'the client cannot tell')
  await control('advance/60')
  await visitor.login()
}

async function foundOut(visitor, id) {
  const stored = await visitor.settled(id)
  assert.deepEqual(stored.messages.map(message => message.role), ['user', 'assistant'])
  assert.equal(stored.messages[1].metadata.status, 'interrupted')
  // The same question asked again gives one reply.
  const page = visitor.page({ id, messages: stored.messages })
  await page.chat.sendMessage({ text: 'are you there?', messageId: stored.messages[0].id })
  answered(page, 'You said: are you there?')
  assert.equal((await visitor.settled(id)).messages.length, 2)
}

/** These move the clock of every function, so they run one by one, after the others. */
export const alone = {
  async 'a reply whose function died is found out by the reaper'(visitor, id) {
    await died(visitor, id)
    await control('upkeep/reap')
    await foundOut(visitor, id)
  },

  async 'a reply whose function died is found out by the page that resumes it'(visitor, id) {
    await died(visitor, id)
    const page = visitor.page({ id, messages: (await visitor.stored(id)).messages })
    await page.chat.resumeStream()
    await foundOut(visitor, id)
  },
}
