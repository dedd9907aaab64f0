// The unmodified driver inside workerd, bundled as wrangler does, without nodejs_compat.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { build } from 'esbuild'
import { Miniflare } from 'miniflare'
import { connectionString, drivers, endpoint } from './site.mjs'

const packages = { '1.1.0': 'neon-1-1', '1.2.0': '@neondatabase/serverless' }

for (const version of Object.keys(drivers)) {
  test(`driver ${version} in workerd`, async () => {
    const { outputFiles: [{ text: script }] } = await build({
      entryPoints: [fileURLToPath(new URL('worker.mjs', import.meta.url))],
      alias: { driver: packages[version] },
      bundle: true, write: false, format: 'esm', platform: 'browser', target: 'es2022',
    })
    const worker = new Miniflare({
      modules: true, script, compatibilityDate: '2026-04-01',
      bindings: { SQL_ENDPOINT: endpoint, DATABASE_URL: connectionString },
    })
    try {
      const response = await worker.dispatchFetch('http://worker.example.com/')
      const text = await response.text()
      assert.equal(response.status, 200, text)
      const report = JSON.parse(text)
      assert.deepEqual(report.template, [{ sum: 42 }])
      assert.deepEqual(report.batch, [{ a: 1 }, { b: 'é😀' }])
      assert.deepEqual(report.row, { n: 7, t: '1970-01-01T00:00:00.000Z', b: [1, 255], l: [1, 2] })
      assert.equal(report.command, 'SELECT')
      assert.equal(report.many, 2000)
      assert.deepEqual([report.error.name, report.error.code, report.error.position], ['NeonDbError', '42703', '18'])
      assert.deepEqual([report.inBatch.code, report.inBatch.where], ['22012', 'batch query 2 of 2'])
      assert.equal(report.password.code, '28P01')
      assert.deepEqual(report.empty, [])
    } finally {
      await worker.dispose()
    }
  })
}
