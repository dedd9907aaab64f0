// The client of one version: its AbstractChat with a plain state; Vue's useChat; the class of React's, of Svelte's. All behind one
// small face.
import { readFileSync } from 'node:fs'
import { registerHooks } from 'node:module'
import { join } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'

const root = process.env.AI_SDK_ROOT

/** Imports a package by folder name, or a part of it, as an ES module, from where the clients are installed. */
function load(name, part = '.') {
  const folder = join(root, 'node_modules', name)
  const { exports, module, main } = JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8'))
  const entry = exports?.[part]?.import ?? exports?.[part]?.default ?? exports?.[part]?.svelte
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
      set messages(messages) { chat.messages.value = messages },
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

/** Svelte's class, whose runes are compiled on the way, as a bundler does it. */
async function compiled() {
  const { compileModule } = await load('svelte', './compiler')
  registerHooks({
    load(url, context, next) {
      if (!url.endsWith('.svelte.js')) return next(url, context)
      const filename = fileURLToPath(url)
      const { js } = compileModule(readFileSync(filename, 'utf8'), { filename, generate: 'client' })
      return { format: 'module', source: js.code, shortCircuit: true }
    },
  })
  return load('@ai-sdk/svelte')
}

const makers = {
  vue: async () => composable(await load('vue'), await load('@ai-sdk/vue')),
  react: async () => ofClass(await load('@ai-sdk/react')),
  svelte: async () => ofClass(await compiled()),
}

const ofClass = ({ Chat }) => init => new Chat(init)

/** `{ ai, make }` for a label such as `6.0.200` or `vue`. */
export async function client(label) {
  const ai = await load(`ai-${(label in makers ? '7.0.173' : label).replaceAll('.', '-')}`)
  return { label, ai, make: await (makers[label]?.() ?? headless(ai)) }
}
