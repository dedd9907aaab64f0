// What front ends make of the client: the order in which each of them asks.
import assert from 'node:assert/strict'
import { MOMENTS, answered, sameAfterReload, stopped, textOf, user } from './story.mjs'

/** A chat of two turns. */
async function twoTurns(visitor, id) {
  const page = visitor.page({ id })
  await page.chat.sendMessage({ text: 'one' })
  await page.chat.sendMessage({ text: 'two' })
  answered(page, 'You said: two')
  return page
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

  async 'assistant-ui: a reply is cancelled at any moment and its question edited at once'(visitor, id) {
    for (const [moment, asked] of Object.entries(MOMENTS)) {
      const page = await twoTurns(visitor, `${id}-${moment}`)
      await stopped(visitor, page, asked)
      page.chat.messages = page.chat.messages.slice(0, 4)
      await page.chat.sendMessage({ text: 'short' })
      answered(page, 'You said: short')
      const stored = await sameAfterReload(visitor, page)
      assert.deepEqual(said(stored.messages.slice(4)), ['user: short', 'assistant: short'], moment)
    }
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

  async 'vercel/chatbot: a reply is stopped at any moment and its question edited at once'(visitor, id) {
    for (const [moment, asked] of Object.entries(MOMENTS)) {
      const page = visitor.page({ id: `${id}-${moment}` })
      await stopped(visitor, page, asked)
      const [question] = page.chat.messages
      await cut(visitor, page, question, 'edit')
      page.chat.messages = [{ ...question, parts: [{ type: 'text', text: 'short' }] }]
      await page.chat.regenerate()
      answered(page, 'You said: short')
      assert.deepEqual(said((await sameAfterReload(visitor, page)).messages), ['user: short', 'assistant: short'], moment)
    }
  },

  async 'the Nuxt template: the chat is made with its message, and its page asks for the reply'(visitor, id) {
    const message = user(`${id}-m`, 'from the front page')
    await visitor.json('POST', '/api/chats', { id, message }, 201)
    const { messages } = await visitor.stored(id)
    const page = visitor.page({ id, messages })
    await page.chat.regenerate()
    answered(page, 'You said: from the front page')
    for (const [moment, asked] of Object.entries(MOMENTS)) {
      await stopped(visitor, page, asked)
      await page.chat.sendMessage({ text: `after ${moment}` })
      assert.deepEqual(page.errors.map(String), [], moment)
      const stored = await visitor.settled(id)
      assert.equal(stored.messages.at(-1).id, page.chat.messages.at(-1).id, moment)
      assert.equal(stored.messages.at(-1).metadata.status, 'complete', moment)
      assert.deepEqual(said(stored.messages).filter(line => line.startsWith('user: after')).at(-1), `user: after ${moment}`)
    }
  },

  async 'a tab that is behind edits what it shows, as each of them does, and what it has not seen stays'(visitor, id) {
    const edit = text => [{ type: 'text', text }]
    for (const [name, change] of Object.entries({
      'assistant-ui': async chat => {
        chat.messages = []
        await chat.sendMessage({ text: 'edited' })
      },
      chatbot: async (chat, page) => {
        const [first] = chat.messages
        await cut(visitor, page, first, 'edit')
        chat.messages = [{ ...first, parts: edit('edited') }]
        await chat.regenerate()
      },
      nuxt: chat => chat.sendMessage({ text: 'edited', messageId: chat.messages[0].id }),
      again: chat => chat.regenerate({ messageId: chat.messages[1].id }),
    })) {
      const page = await twoTurns(visitor, `${id}-${name}`)
      const behind = visitor.page({ id: page.id, messages: page.chat.messages.slice(0, 2) })
      await page.chat.sendMessage({ text: 'three' })
      await change(behind.chat, behind)
      assert.deepEqual(behind.errors.map(String), [], name)
      const { messages } = await visitor.settled(page.id)
      assert.deepEqual(messages.length, 2, name)
      assert.equal(messages[1].id, behind.chat.messages.at(-1).id, name)
      const lines = (await (await visitor.fetch('GET', '/api/me/export')).text()).trim().split('\n').map(line => JSON.parse(line))
      const kept = lines.filter(line => line.chatId === page.id && line.type === 'message').map(textOf)
      for (const text of ['one', 'two', 'three']) {
        assert.ok(kept.includes(text) && kept.includes(`You said: ${text}`), `${name}: ${text} of ${kept}`)
      }
    }
  },
}
