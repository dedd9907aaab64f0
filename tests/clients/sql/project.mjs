// A project of a user who migrates a login's schema with a tool of their own: a folder, the tool run in it with a fresh
// token, and a session that looks at what came of it.
import { spawn } from 'node:child_process'
import { mkdtemp, readFile, rm, symlink } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before } from 'node:test'
import { fileURLToPath } from 'node:url'
import pg from 'pg'
import { sessionToken, settings } from './session.mjs'

const here = (name) => fileURLToPath(new URL(name, import.meta.url))
const page = await readFile(here('../../../docs/sql.md'), 'utf8')

/** The file of this name that docs/sql.md shows. */
export function documented(name) {
  const blocks = page.matchAll(/```js\n\/\/ (\S+)\n([^]*?)```/g)
  return [...blocks].find(([, found]) => found === name)[2]
}

/** A project for the tests of a file; `variables` are those of its programs. */
export function project(variables = {}) {
  let folder, session
  before(async () => {
    folder = await mkdtemp(join(tmpdir(), 'project-'))
    await symlink(here('node_modules'), join(folder, 'node_modules'))
    session = new pg.Client({ ...await settings(), ssl: true })
    await session.connect()
  })
  after(async () => {
    await session.end()
    await rm(folder, { recursive: true })
  })
  return {
    path: (name) => join(folder, name),

    /** Runs a program of the packages, as `npx` does: how it ended, its answer, and all that it wrote. */
    async run(program, ...args) {
      const started = spawn(process.execPath, [here(`node_modules/${program}`), ...args], {
        cwd: folder,
        env: {
          ...process.env,
          ...variables,
          TOKEN: JSON.stringify(await sessionToken()),
          NODE_OPTIONS: `--import ${new URL('session.mjs', import.meta.url)}`,
        },
        stdio: ['ignore', 'pipe', 'pipe'],
      })
      let [answer, written] = ['', '']
      started.stdout.on('data', (data) => { answer += data; written += data })
      started.stderr.on('data', (data) => { written += data })
      const code = await new Promise((done) => started.on('close', done))
      return { code, answer, written }
    },

    /** Rows of a statement; it is sent again where the catalog was changed since the session's last one. */
    async rows(text, values) {
      for (;;) {
        try {
          return (await session.query(text, values)).rows
        } catch (error) {
          if (!/OC001/.test(error.message)) throw error
        }
      }
    },
  }
}
