// The client of one version: its AbstractChat with a plain state, or Vue's useChat, both behind one small face.
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'

const root = process.env.AI_SDK_ROOT

/** Imports a package by folder name, as an ES module, from where the clients are installed. */
function load(name) {
  const folder = join(root, 'node_modules', name)
  const { exports, module, main } = JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8'))
  const entry = exports?.['.']?.import ?? exports?.['.']?.default
  const file = (typeof entry === 'string' ? entry : (entry?.node ?? entry?.default)) ?? module ?? main
  return import(pathToFileURL(join(folder, typeof file === 'string' ? file : file.default)))
}

class State {
  status = 'ready'
  error = undefined
  constructor(messages = []) { this.messages = messages }
  pushMessage = message => { this.messages = [...this.messages, message] }
  popMessage = () => { this.messages = this.messages.slice(0, -1) }
  replaceMessage = (index, message) => { this.messages = this.messages.with(index, message) }
  snapshot = value => structuredClone(value)
}

function headless(ai) {
  class HeadlessChat extends ai.AbstractChat {
    constructor({ messages, ...init }) {
      super({ generateId: ai.generateId, ...init, state: new State(messages) })
    }
  }
  return init => new HeadlessChat(init)
}

/** Vue's composable, whose refs are read like the properties of a chat. */
function composable(vue, { useChat }) {
  return init => {
    const chat = vue.effectScope(true).run(() => useChat(init))
    return {
      get messages() { return vue.toRaw(chat.messages.value) },
      get status() { return chat.status.value },
      get error() { return chat.error.value },
      sendMessage: (...args) => chat.sendMessage(...args),
      regenerate: options => chat.regenerate(options),
      stop: () => chat.stop(),
      resumeStream: options => chat.resumeStream(options),
      addToolApprovalResponse: answer => chat.addToolApprovalResponse(answer),
    }
  }
}

/** `{ ai, make }` for a label such as `6.0.200` or `vue`. */
export async function client(label) {
  const isVue = label === 'vue'
  const ai = await load(`ai-${(isVue ? '7.0.173' : label).replaceAll('.', '-')}`)
  const make = isVue ? composable(await load('vue'), await load('@ai-sdk/vue')) : headless(ai)
  return { label, ai, make }
}
