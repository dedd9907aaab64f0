// examples/worker, type-checked and run in workerd against the real functions.
import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { cpSync, mkdtempSync, readFileSync, realpathSync, rmSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { after, before, test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { build } from 'esbuild'
import { Miniflare } from 'miniflare'
import { connectionString, endpoint } from './site.mjs'

const modules = realpathSync(new URL('node_modules', import.meta.url))
// A copy beside the packages, where its imports find them.
const folder = mkdtempSync(join(dirname(modules), 'worker-'))
cpSync(new URL('../../../examples/worker', import.meta.url), folder, {
  recursive: true, filter: (path) => !path.includes('/node_modules'),
})
const { compatibility_date: compatibilityDate, vars } = JSON.parse(
  readFileSync(join(folder, 'wrangler.jsonc'), 'utf8').replace(/^\s*\/\/.*$/gm, ''))
const origin = vars.BLOG_ORIGIN
let worker

before(async () => {
  execFileSync(process.execPath, ['scripts/schema.mjs'], { cwd: folder, env: { ...process.env, SQL_ENDPOINT: endpoint } })
  const { outputFiles: [{ text: script }] } = await build({
    entryPoints: [join(folder, 'src/index.ts')],
    bundle: true, write: false, format: 'esm', platform: 'browser', target: 'es2022',
  })
  const { JWT_PRIVATE_KEY, VISITOR_SECRET } = process.env
  worker = new Miniflare({
    modules: true, script, compatibilityDate,
    bindings: { ...vars, DATABASE_URL: connectionString, SQL_ENDPOINT: endpoint, JWT_PRIVATE_KEY, VISITOR_SECRET },
  })
})
after(async () => {
  await worker?.dispose()
  rmSync(folder, { recursive: true })
})

// A browser with a cookie jar of one.
function visitor() {
  let cookie = ''
  return async (method, path, body, headers = {}) => {
    const response = await worker.dispatchFetch(`https://worker.example.com${path}`, {
      method, body: body && JSON.stringify(body), headers: { origin, cookie, ...headers },
    })
    cookie = response.headers.get('set-cookie')?.split(';')[0] ?? cookie
    const text = await response.text()
    return { status: response.status, body: text && JSON.parse(text), headers: response.headers, cookie: () => cookie }
  }
}

test('it has no type errors', () => {
  execFileSync(process.execPath, [fileURLToPath(new URL('node_modules/typescript/bin/tsc', import.meta.url)), '--noEmit', '-p', folder],
    { stdio: 'pipe', encoding: 'utf8' })
})

test('reactions are counted once for each visitor and kind', async () => {
  const [ada, bob] = [visitor(), visitor()]
  assert.deepEqual((await ada('GET', '/posts/hello/reactions')).body, { counts: {}, mine: [] })
  await ada('POST', '/posts/hello/reactions', { kind: 'like' })
  await ada('POST', '/posts/hello/reactions', { kind: 'like' })
  assert.deepEqual((await bob('POST', '/posts/hello/reactions', { kind: 'like' })).body, { counts: { like: 2 }, mine: ['like'] })
  assert.deepEqual((await ada('DELETE', '/posts/hello/reactions', { kind: 'like' })).body, { counts: { like: 1 }, mine: [] })
  assert.deepEqual((await ada('GET', '/posts/other/reactions')).body, { counts: {}, mine: [] })
})

test('comments come back as they were written, newest first, by pages', async () => {
  const ada = visitor()
  const text = `it's "quoted" <b>; DROP TABLE comments; -- é😀`
  const { status, body: written } = await ada('POST', '/posts/hello/comments', { author: 'Ada', body: text })
  assert.deepEqual([status, written.body], [200, text])
  for (let n = 0; n < 21; n++) await ada('POST', '/posts/hello/comments', { author: 'Ada', body: `n${n}` })
  const { body: { comments: page } } = await ada('GET', '/posts/hello/comments')
  assert.deepEqual(page.map(({ body }) => body), Array.from({ length: 20 }, (_, n) => `n${20 - n}`))
  const { body: { comments: rest } } = await ada('GET', `/posts/hello/comments?before=${page.at(-1).made}`)
  assert.equal(rest.at(-1).body, text)
})

test('what is wrong is said, and nothing else', async () => {
  const ada = visitor()
  for (const [method, path, body, status] of [
    ['POST', '/posts/hello/reactions', { kind: 'hate' }, 400],
    ['POST', '/posts/hello/comments', { author: '', body: 'x' }, 400],
    ['POST', '/posts/hello/comments', { author: 'a', body: 'x\0' }, 400],
    ['POST', '/posts/hello/comments', { author: 'a', body: 'x'.repeat(4001) }, 400],
    ['GET', '/posts/hello/comments?before=yesterday', undefined, 400],
    ['GET', '/posts/Hello%27/comments', undefined, 404],
    ['GET', '/', undefined, 404],
  ]) {
    const answer = await ada(method, path, body)
    assert.equal(answer.status, status, `${method} ${path}`)
    assert.deepEqual(Object.keys(answer.body), ['message'])
  }
  const foreign = await ada('POST', '/posts/hello/reactions', { kind: 'like' }, { origin: 'https://evil.example' })
  assert.equal(foreign.status, 403)
})

test('a forged cookie is another visitor', async () => {
  const ada = visitor()
  const { cookie } = await ada('GET', '/posts/hello/reactions')
  const forged = cookie().replace(/=.{8}/, '=00000000')
  const answer = await visitor()('GET', '/posts/hello/reactions', undefined, { cookie: forged })
  assert.ok(answer.headers.get('set-cookie'), 'a new one is given')
})

test('the chat backend takes the token, and keeps visitors apart', async () => {
  const [ada, bob] = [visitor(), visitor()]
  const chats = async (who, method, body) => {
    const { body: { token } } = await who('POST', '/chat-token')
    const response = await fetch(`${process.env.CHAT_API}/api/chats`, {
      method, body: body && JSON.stringify(body),
      headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json' },
    })
    return { status: response.status, body: await response.json() }
  }
  assert.equal((await chats(ada, 'POST', { title: 'mine' })).status, 201)
  const titles = async (who) => (await chats(who, 'GET')).body.items.map(({ title }) => title)
  assert.deepEqual([await titles(ada), await titles(bob)], [['mine'], []])
})
