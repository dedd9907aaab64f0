// Streams: stopped, left, resumed.
import assert from 'node:assert/strict'
import { MOMENTS, answered, comparable, control, problem, sameAfterReload, stopped, textOf, until, user } from './story.mjs'

const LONG = '[[words 400]] [[delay 30]]'
const words = count => Array.from({ length: count }, (_, n) => `word${n + 1}`).join(' ')

/** A reply under way, with some text already on the page. */
async function begun(visitor, page, text) {
  const sent = page.chat.sendMessage({ text })
  await until('the first words', () => textOf(page.chat.messages.at(-1)).includes('word3'))
  const stored = await until('the active stream', async () => {
    const stored = await visitor.stored(page.id)
    return stored.activeStreamId && stored
  })
  return { sent, stored }
}

export const streams = {
  async 'a stop on the server ends the stream and keeps what was said'(visitor, id) {
    const page = visitor.page({ id })
    const { sent, stored } = await begun(visitor, page, LONG)
    assert.equal(stored.messages.at(-1).role, 'user', 'the reply under way is not listed')
    const stale = await visitor.json('POST', `/api/chat/${id}/stop`, { activeStreamId: 'another' })
    assert.deepEqual(stale, { stopped: false })
    const stop = { activeStreamId: stored.activeStreamId }
    assert.deepEqual(await visitor.json('POST', `/api/chat/${id}/stop`, stop, 202), { stopped: true })
    await sent
    assert.deepEqual(page.errors, [])
    assert.equal(page.chat.status, 'ready')
    const reply = page.chat.messages.at(-1)
    assert.equal(reply.metadata.status, 'stopped')
    assert.ok(textOf(reply).startsWith('word1 word2') && !textOf(reply).includes('word400'))
    await sameAfterReload(visitor, page)
    assert.deepEqual(await visitor.json('POST', `/api/chat/${id}/stop`, {}), { stopped: false })
    await page.chat.sendMessage({ text: 'go on' })
    answered(page, 'You said: go on')
  },

  async 'what is sent right after a stop is answered, whatever the reply was doing'(visitor, id) {
    for (const [moment, asked] of Object.entries(MOMENTS)) {
      const page = visitor.page({ id: `${id}-${moment}` })
      await stopped(visitor, page, asked)
      await page.chat.sendMessage({ text: 'next' })
      assert.deepEqual(page.errors.map(String), [], moment)
      assert.equal(page.chat.status, 'ready', moment)
      const reply = page.chat.messages.at(-1)
      // Its text may be the first one's: the model is shown messages without an answer as one.
      assert.equal(reply.metadata.status, 'complete', moment)
      assert.deepEqual((await visitor.settled(page.id)).messages.at(-1).id, reply.id, moment)
    }
  },

  async 'after a kill the next message is answered within ten seconds, and once it is stopped at once'(visitor, id) {
    for (const end of ['left', 'stopped']) {
      const page = visitor.page({ id: `${id}-${end}`, headers: { 'x-test-name': `${id}-${end}` } })
      const { sent, stored } = await begun(visitor, page, LONG)
      // Some of it is stored, since another container has it.
      const other = visitor.page({ id: page.id, messages: stored.messages })
      const followed = other.chat.resumeStream()
      await until('the first words elsewhere', () => textOf(other.chat.messages.at(-1)).includes('word3'))
      await control(`kill/${page.id}`)
      const killed = Date.now()
      await sent
      page.errors.length = 0 // some clients take the cut for an error
      if (end === 'stopped') await visitor.json('POST', `/api/chat/${page.id}/stop`, {}, 202)
      await page.chat.sendMessage({ text: 'next' })
      // As it is told to: the same message again.
      while (end === 'left' && page.chat.status === 'error') {
        assert.equal(problem(page.errors.at(-1)).code, 'generation_in_progress')
        assert.ok(Date.now() - killed < 10_000, `refused after ${Date.now() - killed} ms`)
        page.errors.length = 0
        await page.chat.sendMessage()
      }
      answered(page, 'You said: next')
      const { messages } = await visitor.settled(page.id)
      assert.deepEqual(messages.map(message => message.metadata?.status), [undefined, end === 'left' ? 'interrupted' : 'stopped', undefined, 'complete'])
      await followed
    }
  },

  async 'a page that leaves finds the whole reply later'(visitor, id) {
    const page = visitor.page({ id })
    const { sent } = await begun(visitor, page, '[[words 60]] [[delay 20]]')
    await page.chat.stop()
    await sent
    assert.ok(!textOf(page.chat.messages.at(-1)).includes('word60'))
    const stored = await visitor.settled(id)
    assert.equal(stored.messages[1].metadata.status, 'complete')
    assert.equal(textOf(stored.messages[1]), words(60))
  },

  async 'a page that reloads midway sees the reply from its beginning to its end, once'(visitor, id) {
    const page = visitor.page({ id })
    const { sent } = await begun(visitor, page, '[[reasoning]] [[words 80]] [[delay 30]]')
    await page.chat.stop()
    await sent
    const loaded = await visitor.stored(id)
    assert.ok(loaded.activeStreamId)
    const again = visitor.page({ id, messages: loaded.messages })
    await again.chat.resumeStream()
    answered(again, words(80))
    assert.equal(again.chat.messages.length, 2)
    assert.deepEqual(again.chat.messages[1].parts.map(part => part.type), ['step-start', 'reasoning', 'text'])
    await sameAfterReload(visitor, again)
  },

  async 'a second turn is resumed without the first reply\'s text'(visitor, id) {
    const page = visitor.page({ id })
    await page.chat.sendMessage({ text: 'one' })
    const { sent } = await begun(visitor, page, '[[words 60]] [[delay 30]]')
    await page.chat.stop()
    await sent
    const loaded = await visitor.stored(id)
    const again = visitor.page({ id, messages: loaded.messages })
    await again.chat.resumeStream()
    answered(again, words(60))
    assert.equal(again.chat.messages.length, 4)
    await sameAfterReload(visitor, again)
  },

  async 'a reply that ends between load and resume is shown, once'(visitor, id) {
    const first = visitor.page({ id })
    const { sent, stored } = await begun(visitor, first, '[[reasoning]] [[words 60]] [[delay 20]]')
    await sent
    const again = visitor.page({ id, messages: stored.messages })
    await again.chat.resumeStream()
    answered(again, words(60))
    // As useChat does on each mount.
    await again.chat.resumeStream()
    assert.deepEqual(again.errors.map(String), [])
    assert.equal(again.chat.status, 'ready')
    assert.equal(again.chat.messages.length, 2)
    const { messages } = await sameAfterReload(visitor, again)
    const loaded = visitor.page({ id, messages })
    await loaded.chat.resumeStream()
    assert.deepEqual(comparable(loaded.chat.messages), comparable(messages))
    await loaded.chat.sendMessage({ text: 'go on' })
    answered(loaded, 'You said: go on')
  },

  async 'a chat loaded with its finished reply is not shown it twice'(visitor, id) {
    const first = visitor.page({ id })
    const { sent } = await begun(visitor, first, '[[words 40]] [[delay 20]]')
    await sent
    const { messages } = await visitor.settled(id)
    const page = visitor.page({ id, messages })
    await page.chat.resumeStream()
    assert.deepEqual(comparable(page.chat.messages), comparable(messages))
    assert.equal(await page.transport.reconnectToStream({ chatId: id }), null)
  },

  async 'a page that lost its network gets the reply that ended meanwhile, by what it says it shows'(visitor, id) {
    const page = visitor.page({ id })
    const { sent } = await begun(visitor, page, '[[words 40]] [[delay 20]]')
    const question = page.chat.messages[0]
    await page.chat.stop()
    await sent
    const list = async () => (await visitor.json('GET', '/api/me/usage')).total.requests > 0
    await until('the end of the reply', list)
    const headers = { 'last-event-id': question.id }
    const again = visitor.page({ id, messages: [question], headers })
    await again.chat.resumeStream()
    answered(again, words(40))
    headers['last-event-id'] = again.chat.messages.at(-1).id
    assert.equal(await again.transport.reconnectToStream({ chatId: id }), null)
    await sameAfterReload(visitor, again)
  },

  async 'a resume with nothing to resume changes nothing'(visitor, id) {
    const page = visitor.page({ id })
    await page.chat.resumeStream()
    assert.equal(page.chat.status, 'ready')
    await page.chat.sendMessage({ text: 'one' })
    const messages = comparable(page.chat.messages)
    await page.chat.resumeStream()
    assert.deepEqual(page.errors.map(String), [])
    assert.equal(page.chat.status, 'ready')
    assert.deepEqual(comparable(page.chat.messages), messages)
    assert.equal(await page.transport.reconnectToStream({ chatId: id }), null)
  },

  async 'a resume of an odd id is quiet'(visitor, id) {
    // These do not encode ids yet: a slash would make another path.
    const slash = ['6.0.200', '5.0.100'].includes(visitor.client.label) ? 'c1 ä' : 'c/1 ä'
    for (const odd of [slash, 'x'.repeat(65), 'undefined', '%25']) {
      const page = visitor.page({ id: odd })
      await page.chat.resumeStream()
      assert.deepEqual(page.errors.map(String), [], odd)
      assert.equal(page.chat.status, 'ready', odd)
    }
    const longest = visitor.page({ id: `${id}-`.padEnd(64, '_-9Z') })
    await longest.chat.sendMessage({ text: 'odd' })
    answered(longest, 'You said: odd')
    await longest.chat.resumeStream()
    assert.equal(longest.chat.status, 'ready')
  },

  async 'a client whose api is the chat\'s own path sends and resumes there'(visitor, id) {
    const page = visitor.page({ id, api: `/api/chats/${id}` })
    await page.chat.sendMessage({ text: 'one' })
    answered(page, 'You said: one')
    const { sent } = await begun(visitor, page, '[[words 50]] [[delay 30]]')
    await page.chat.stop()
    await sent
    const again = visitor.page({ id, api: `/api/chats/${id}`, messages: (await visitor.stored(id)).messages })
    await again.chat.resumeStream()
    answered(again, words(50))
    await sameAfterReload(visitor, again)
  },

  async 'a resumed stream can be stopped from another page'(visitor, id) {
    const page = visitor.page({ id })
    const { sent, stored } = await begun(visitor, page, LONG)
    const other = visitor.page({ id, messages: stored.messages })
    const resumed = other.chat.resumeStream()
    await until('the replay', () => textOf(other.chat.messages.at(-1)).includes('word3'))
    await visitor.json('POST', `/api/chat/${id}/stop`, {}, 202)
    await Promise.all([sent, resumed])
    for (const { chat, errors } of [page, other]) {
      assert.deepEqual(errors.map(String), [])
      assert.equal(chat.status, 'ready')
      assert.equal(chat.messages.at(-1).metadata.status, 'stopped')
    }
    await sameAfterReload(visitor, other)
  },

  async 'a chat with two pages gives the second one the reply of the first'(visitor, id) {
    const first = visitor.page({ id, messages: [user('u-1', '[[words 40]] [[delay 30]]')] })
    const sent = first.chat.regenerate()
    await until('the stream', async () => {
      const response = await visitor.fetch('GET', `/api/chats/${id}`)
      return response.status === 200 && (await response.json()).activeStreamId
    })
    const loaded = await visitor.stored(id)
    const second = visitor.page({ id, messages: loaded.messages })
    await Promise.all([sent, second.chat.resumeStream()])
    answered(first, words(40))
    answered(second, words(40))
    assert.deepEqual(comparable(first.chat.messages), comparable(second.chat.messages))
  },
}
