// Runs in workerd: the driver's behaviours that a Worker depends on, reported as JSON.
import * as driver from 'driver'

export default {
  async fetch(_request, env) {
    const { neon, neonConfig } = driver
    neonConfig.fetchEndpoint = env.SQL_ENDPOINT
    const sql = neon(env.DATABASE_URL)
    const failure = (promise) => promise.then(() => 'it succeeded', ({ name, code, message, position, where }) => ({ name, code, message, position, where }))
    const [[a], [b]] = await sql.transaction([sql`SELECT ${1}::int AS a`, sql`SELECT ${'é😀'} AS b`], { isolationLevel: 'RepeatableRead', readOnly: true })
    const full = await sql.query('SELECT $1::int AS n, $2::timestamptz AS t, $3::bytea AS b, ARRAY[1,2] AS l', [7, new Date(0), Uint8Array.from([1, 255])], { fullResults: true })
    return Response.json({
      template: await sql`SELECT ${41}::int + 1 AS sum`,
      batch: [a, b],
      row: { ...full.rows[0], b: [...full.rows[0].b] },
      command: full.command,
      many: (await sql`SELECT n, repeat('x', 100) AS t FROM generate_series(1, 2000) n`).length,
      error: await failure(sql`SELECT 123 WHERE x`),
      inBatch: await failure(sql.transaction([sql`SELECT 1`, sql`SELECT 1/0`])),
      password: await failure(neon(env.DATABASE_URL.replace(/:[^:@]+@/, ':wrong@'))`SELECT 1`),
      empty: await sql.transaction([]),
    })
  },
}
