#!/usr/bin/env node
// One client's statements, one after another: by the unmodified Neon driver through `sql`, or by node-postgres with a token
// straight to the database. Prints a line of milliseconds: of the first, connect included, and of each further one.
import { connectionString, driver, postgres } from '../../tests/clients/sql/site.mjs'

const [how, further] = process.argv.slice(2)
const clients = {
  neon: async () => {
    const { neon } = await driver('1.2.0')
    const sql = neon(connectionString)
    return (n) => sql`SELECT ${n}::int AS n`
  },
  pg: async () => {
    const client = await postgres()
    return async (n) => (await client.query('SELECT $1::int AS n', [n])).rows
  },
}
const times = []
let ask
for (let n = 0; n <= Number(further); n++) {
  const begun = performance.now()
  ask ??= await clients[how]()
  const [row] = await ask(n)
  times.push(performance.now() - begun)
  if (row.n !== n) throw new Error(`${JSON.stringify(row)} is not ${n}`)
}
console.log(times.join(' '))
process.exit(0)
