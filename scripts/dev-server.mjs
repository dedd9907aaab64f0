// What a blog's own server does, for this machine alone: serves the chat page, mints a visitor's token, and passes /api and /sql on,
// streams included, so that the page and the API have one origin.
//   node scripts/dev-server.mjs --port PORT --api URL --key KEYFILE [--visitor SUBJECT]
// With --port 0 a free port is taken; the address is printed. With --token-url URL tokens are fetched instead of minted.
import { execFileSync } from 'node:child_process';
import { createReadStream, existsSync } from 'node:fs';
import { createServer, request } from 'node:http';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';

const { values: options } = parseArgs({
  options: {
    port: { type: 'string' }, api: { type: 'string' }, key: { type: 'string' }, visitor: { type: 'string', default: 'visitor-1' },
    'token-url': { type: 'string' },
  },
});
if (!options.port || !options.api || !(options.key || options['token-url'])) {
  console.error('usage: dev-server.mjs --port PORT --api URL --key KEYFILE [--visitor SUBJECT]');
  process.exit(2);
}
const here = dirname(fileURLToPath(import.meta.url));
const files = {
  '/': ['index.html', 'text/html; charset=utf-8'],
  '/style.css': ['style.css', 'text/css; charset=utf-8'],
  '/chat.js': ['chat.js', 'text/javascript; charset=utf-8'],
  '/api.js': ['api.js', 'text/javascript; charset=utf-8'],
};

async function token() {
  if (options['token-url']) return (await fetch(options['token-url'])).text();
  const script = join(here, 'mint-token.mjs');
  return execFileSync(process.execPath, [script, 'token', options.key, options.visitor, '300'], { encoding: 'utf8' }).trim();
}

function pass(incoming, outgoing) {
  const onward = request(new URL(incoming.url, options.api), { method: incoming.method, headers: incoming.headers }, (answer) => {
    outgoing.writeHead(answer.statusCode, answer.headers);
    outgoing.flushHeaders();
    answer.pipe(outgoing);
    answer.on('error', () => outgoing.destroy());
  });
  onward.on('error', () => {
    if (!outgoing.headersSent) outgoing.writeHead(502, { 'content-type': 'application/problem+json' });
    outgoing.end(JSON.stringify({ code: 'bad_gateway', message: 'the functions do not answer', requestId: '' }));
  });
  outgoing.on('close', () => onward.destroy());
  incoming.pipe(onward);
}

const server = createServer(async (incoming, outgoing) => {
  const path = new URL(incoming.url, 'http://localhost').pathname;
  if (path.startsWith('/api/') || path === '/sql') return pass(incoming, outgoing);
  if (path === '/token' && incoming.method === 'POST') {
    outgoing.writeHead(200, { 'content-type': 'application/json', 'cache-control': 'no-store' });
    return outgoing.end(JSON.stringify({ token: await token() }));
  }
  const [name, type] = files[path] ?? [];
  const file = name && join(here, '../examples/blog', name);
  if (!file || !existsSync(file)) return outgoing.writeHead(404).end();
  outgoing.writeHead(200, {
    'content-type': type,
    'content-security-policy': "default-src 'self'; img-src 'self' data:; frame-ancestors 'none'",
    'cache-control': 'no-store',
  });
  return createReadStream(file).pipe(outgoing);
});
server.listen(Number(options.port), '127.0.0.1', () => console.log(`http://127.0.0.1:${server.address().port}/`));
