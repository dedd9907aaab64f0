// Tools: called on the way to an answer, and asked about first where they may change things. Only where the site has the
// server of tests/clients/mcp.
import assert from 'node:assert/strict'
import { answered, comparable, partOf, sameAfterReload, sameWhenImported, textOf, until } from './story.mjs'

const REMOVE = '[[tool lab_remove {"what":"all"}]]'

/** A page that sends by itself once everything that was asked is answered, as the SDK's pages do. */
function asking(visitor, options) {
  const { lastAssistantMessageIsCompleteWithApprovalResponses: when } = visitor.client.ai
  return visitor.page({ ...options, when })
}

const asked = page => page.chat.messages.at(-1).parts.filter(part => part.state === 'approval-requested')

/** Without what the visitor answered: no chunk that every version of the SDK reads tells it. A page that loads the chat has it. */
const unanswered = messages => comparable(messages).map(message => ({
  ...message,
  parts: message.parts.map(part => (part.approval ? { ...part, approval: { id: part.approval.id } } : part)),
}))

/** A page that has the question alone is given the whole reply. */
async function resumedTheSame(visitor, id, messages) {
  const page = visitor.page({ id, messages: messages.slice(0, 1), headers: { 'last-event-id': messages[0].id } })
  await page.chat.resumeStream()
  assert.deepEqual(unanswered(page.chat.messages), unanswered(messages))
}

async function decide(visitor, id, approved, reason, { text = REMOVE, type = 'tool-lab_remove' } = {}) {
  const page = asking(visitor, { id })
  await page.chat.sendMessage({ text })
  const [part] = asked(page)
  assert.equal(part.type, type)
  assert.deepEqual(part.input, { what: 'all' })
  const { messages } = await sameAfterReload(visitor, page)
  await resumedTheSame(visitor, id, messages)
  await sameWhenImported(visitor, id, messages)
  const before = messages.at(-1)
  await page.chat.addToolApprovalResponse({ id: part.approval.id, approved, reason })
  await until('the answer', () => page.chat.status === 'ready' && textOf(page.chat.messages.at(-1)) !== '')
  assert.equal(page.chat.messages.at(-1).id, before.id, 'it is the same message')
  const { messages: after } = await sameAfterReload(visitor, page)
  await resumedTheSame(visitor, id, after)
  await sameWhenImported(visitor, id, after)
  return page
}

export const tools = {
  async 'a tool is called on the way to an answer, which is resumed, exported and imported with it'(visitor, id) {
    const page = visitor.page({ id })
    await page.chat.sendMessage({ text: '[[tool lab_look {"at":"it"}]] [[tool lab_measure {"of":"four"}]]' })
    const reply = answered(page, 'Tools said: saw it, {"length":4}')
    const kinds = reply.parts.map(part => part.type)
    assert.deepEqual(kinds, ['step-start', 'tool-lab_look', 'step-start', 'tool-lab_measure', 'step-start', 'text'])
    assert.deepEqual(partOf(reply, 'tool-lab_measure').output, { length: 4 })
    const { messages } = await sameAfterReload(visitor, page)
    await visitor.client.ai.validateUIMessages?.({ messages })
    await sameWhenImported(visitor, id, messages)
    await page.chat.sendMessage({ text: 'go on' })
    answered(page, 'You said: go on')
  },

  async 'a tool that no client knows by name is called, resumed, replayed, exported and imported'(visitor, id) {
    const first = visitor.page({ id })
    const sent = first.chat.sendMessage({ text: '[[tool any_look {"at":"it"}]] [[tool any_wait {"ms":1500}]] [[tool any_fail {}]]' })
    await until('the second call', () => first.chat.messages.at(-1)?.parts.some(part => part.toolName === 'any_wait' && part.state === 'input-available'))
    const loaded = await visitor.stored(id)
    const second = visitor.page({ id, messages: loaded.messages })
    await Promise.all([sent, second.chat.resumeStream()])
    const reply = answered(first, 'Tools said: saw it, waited, error: it is broken')
    const calls = reply.parts.filter(part => part.type === 'dynamic-tool')
    assert.deepEqual(calls.map(part => [part.toolName, part.state]), [
      ['any_look', 'output-available'], ['any_wait', 'output-available'], ['any_fail', 'output-error'],
    ])
    assert.deepEqual([calls[0].input, calls[0].output], [{ at: 'it' }, 'saw it'])
    assert.deepEqual(comparable(second.chat.messages), comparable(first.chat.messages))
    const third = visitor.page({ id, messages: loaded.messages, headers: { 'last-event-id': loaded.messages[0].id } })
    await third.chat.resumeStream()
    assert.deepEqual(comparable(third.chat.messages), comparable(first.chat.messages))
    const { messages } = await sameAfterReload(visitor, second)
    await visitor.client.ai.validateUIMessages?.({ messages })
    const copy = await sameWhenImported(visitor, id, messages)
    const { messages: imported } = await visitor.stored(copy)
    // A page of the import sends its last message again: what is there is replayed to it.
    const page = visitor.page({ id: copy, messages: imported.slice(0, 1) })
    await page.chat.sendMessage()
    assert.deepEqual(page.errors.map(String), [])
    assert.deepEqual(comparable(page.chat.messages)[1].parts, comparable(imported)[1].parts)
    await page.chat.sendMessage({ text: 'go on' })
    answered(page, 'You said: go on')
  },

  async 'a call of one that is not known by name is allowed, and another refused'(visitor, id) {
    const such = { text: '[[tool any_remove {"what":"all"}]]', type: 'dynamic-tool' }
    const allowed = await decide(visitor, `${id}-a`, true, undefined, such)
    assert.equal(partOf(answered(allowed, 'Tools said: removed all'), 'dynamic-tool').state, 'output-available')
    const refused = await decide(visitor, `${id}-b`, false, undefined, such)
    const reply = answered(refused, 'Tools said: error: the user refused this call')
    assert.equal(partOf(reply, 'dynamic-tool').state, 'output-denied')
  },

  async 'a tool that takes its time is resumed'(visitor, id) {
    const first = visitor.page({ id })
    const sent = first.chat.sendMessage({ text: '[[tool lab_wait {"ms":1500}]] [[tool lab_look {"at":"it"}]]' })
    await until('the call', () => first.chat.messages.at(-1)?.parts.some(part => part.state === 'input-available'))
    const loaded = await visitor.stored(id)
    const second = visitor.page({ id, messages: loaded.messages })
    await Promise.all([sent, second.chat.resumeStream()])
    answered(first, 'Tools said: waited, saw it')
    assert.deepEqual(comparable(second.chat.messages), comparable(first.chat.messages))
    await sameAfterReload(visitor, second)
  },

  async 'a call that is allowed is made, and the reply goes on'(visitor, id) {
    const page = await decide(visitor, id, true)
    const reply = answered(page, 'Tools said: removed all')
    const call = partOf(reply, 'tool-lab_remove')
    assert.deepEqual([call.state, call.output, call.approval.approved], ['output-available', 'removed all', true])
  },

  async 'a call that is refused is not made, and the model is told why'(visitor, id) {
    const page = await decide(visitor, id, false, 'not today')
    const reply = answered(page, 'Tools said: error: the user refused this call: not today')
    const call = partOf(reply, 'tool-lab_remove')
    assert.deepEqual([call.state, call.approval.approved, call.approval.reason], ['output-denied', false, 'not today'])
  },

  async 'a page that is loaded anew still asks'(visitor, id) {
    const first = asking(visitor, { id })
    await first.chat.sendMessage({ text: REMOVE })
    const { messages } = await sameAfterReload(visitor, first)
    const second = asking(visitor, { id, messages })
    const [part] = asked(second)
    await second.chat.addToolApprovalResponse({ id: part.approval.id, approved: true })
    await until('the answer', () => textOf(second.chat.messages.at(-1)) !== '' && second.chat.status === 'ready')
    answered(second, 'Tools said: removed all')
    await sameAfterReload(visitor, second)
    // The first page is behind: what it answers is answered.
    await first.chat.addToolApprovalResponse({ id: part.approval.id, approved: false })
    await until('the refusal', () => first.chat.status === 'error')
    assert.equal(JSON.parse(first.errors.at(-1).message).code, 'stale')
    await sameAfterReload(visitor, second)
  },
}
