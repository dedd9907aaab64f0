// The least of a Node runtime: what stands between Lambda's Runtime API and a handler. Lambda's own has more to load.
import { Agent, request } from 'node:http'

const api = `http://${process.env.AWS_LAMBDA_RUNTIME_API}/2018-06-01/runtime`
const agent = new Agent({ keepAlive: true, noDelay: true })
const call = (method, path, body) => new Promise((resolve, reject) => {
  const sent = request(`${api}${path}`, { method, agent }, async (response) => {
    const parts = []
    for await (const part of response) parts.push(part)
    resolve([response.headers, Buffer.concat(parts).toString()])
  })
  sent.on('error', reject)
  sent.end(body)
})

export async function serve(handler) {
  for (;;) {
    const [headers, event] = await call('GET', '/invocation/next')
    const answer = JSON.stringify(await handler(JSON.parse(event)))
    await call('POST', `/invocation/${headers['lambda-runtime-aws-request-id']}/response`, answer)
  }
}
