// Pictures, texts, sources, tools and models.
import assert from 'node:assert/strict';
import { randomFillSync } from 'node:crypto';
import { deflateSync } from 'node:zlib';

const crcTable = Array.from({ length: 256 }, (_, n) => Array.from({ length: 8 }).reduce((c) => (c & 1 ? 0xedb88320 ^ (c >>> 1) : c >>> 1), n));
const crc = (bytes) => (bytes.reduce((c, byte) => crcTable[(c ^ byte) & 0xff] ^ (c >>> 8), 0xffffffff) ^ 0xffffffff) >>> 0;

function chunk(type, data) {
  const body = Buffer.concat([Buffer.from(type), data]);
  const frame = Buffer.alloc(8);
  frame.writeUInt32BE(data.length, 0);
  frame.writeUInt32BE(crc(body), 4);
  return Buffer.concat([frame.subarray(0, 4), body, frame.subarray(4)]);
}

/** A PNG that does not shrink: `edge` × `edge` pixels of noise. */
function noise(edge) {
  const width = edge * 3 + 1;
  const rows = randomFillSync(Buffer.alloc(edge * width));
  for (let row = 0; row < edge; row += 1) rows[row * width] = 0; // no filter
  const head = Buffer.alloc(13);
  head.writeUInt32BE(edge, 0);
  head.writeUInt32BE(edge, 4);
  head.set([8, 2], 8);
  return Buffer.concat([Buffer.from('89504e470d0a1a0a', 'hex'), chunk('IHDR', head), chunk('IDAT', deflateSync(rows)), chunk('IEND', Buffer.alloc(0))]);
}

export const picture = (name, edge) => ({ name, mimeType: 'image/png', buffer: noise(edge) });

const stream = (...chunks) => ({
  status: 200,
  contentType: 'text/event-stream',
  body: [...chunks.map((one) => JSON.stringify(one)), '[DONE]'].map((data) => `data: ${data}\n\n`).join(''),
});

export const stories = {
  'a picture goes with a message, is made to fit, and an edit keeps it': {
    async tell(visit) {
      await visit.open();
      await visit.test('files').setInputFiles([picture('small.png', 8), picture('large.png', 700)]);
      await visit.page.getByRole('list', { name: 'Attachments' }).getByRole('img', { includeHidden: true }).nth(1).waitFor();
      await visit.accessible('attachments');
      await visit.picture('attachments');
      await visit.ask('what is this?');
      let [question] = (await visit.stored()).messages;
      assert.deepEqual(question.parts.map(({ type, mediaType }) => mediaType ?? type), ['image/png', 'image/jpeg', 'text']);
      assert.equal(await visit.own.first().locator('img').count(), 2);
      await visit.act(visit.own.first(), 'edit');
      await visit.page.getByRole('textbox', { name: 'Edit the message' }).fill('and now?');
      await visit.page.getByRole('textbox', { name: 'Edit the message' }).press('Control+Enter');
      await visit.until('the edit is answered', () => document.querySelector('article[data-role=assistant][data-id]')?.innerText.includes('and now?'));
      await visit.idle();
      [question] = (await visit.stored()).messages;
      assert.deepEqual(question.parts.map(({ type, mediaType }) => mediaType ?? type), ['image/png', 'image/jpeg', 'text']);
    },
  },

  'a picture alone can be sent, by Enter too': {
    async tell(visit) {
      await visit.open();
      await visit.test('files').setInputFiles([picture('alone.png', 8)]);
      await visit.page.getByRole('button', { name: 'Remove alone.png' }).waitFor();
      await visit.field.press('Enter');
      await visit.own.first().locator('img').waitFor();
      await visit.idle();
    },
  },

  'a text goes with a message as a file of its own, and what is neither is refused with a sentence': {
    async tell(visit) {
      await visit.open();
      await visit.test('files').setInputFiles([
        { name: 'notes.md', mimeType: 'text/markdown', buffer: Buffer.from('# Notes\n\n```js\nlet a;\n```\n') },
        { name: 'program.bin', mimeType: 'application/octet-stream', buffer: Buffer.from([0, 159, 146, 150]) },
        { name: 'huge.txt', mimeType: 'text/plain', buffer: Buffer.from('x'.repeat(20_000)) },
        { name: 'manual.pdf', mimeType: 'application/pdf', buffer: Buffer.from('%PDF-1.4\n\xe2\xe3', 'latin1') },
      ]);
      await visit.page.getByText('“program.bin” is neither a picture').waitFor();
      await visit.page.getByText('“manual.pdf” is neither a picture (PNG, JPEG, GIF, WebP) nor a text.').waitFor();
      await visit.page.getByText('“huge.txt” has more than 16,000 characters').waitFor();
      await visit.ask('read this');
      const [question] = (await visit.stored()).messages;
      assert.deepEqual(question.parts.map(({ type }) => type), ['text', 'text']);
      await visit.own.first().getByRole('button', { name: 'notes.md' }).click();
      await visit.own.first().getByText('let a;').waitFor();
      assert.ok(!(await visit.own.first().innerText()).includes('Attached file'));
      await visit.accessible('an attached text');
    },
  },

  'sources, tools and pictures of a reply are shown': {
    async tell(visit) {
      await visit.context.route('**/api/chat', (route) => route.fulfill(stream(
        { type: 'start', messageId: 'a1', messageMetadata: { createdAt: Date.now() } },
        { type: 'start-step' },
        { type: 'tool-input-available', toolCallId: 't1', toolName: 'search', input: { q: 'snapshot' } },
        { type: 'tool-output-available', toolCallId: 't1', output: { found: 2 } },
        { type: 'source-url', sourceId: 's1', url: 'https://www.example.com/isolation', title: 'Isolation levels' },
        { type: 'source-document', sourceId: 's2', mediaType: 'text/plain', title: 'The manual' },
        { type: 'text-start', id: 't' },
        { type: 'text-delta', id: 't', delta: 'Each transaction reads from one snapshot, taken when it begins.' },
        { type: 'text-end', id: 't' },
        { type: 'finish-step' },
        { type: 'finish', messageMetadata: { status: 'complete' } },
      )));
      await visit.open();
      await visit.say('how does it read?');
      const sources = visit.page.getByRole('region', { name: 'Sources' });
      await sources.getByRole('link', { name: 'Isolation levels' }).waitFor();
      await sources.getByText('The manual').waitFor();
      await visit.page.getByRole('button', { name: /search/ }).click();
      await visit.page.getByText('"found": 2').waitFor();
      await visit.accessible('sources and tools');
      await visit.pictures('sources');
    },
  },

  'a model is chosen, and stays chosen': {
    async tell(visit) {
      await visit.context.route('**/api/models', (route) =>
        route.fulfill({ json: { models: [{ id: 'echo' }, { id: 'other' }], default: 'echo' } }));
      await visit.open();
      await visit.test('model').click();
      await visit.page.getByRole('menuitemcheckbox', { name: 'other' }).click();
      await visit.page.reload();
      await visit.page.getByRole('button', { name: 'Model: other' }).waitFor();
      await Promise.all([visit.page.waitForRequest('**/api/chat'), visit.say('which are you?')]);
      assert.equal(visit.posts[0].model, 'other');
    },
  },
};
