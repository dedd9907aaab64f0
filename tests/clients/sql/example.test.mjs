// examples/worker as it is, in workerd: its tables made by its own script, then a visitor's story.
import assert from 'node:assert/strict'
import { generateKeyPairSync, verify } from 'node:crypto'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { build } from 'esbuild'
import { Miniflare } from 'miniflare'
import { connectionString, endpoint } from './site.mjs'

const folder = new URL('../../../examples/worker/', import.meta.url)
const bundle = async (file, platform) => {
  const { outputFiles: [{ text }] } = await build({
    entryPoints: [fileURLToPath(new URL(file, folder))],
    nodePaths: [fileURLToPath(new URL('node_modules', import.meta.url))],
    bundle: true, write: false, format: 'esm', platform, target: 'es2022',
  })
  return text
}

test('a visitor reacts, comments and gets a token', async () => {
  const schema = Buffer.from(await bundle('schema.mjs', 'node')).toString('base64')
  await import(`data:text/javascript;base64,${schema}`)
  const { privateKey, publicKey } = generateKeyPairSync('ed25519')
  const worker = new Miniflare({
    modules: true, script: await bundle('src/index.ts', 'browser'), compatibilityDate: '2026-04-01',
    bindings: {
      DATABASE_URL: connectionString, SQL_ENDPOINT: endpoint, SITE: 'https://blog.example.com',
      TOKEN_KEY: JSON.stringify({ ...privateKey.export({ format: 'jwk' }), kid: 'worker-1' }),
      TOKEN_ISSUER: 'https://blog.example.com', TOKEN_AUDIENCE: 'chat',
    },
  })
  let cookie
  const ask = async (method, path, body, more = {}) => {
    const headers = { ...more, ...(cookie && { cookie }) }
    const response = await worker.dispatchFetch(`https://worker.example.com${path}`, {
      method, headers, body: body && JSON.stringify(body),
    })
    cookie ??= response.headers.get('set-cookie')?.split(';')[0]
    assert.equal(response.headers.get('access-control-allow-origin'), 'https://blog.example.com')
    return [response.status, JSON.parse((await response.text()) || 'null')]
  }
  try {
    const like = { emoji: '👍' }
    assert.deepEqual(await ask('POST', '/posts/hello/reactions', like), [200, { emoji: '👍', count: 1 }])
    assert.deepEqual(await ask('POST', '/posts/hello/reactions', like), [200, { emoji: '👍', count: 1 }])
    assert.deepEqual(await ask('GET', '/posts/hello/reactions'), [200, { '👍': 1 }])
    assert.deepEqual(await ask('POST', '/posts/hello/reactions', { ...like, on: false }), [200, { emoji: '👍', count: 0 }])

    const comment = { id: crypto.randomUUID(), name: "O'Brien", body: 'Hi 😀' }
    for (let n = 0; n < 2; n++) assert.deepEqual(await ask('POST', '/posts/hello/comments', comment), [201, { id: comment.id }])
    const [, [stored, ...others]] = await ask('GET', '/posts/hello/comments')
    assert.deepEqual([stored.name, stored.body, others], ["O'Brien", 'Hi 😀', []])

    const [status, { token }] = await ask('POST', '/token')
    assert.equal(status, 200)
    const [header, claims, signature] = token.split('.')
    assert.ok(verify(null, Buffer.from(`${header}.${claims}`), publicKey, Buffer.from(signature, 'base64url')))
    const { sub, aud, exp, iat } = JSON.parse(Buffer.from(claims, 'base64url'))
    assert.deepEqual([`visitor=${sub}`, aud, exp - iat], [cookie, 'chat', 3600])

    for (const [expected, ...request] of [
      [422, 'POST', '/posts/hello/reactions', { emoji: '<script>' }],
      [422, 'POST', '/posts/hello/comments', { ...comment, body: '' }],
      [403, 'POST', '/posts/hello/comments', comment, { Origin: 'https://evil.example.com' }],
      [400, 'POST', '/posts/hello/comments'],
      [400, 'GET', '/posts/%E0/comments'],
      [404, 'GET', '/posts/hello'],
    ]) assert.equal((await ask(...request))[0], expected, request.join(' '))
  } finally {
    await worker.dispose()
  }
})
