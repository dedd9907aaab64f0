// examples/worker, type-checked and run in workerd against the real functions.
import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { cpSync, mkdtempSync, readFileSync, realpathSync, rmSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { after, before, test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { build } from 'esbuild'
import { Miniflare, fetch as send } from 'miniflare'
import './session.mjs'
import { connectionString, endpoint } from './site.mjs'
import { siteverify } from './siteverify.mjs'

const modules = realpathSync(new URL('node_modules', import.meta.url))
// A copy beside the packages, where its imports find them.
const folder = mkdtempSync(join(dirname(modules), 'worker-'))
cpSync(new URL('../../../examples/worker', import.meta.url), folder, {
  recursive: true, filter: (path) => !path.includes('/node_modules'),
})
const { compatibility_date: compatibilityDate, vars, ratelimits } = JSON.parse(
  readFileSync(join(folder, 'wrangler.jsonc'), 'utf8').replace(/^\s*\/\/.*$/gm, ''))
const origin = vars.SITE
const SECRET = 'the widget\'s secret'
let worker, turnstile

before(async () => {
  for (let run = 0; run < 2; run++) {
    execFileSync(process.execPath, ['schema.mjs'], { cwd: folder, env: { ...process.env, SQL_ENDPOINT: endpoint } })
  }
  const { outputFiles: [{ text: script }] } = await build({
    entryPoints: [join(folder, 'src/index.ts')],
    bundle: true, write: false, format: 'esm', platform: 'browser', target: 'es2022',
  })
  turnstile = await siteverify(SECRET)
  worker = new Miniflare({
    modules: true, script, compatibilityDate,
    ratelimits: Object.fromEntries(ratelimits.map(({ name, simple }) => [name, { simple }])),
    bindings: { ...vars, DATABASE_URL: connectionString, SQL_ENDPOINT: endpoint, TOKEN_KEY: process.env.TOKEN_KEY, VISITOR_KEY: crypto.randomUUID(),
      TURNSTILE_SECRET: SECRET, WEBSOCKET_PORT: process.env.DSQL_WEBSOCKET_PORT },
    // By Node's name resolution and certificates; Turnstile is on this machine.
    outboundService: (request) => send(new URL(request.url).host === 'challenges.cloudflare.com' ? turnstile.url : request.url, request),
  })
})
after(async () => {
  await worker?.dispose()
  turnstile?.close()
  rmSync(folder, { recursive: true })
})

// A browser with a cookie jar and an address.
function visitor(address = `203.0.113.${addresses++}`) {
  const jar = new Map()
  const cookie = () => [...jar].map((pair) => pair.join('=')).join('; ')
  return async (method, path, body, headers = {}) => {
    const response = await worker.dispatchFetch(`https://worker.example.com${path}`, {
      method, body: body && JSON.stringify(body), headers: { origin, cookie: cookie(), 'cf-connecting-ip': address, ...headers },
    })
    for (const set of response.headers.getSetCookie()) jar.set(...set.split(';')[0].split('='))
    const text = await response.text()
    return { status: response.status, body: text && JSON.parse(text), headers: response.headers, cookie }
  }
}
let addresses = 1

const solved = (action = 'chat', hostname = new URL(origin).hostname, at) => ({ turnstile: turnstile.solve(hostname, action, at) })

test('it has no type errors', () => {
  execFileSync(process.execPath, [fileURLToPath(new URL('node_modules/typescript/bin/tsc', import.meta.url)), '--noEmit', '-p', folder],
    { stdio: 'pipe', encoding: 'utf8' })
})

test('the typed lines of docs/sql.md have no type errors', () => {
  const page = readFileSync(new URL('../../../docs/sql.md', import.meta.url), 'utf8')
  const lines = [...page.matchAll(/^```ts\n(.*?)^```/gms)].map(([, text]) => text)
  assert.ok(lines.length > 0)
  writeFileSync(join(folder, 'src/docs.ts'), `import { neonConfig } from '@neondatabase/serverless';\n${lines.join('\n')}`)
  execFileSync(process.execPath, [fileURLToPath(new URL('node_modules/typescript/bin/tsc', import.meta.url)), '--noEmit', '-p', folder],
    { stdio: 'pipe', encoding: 'utf8' })
})

test('a reaction counts once for each visitor, and can be taken back', async () => {
  const [ada, bob] = [visitor(), visitor()]
  const react = async (who, on) => (await who('POST', '/posts/hello/reactions', { emoji: '👍', on })).body
  assert.deepEqual((await ada('GET', '/posts/hello/reactions')).body, {})
  assert.deepEqual(await react(ada), { emoji: '👍', count: 1 })
  assert.deepEqual(await react(ada), { emoji: '👍', count: 1 })
  assert.deepEqual(await react(bob), { emoji: '👍', count: 2 })
  assert.deepEqual(await react(ada, false), { emoji: '👍', count: 1 })
  assert.deepEqual((await bob('GET', '/posts/hello/reactions')).body, { '👍': 1 })
  assert.deepEqual((await ada('GET', '/posts/other/reactions')).body, {})
})

test('a comment comes back as it was written, once, however often it is sent', async () => {
  const ada = visitor()
  const comment = { id: crypto.randomUUID(), name: 'Ada', body: `it's "quoted" <b>; DROP TABLE comments; -- é😀` }
  for (let sent = 0; sent < 3; sent++) {
    assert.deepEqual((await ada('POST', '/posts/hello/comments', comment)).body, { id: comment.id })
  }
  await ada('POST', '/posts/hello/comments', { ...comment, id: crypto.randomUUID(), body: 'later' })
  const { body } = await ada('GET', '/posts/hello/comments')
  assert.deepEqual(body.map(({ name, body }) => [name, body]), [['Ada', 'later'], ['Ada', comment.body]])
  assert.deepEqual((await ada('GET', '/posts/other/comments')).body, [])
})

test('hearts are given in a transaction that never gives more than there are', async () => {
  const [ada, bob, cyd] = [visitor(), visitor(), visitor()]
  // Strangers learn an id from a comment; it is not what the cookie holds, and opens nothing.
  const idOf = async (who) => {
    const comment = { id: crypto.randomUUID(), name: 'x', body: 'x' }
    const cookie = (await who('POST', '/posts/hearts/comments', comment)).cookie()
    const { body } = await who('GET', '/posts/hearts/comments')
    const { visitor: id } = body.find(({ id }) => id === comment.id)
    assert.ok(!cookie.includes(id))
    return id
  }
  const [adaId, bobId] = [await idOf(ada), await idOf(bob)]
  const give = (who, to, hearts, gift = crypto.randomUUID()) => who('POST', '/gifts', { id: gift, to, hearts })
  const gift = crypto.randomUUID()
  for (let sent = 0; sent < 2; sent++) assert.deepEqual((await give(ada, bobId, 3, gift)).body, { left: 7 })
  // At once, so that they conflict: Ada has enough for one of hers.
  const answers = await Promise.all([give(ada, bobId, 4), give(ada, bobId, 4), give(cyd, bobId, 1)])
  assert.deepEqual(answers.map(({ status }) => status).sort(), [200, 200, 409])
  const tooMany = await give(bob, adaId, 10)
  assert.deepEqual([tooMany.status, (await give(ada, bobId, 5)).status], [200, 200])
  assert.equal((await give(ada, adaId, 1)).status, 422)
})

test('what is wrong is said, and nothing is written', async () => {
  const ada = visitor()
  const id = crypto.randomUUID()
  for (const [method, path, body, status] of [
    ['POST', '/posts/wrong/reactions', { emoji: '💣' }, 422],
    ['POST', '/posts/wrong/comments', { id: 'x', name: 'a', body: 'b' }, 422],
    ['POST', '/posts/wrong/comments', { id, name: '', body: 'b' }, 422],
    ['POST', '/posts/wrong/comments', { id, name: 'a', body: 'x'.repeat(4001) }, 422],
    ['POST', '/posts/wrong/comments', [], 422],
    // What no repetition makes right: a NUL, half an emoji.
    ['POST', '/posts/wrong/comments', { id, name: 'a\0', body: 'b' }, 422],
    ['POST', '/posts/wrong/comments', { id, name: 'a', body: '\ud83d' }, 422],
    ['POST', '/posts/a%00/reactions', { emoji: '👍' }, 422],
    ['GET', '/posts/a%00/comments', undefined, 422],
    ['GET', '/posts/wrong', undefined, 404],
    ['GET', `/posts/${'x'.repeat(201)}/comments`, undefined, 404],
    ['DELETE', '/posts/wrong/comments', undefined, 404],
    ['GET', '/', undefined, 404],
  ]) {
    const answer = await ada(method, path, body)
    assert.equal(answer.status, status, `${method} ${path}`)
    assert.deepEqual(Object.keys(answer.body), ['error'])
  }
  const foreign = await ada('POST', '/posts/wrong/reactions', { emoji: '👍' }, { origin: 'https://evil.example' })
  assert.equal(foreign.status, 403)
  assert.deepEqual((await ada('GET', '/posts/wrong/reactions')).body, {})
})

test('the chat backend takes the token, and keeps visitors apart', async () => {
  const [ada, bob] = [visitor(), visitor()]
  const chats = async (who, method, body) => {
    const asked = await who('POST', '/token')
    const answer = asked.status === 403 ? await who('POST', '/token', solved()) : asked
    const { body: { token } } = answer
    const { sub } = JSON.parse(Buffer.from(token.split('.')[1], 'base64url'))
    assert.ok(!answer.cookie().includes(sub))
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

test('no guest is made without a check, and a check makes one guest', async () => {
  const ada = visitor()
  const status = async (who, body) => (await who('POST', '/token', body)).status
  const old = Date.now() - 301_000
  for (const body of [
    undefined, {}, { turnstile: 7 }, { turnstile: 'made up' }, { turnstile: 'x'.repeat(2049) },
    solved('chat', undefined, old), solved('login'), solved('chat', 'evil.example'),
  ]) assert.equal(await status(ada, body), 403, JSON.stringify(body))
  const passed = solved()
  const answer = await ada('POST', '/token', passed)
  assert.equal(answer.status, 200)
  assert.deepEqual(turnstile.asked.at(-1), { secret: SECRET, response: passed.turnstile, remoteip: '203.0.113.' + (addresses - 1) })
  // Its own visitor is not asked again; the same token makes no second guest, and neither does the cookie of another.
  const asked = turnstile.asked.length
  assert.equal(await status(ada), 200)
  assert.equal(turnstile.asked.length, asked)
  assert.equal(await status(visitor(), passed), 403)
  const checked = /checked=[^;]+/.exec(answer.cookie())[0]
  for (const cookie of [`visitor=${crypto.randomUUID()}; ${checked}`, answer.cookie().replace(/checked=\d+/, 'checked=99999999999'), `visitor=${crypto.randomUUID()}`]) {
    assert.equal((await visitor()('POST', '/token', undefined, { cookie })).status, 403, cookie)
  }
})

test('while nobody can say what a check is worth, no guest is made', async () => {
  for (const failure of [
    (request) => request.socket.destroy(),
    (_, response) => response.writeHead(502).end('<html>'),
    (_, response) => response.end(JSON.stringify({ success: false, 'error-codes': ['internal-error'] })),
    (_, response) => response.end(JSON.stringify({ success: false, 'error-codes': ['invalid-input-secret'] })),
  ]) {
    turnstile.failure = failure
    const answer = await visitor()('POST', '/token', solved())
    assert.deepEqual([answer.status, answer.body], [503, { error: 'try again' }])
  }
  turnstile.failure = undefined
})

test('an address gets a few tokens a minute, whoever asks from it', async () => {
  const { limit } = ratelimits[0].simple
  for (const address of [() => '198.51.100.7', (n) => `2001:db8:1:2::${n}`]) {
    const statuses = []
    for (let n = 0; n <= limit; n++) statuses.push((await visitor(address(n))('POST', '/token')).status)
    assert.deepEqual(statuses, [...Array(limit).fill(403), 429])
  }
  assert.equal((await visitor('2001:db8:1:3::1')('POST', '/token', solved())).status, 200)
})
