// What front ends make of the client: the order in which each of them asks.
import assert from 'node:assert/strict'
import { answered, sameAfterReload, textOf, until, user } from './story.mjs'

const LONG = `${Array.from({ length: 60 }, (_, i) => `word${i}`).join(' ')} [[delay 60]]`

/** A chat of two turns. */
async function twoTurns(visitor, id) {
  const page = visitor.page({ id })
  await page.chat.sendMessage({ text: 'one' })
  await page.chat.sendMessage({ text: 'two' })
  answered(page, 'You said: two')
  return page
}

/** Stops the reply that is being written, as a button does, once it has said something. */
async function stopMidWord(visitor, page, sent) {
  await until('a word', () => {
    const last = page.chat.messages.at(-1)
    return last?.role === 'assistant' && textOf(last).includes('word2')
  })
  await Promise.all([visitor.json('POST', `/api/chat/${page.id}/stop`, {}, 202), page.chat.stop()])
  await sent
}

/** What is read, by who said it and what. */
const said = messages => messages.map(({ role, parts }) => `${role}: ${textOf({ parts }).replace('You said: ', '')}`)

const cut = (visitor, page, message, type) =>
  visitor.json('DELETE', `/api/chats/${page.id}/messages`, { messageId: message.id, type })

export const sequences = {
  async 'assistant-ui: an edit is a shorter history and a new message, and the old branch stays'(visitor, id) {
    const page = await twoTurns(visitor, id)
    page.chat.messages = page.chat.messages.slice(0, 2)
    await page.chat.sendMessage({ text: 'two, edited' })
    answered(page, 'You said: two, edited')
    const stored = await sameAfterReload(visitor, page)
    assert.deepEqual(said(stored.messages), ['user: one', 'assistant: one', 'user: two, edited', 'assistant: two, edited'])
    const { branches } = await visitor.json('GET', `/api/chats/${id}/branches`)
    assert.equal(branches.length, 1)
  },

  async 'assistant-ui: a reply is cancelled and its question edited at once'(visitor, id) {
    const page = await twoTurns(visitor, id)
    await stopMidWord(visitor, page, page.chat.sendMessage({ text: LONG }))
    page.chat.messages = page.chat.messages.slice(0, 4)
    await page.chat.sendMessage({ text: 'short' })
    answered(page, 'You said: short')
    const stored = await sameAfterReload(visitor, page)
    assert.deepEqual(said(stored.messages.slice(4)), ['user: short', 'assistant: short'])
  },

  async 'vercel/chatbot: an edit cuts, changes its copy, and asks for another reply'(visitor, id) {
    const page = await twoTurns(visitor, id)
    const [first, reply, second] = page.chat.messages
    await cut(visitor, page, second, 'edit')
    page.chat.messages = [first, reply, { ...second, parts: [{ type: 'text', text: 'two, edited' }] }]
    await page.chat.regenerate()
    answered(page, 'You said: two, edited')
    const stored = await sameAfterReload(visitor, page)
    assert.deepEqual(said(stored.messages), ['user: one', 'assistant: one', 'user: two, edited', 'assistant: two, edited'])
  },

  async 'vercel/chatbot: a reply is stopped and its question edited at once'(visitor, id) {
    const page = visitor.page({ id })
    await stopMidWord(visitor, page, page.chat.sendMessage({ text: LONG }))
    const [question] = page.chat.messages
    await cut(visitor, page, question, 'edit')
    page.chat.messages = [{ ...question, parts: [{ type: 'text', text: 'short' }] }]
    await page.chat.regenerate()
    answered(page, 'You said: short')
    assert.deepEqual(said((await sameAfterReload(visitor, page)).messages), ['user: short', 'assistant: short'])
  },

  async 'the Nuxt template: the chat is made with its message, and its page asks for the reply'(visitor, id) {
    const message = user(`${id}-m`, 'from the front page')
    await visitor.json('POST', '/api/chats', { id, message }, 201)
    const { messages } = await visitor.stored(id)
    const page = visitor.page({ id, messages })
    await page.chat.regenerate()
    answered(page, 'You said: from the front page')
    await stopMidWord(visitor, page, page.chat.sendMessage({ text: LONG }))
    await page.chat.sendMessage({ text: 'next' })
    assert.deepEqual(page.errors.map(String), [])
    assert.equal((await visitor.settled(id)).messages.length, 6)
  },

  async 'a tab that is behind edits what it shows, and what it has not seen stays'(visitor, id) {
    const page = await twoTurns(visitor, id)
    const behind = visitor.page({ id, messages: page.chat.messages.slice(0, 2) })
    await page.chat.sendMessage({ text: 'three' })
    behind.chat.messages = []
    await behind.chat.sendMessage({ text: 'one, edited' })
    await visitor.settled(id)
    const lines = await (await visitor.fetch('GET', '/api/me/export')).text()
    for (const text of ['one', 'two', 'three']) assert.ok(lines.includes(`"text":"${text}"`), text)
  },
}
