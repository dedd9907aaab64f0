// An MCP server with the tools that the tests call: `node server.mjs` prints its port. MCP_ROOT: where the packages are
// installed. AS: `json` answers in JSON, else as events. A request without the header `authorization: Bearer <TOKEN>` is
// refused, if TOKEN is set. Every call that is executed is printed as `called <tool> <input>`.
import { randomUUID } from 'node:crypto'
import { createServer } from 'node:http'
import { createRequire } from 'node:module'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'

const resolve = createRequire(join(process.env.MCP_ROOT, 'x.js')).resolve
const load = name => import(pathToFileURL(resolve(name)))
const { McpServer } = await load('@modelcontextprotocol/sdk/server/mcp.js')
const { StreamableHTTPServerTransport } = await load('@modelcontextprotocol/sdk/server/streamableHttp.js')
const { z } = await load('zod')

const text = text => ({ content: [{ type: 'text', text }] })
const READS = { readOnlyHint: true }

function served() {
  const server = new McpServer({ name: 'tests', version: '1.0.0' })
  const tool = (name, config, run) => server.registerTool(name, config, async input => {
    console.log(`called ${name} ${JSON.stringify(input)}`)
    return run(input)
  })
  tool('look', { description: 'Looks at a thing', inputSchema: { at: z.string() }, annotations: READS }, ({ at }) => text(`saw ${at}`))
  tool('measure', {
    description: 'Measures a thing',
    inputSchema: { of: z.string() },
    outputSchema: { length: z.number() },
    annotations: READS,
  }, ({ of }) => ({ ...text('measured'), structuredContent: { length: of.length } }))
  tool('fail', { description: 'Fails', inputSchema: {}, annotations: READS }, () => ({ ...text('it is broken'), isError: true }))
  tool('talk', { description: 'Says much', inputSchema: { bytes: z.number() }, annotations: READS }, ({ bytes }) => text('x'.repeat(bytes)))
  tool('wait', { description: 'Takes its time', inputSchema: { ms: z.number() }, annotations: READS }, async ({ ms }) => {
    await new Promise(resolve => setTimeout(resolve, ms))
    return text('waited')
  })
  tool('hang', { description: 'Never answers', inputSchema: {}, annotations: READS }, () => new Promise(() => {}))
  tool('remove', { description: 'Removes a thing', inputSchema: { what: z.string() } }, ({ what }) => text(`removed ${what}`))
  return server
}

const sessions = new Map()

async function answer(request, response) {
  if (process.env.TOKEN && request.headers.authorization !== `Bearer ${process.env.TOKEN}`) {
    return response.writeHead(401).end()
  }
  let transport = sessions.get(request.headers['mcp-session-id'])
  if (request.headers['mcp-session-id'] && !transport) return response.writeHead(404).end()
  if (!transport) {
    transport = new StreamableHTTPServerTransport({
      sessionIdGenerator: randomUUID,
      enableJsonResponse: process.env.AS === 'json',
      onsessioninitialized: id => sessions.set(id, transport),
    })
    await served().connect(transport)
  }
  await transport.handleRequest(request, response)
}

const http = createServer((request, response) => {
  if (request.url === '/away') return response.writeHead(307, { location: '/mcp' }).end()
  // Forgets every session, as a server that is started anew.
  if (request.url === '/forget') return response.end(String(sessions.clear()))
  answer(request, response).catch(error => response.writeHead(500).end(String(error)))
})
http.listen(0, '127.0.0.1', () => console.log(`port ${http.address().port}`))
