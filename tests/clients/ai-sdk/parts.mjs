// Parts: everything that a provider can make a reply hold, from the provider to the client, to storage, to a resume, to an
// export and back.
import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { answered, comparable, partOf, raw, sameAfterReload, sameWhenImported, textOf, until, user } from './story.mjs'

const HELD = ['text', 'reasoning', 'reasoning', 'source-url', 'source-document', 'file', 'tool-weather', 'tool-unknown_tool', 'text']

/** Why the API never sends a chunk type of the newest SDK. */
const NEVER = {
  'custom': 'the clients before 7 fail on it, and no provider here makes one',
  'reasoning-file': 'the clients before 7 fail on it; no provider here makes one',
  'steering-message': 'a message of the visitor\'s that a run takes up midway: a chat takes one turn at a time',
  'reset-step': 'the clients before 7 fail on it; a step that was sent is never taken back',
  'tool-input-error': 'an input that is not JSON is passed on as the text it is',
  'tool-approval-request': 'only a configured tool asks: tools.mjs',
  'tool-approval-response': 'the clients before 7 fail on it; the client that answers knows its answer',
  'tool-output-denied': 'only a configured tool asks: tools.mjs',
}

/** The types of the chunks that the newest SDK knows, by its own declaration. */
function chunkTypes() {
  const file = join(process.env.AI_SDK_ROOT, 'node_modules/ai-7-0-173/dist/index.d.ts')
  const [, declaration] = readFileSync(file, 'utf8').split(/^type UIMessageChunk</m)
  const end = declaration.indexOf('\ntype ')
  return new Set([...declaration.slice(0, end).matchAll(/^  type: '([a-z-]+)';$/gm)].map(([, type]) => type))
}

function complete(reply) {
  assert.deepEqual(reply.parts.map(part => part.type), ['step-start', ...HELD])
  const [signed, hidden] = reply.parts.filter(part => part.type === 'reasoning')
  assert.equal(signed.text, 'Signed.')
  assert.deepEqual(signed.providerMetadata, { echo: { signature: 'c2lnbmVk' } })
  assert.equal(hidden.text, '')
  assert.deepEqual(hidden.providerMetadata, { echo: { redactedData: 'aGlkZGVu' } })
  assert.equal(partOf(reply, 'source-url').url, 'https://example.com/a')
  assert.equal(partOf(reply, 'source-document').title, 'Handbook')
  assert.ok(partOf(reply, 'file').url.startsWith('data:image/png;base64,iVBORw0KGgo'))
  const [weather, unknown] = [partOf(reply, 'tool-weather'), partOf(reply, 'tool-unknown_tool')]
  assert.deepEqual([weather.state, weather.input, weather.output], ['output-available', { place: 'Bern' }, { degrees: 7 }])
  assert.equal(unknown.state, 'output-error')
  assert.match(unknown.errorText, /no tool/)
  assert.ok(weather.providerExecuted && unknown.providerExecuted, 'a client is not to execute it')
}

export const parts = {
  async 'everything that a reply may hold is streamed, stored, exported and imported the same'(visitor, id) {
    const page = visitor.page({ id })
    await page.chat.sendMessage({ text: 'one two [[parts]]' })
    const reply = answered(page, 'You said: one two')
    complete(reply)
    const { messages } = await sameAfterReload(visitor, page)
    await visitor.client.ai.validateUIMessages?.({ messages })

    await sameWhenImported(visitor, id, messages)
    await page.chat.sendMessage({ text: 'go on' })
    answered(page, 'You said: go on')
  },

  async 'everything that a reply may hold is resumed, while it is written and once it has ended'(visitor, id) {
    const first = visitor.page({ id })
    const sent = first.chat.sendMessage({ text: '[[parts]] [[words 60]] [[delay 20]]' })
    await until('the first words', () => textOf(first.chat.messages.at(-1)).includes('word3'))
    const loaded = await visitor.stored(id)
    const second = visitor.page({ id, messages: loaded.messages })
    await Promise.all([sent, second.chat.resumeStream()])
    complete(first.chat.messages.at(-1))
    assert.deepEqual(comparable(second.chat.messages), comparable(first.chat.messages))
    const third = visitor.page({ id, messages: loaded.messages, headers: { 'last-event-id': loaded.messages[0].id } })
    await third.chat.resumeStream()
    assert.deepEqual(comparable(third.chat.messages), comparable(first.chat.messages))
    await sameAfterReload(visitor, third)
  },

  async 'every chunk type of the newest SDK is sent, or known to be none that a provider causes'(visitor, id) {
    const post = (chat, text) => visitor.fetch('POST', '/api/chat', { id: chat, messages: [user('u-1', text)] })
    const stopped = post(`${id}-stopped`, '[[words 100]] [[delay 50]]').then(raw)
    await until('the stop', async () => {
      const stop = await visitor.fetch('POST', `/api/chat/${id}-stopped/stop`, {})
      return stop.status === 202
    })
    const streams = await Promise.all([
      stopped,
      post(`${id}-whole`, 'one two [[parts]]').then(raw),
      post(`${id}-failed`, 'one two three four [[fail 2]]').then(raw),
    ])
    const schema = visitor.client.ai.uiMessageChunkSchema?.()
    const seen = new Set()
    for (const chunk of streams.flatMap(stream => stream.chunks)) {
      seen.add(chunk.type)
      const { success, error } = (await schema?.validate?.(chunk)) ?? { success: true }
      assert.ok(success, `${JSON.stringify(chunk)}: ${error}`)
    }
    const known = chunkTypes()
    assert.ok(known.size > 20, 'the declaration was not understood')
    for (const type of known) assert.ok(seen.has(type) !== Object.hasOwn(NEVER, type), type)
    for (const type of Object.keys(NEVER)) assert.ok(known.has(type), `${type} is gone from the SDK`)
    assert.ok(seen.has('data-chat-title'))
  },
}
