// Runs every scenario with one client: `node run.mjs 6.0.200`. One line a scenario; exit 1 if any failed.
// AI_SDK_ROOT: where the packages are installed. API_URL: the site. ONLY: part of the names to run. TOOLS: the scenarios with
// tools, for a site that has some.
import { client } from './client.mjs'
import { alone, failures } from './failures.mjs'
import { parts } from './parts.mjs'
import { sequences } from './sequences.mjs'
import { streams } from './streams.mjs'
import { Visitor } from './story.mjs'
import { tools } from './tools.mjs'
import { turns } from './turns.mjs'

const AT_ONCE = 5
const LIMIT_MS = 60_000

const label = process.argv[2]
const tested = await client(label)
let failed = 0
let number = 0

async function run([name, scenario]) {
  const id = `v${label.replaceAll('.', '-')}-${(number += 1)}`
  const visitor = await Visitor.create(tested, `visitor-${id}`)
  const begun = Date.now()
  let timer
  const limit = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`not done after ${LIMIT_MS} ms`)), LIMIT_MS)
  })
  try {
    await Promise.race([scenario(visitor, id), limit])
    console.log(`ok ${name} (${Date.now() - begun} ms)`)
  } catch (error) {
    failed += 1
    console.log(`FAILED ${name}: ${error.stack}`)
  } finally {
    clearTimeout(timer)
  }
}

const chosen = scenarios => Object.entries(scenarios).filter(([name]) => name.includes(process.env.ONLY ?? ''))
const queue = chosen(process.env.TOOLS ? tools : { ...turns, ...sequences, ...streams, ...parts, ...failures })
await Promise.all(Array.from({ length: AT_ONCE }, async () => {
  for (let next; (next = queue.shift());) await run(next)
}))
for (const next of process.env.TOOLS ? [] : chosen(alone)) await run(next)
console.log(`${number} scenarios, ${failed} failed`)
process.exit(failed === 0 ? 0 : 1)
