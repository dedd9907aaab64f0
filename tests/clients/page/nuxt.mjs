// docs/page.md, followed literally: its files in a Nuxt project, built, served, and visited.
//   node nuxt.mjs REPOSITORY PROJECT API CHROMIUM
// PROJECT is a folder with the installed packages of tests/clients/nuxt; API answers /control/token/SUBJECT too.
// Ends with 0 when the page works there.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { generateKeyPairSync, verify } from 'node:crypto';
import { once } from 'node:events';
import { cpSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { createInterface } from 'node:readline';
import { chromium } from 'playwright-core';
import { Visit } from './visit.mjs';

const [repository, project, api, executablePath] = process.argv.slice(2);
const guide = readFileSync(path.join(repository, 'docs/page.md'), 'utf8');

// The packages that the guide names are those that are there.
const named = /^npm install (.+)$/m.exec(guide)[1].split(' ').map((one) => one.replace(/(?<=.)@.*/, ''));
const { dependencies } = JSON.parse(readFileSync(path.join(project, 'package.json'), 'utf8'));
assert.deepEqual([...named, 'nuxt', 'vue'].sort(), Object.keys(dependencies).sort());

for (const folder of ['app', 'server', '.nuxt', '.output']) rmSync(path.join(project, folder), { recursive: true, force: true });
for (const [, text] of guide.matchAll(/```(?:ts|css|vue)\n([\s\S]*?)```/g)) {
  const file = path.join(project, /^(?:\/\/|\/\*|<!--)\s*(\S+)/.exec(text)[1]);
  mkdirSync(path.dirname(file), { recursive: true });
  writeFileSync(file, text);
}
cpSync(path.join(repository, 'examples/blog/src/chat'), path.join(project, 'app/chat'), { recursive: true });

const { privateKey, publicKey } = generateKeyPairSync('ed25519');
const env = {
  ...process.env,
  API_URL: api,
  AUTH_ISSUER: 'http://localhost',
  AUTH_AUDIENCE: 'chat',
  SIGNING_KEY_ID: 'blog-1',
  SIGNING_KEY: privateKey.export({ type: 'pkcs8', format: 'pem' }),
  HOST: '127.0.0.1',
  PORT: '0',
  NUXT_TELEMETRY_DISABLED: '1',
};
const start = (script, ...rest) => spawn(process.execPath, [script, ...rest], { cwd: project, env, stdio: ['ignore', 'pipe', 'inherit'] });

const build = start('node_modules/nuxt/bin/nuxt.mjs', 'build');
build.stdout.resume();
const [status] = await once(build, 'exit');
assert.equal(status, 0, 'it builds');

const server = start('.output/server/index.mjs');
const browser = await chromium.launch({ executablePath, headless: true, args: ['--no-sandbox', '--disable-dev-shm-usage', '--disable-gpu'] });
try {
  let url;
  for await (const line of createInterface(server.stdout)) {
    url = /http:\/\/127\.0\.0\.1:\d+/.exec(line)?.[0];
    if (url) break;
  }
  const { token } = await (await fetch(`${url}/token`, { method: 'POST' })).json();
  const [head, claims, signature] = token.split('.');
  assert.ok(verify(null, Buffer.from(`${head}.${claims}`), publicKey, Buffer.from(signature, 'base64url')), 'its token is signed');
  assert.equal(JSON.parse(Buffer.from(claims, 'base64url')).anon, true);

  // From here on with a visitor whose key the API knows.
  const visit = await Visit.begin(browser, api, { subject: 'nuxt' });
  visit.url = url;
  await visit.page.goto(`${url}/chat`);
  await visit.ask('Hello **Nuxt**\n\n```sql\nCOMMIT;\n```');
  const reply = visit.replies.first();
  await reply.locator('pre span[style]').first().waitFor();
  assert.equal(await reply.locator('strong').innerText(), 'Nuxt');
  const { pathname } = new URL(visit.page.url());
  assert.equal(pathname, '/chat');
  await visit.say(`[[delay 60]] ${Array.from({ length: 200 }, (_, i) => `word${i}`).join(' ')}`);
  await visit.writing(60);
  await visit.page.reload();
  await visit.until('the reply goes on to its end', () => {
    const all = [...document.querySelectorAll('article[data-id]')];
    return all.length === 4 && all[3].innerText.includes('word199'); // the question has the word too
  });
  await visit.idle();
  assert.equal(await visit.messages.count(), 4);
  await visit.test('new').click();
  await visit.test('suggestion').first().waitFor();
  await visit.listed.first().click();
  await visit.messages.nth(3).waitFor();
  await visit.end();
  console.log('the page works in a Nuxt project');
} finally {
  await browser.close();
  server.kill();
}
