// What is too large for a message. Only where the site has a bucket; an upload has at most 8,000,000 bytes there, and a day 40,000,000.
import assert from 'node:assert/strict';
import { picture } from './files.mjs';

const MOST = 8_000_000;
/** Bytes a second: an upload of some megabytes is on its way as long as a story looks at it. */
const SLOW = 20_000;

const pdf = (name, size) => ({
  name, mimeType: 'application/pdf', buffer: Buffer.concat([Buffer.from('%PDF-1.4\n'), Buffer.alloc(size - 9, 0xe2)]),
});
const text = (name, size) => ({ name, mimeType: 'text/plain', buffer: Buffer.from('a line\n'.repeat(size / 7)) });

const isUpload = (request) => request.method() === 'PUT';
const attached = (visit) => visit.page.getByRole('list', { name: 'Attachments' }).getByRole('listitem');
const progress = (visit) => visit.page.getByRole('progressbar');

/** Chooses files, and waits until all of them may be sent. */
async function attach(visit, ...files) {
  const before = await attached(visit).count();
  await visit.test('files').setInputFiles(files);
  await attached(visit).nth(before + files.length - 1).waitFor();
  await visit.until('all is uploaded', () =>
    document.querySelector('[data-test=attachment]') && !document.querySelector('[data-test=obstacle]'));
}

/** The browser's own protocol, for what a story does to the network. */
const devtools = (visit) => visit.context.newCDPSession(visit.page);

async function slow(visit) {
  const session = await devtools(visit);
  await session.send('Network.enable');
  const conditions = (uploadThroughput) => session.send('Network.emulateNetworkConditions', {
    offline: false, latency: 0, downloadThroughput: -1, uploadThroughput,
  });
  await conditions(SLOW);
  return { end: () => conditions(-1) };
}

const underWay = (visit) => visit.until('some of it is on its way', () => {
  const [bar] = document.querySelectorAll('progress');
  return bar && bar.value > 0 && bar.value < 1;
});

const shown = (visit, count) => visit.until('the pictures are shown', (least) => {
  const pictures = [...document.querySelectorAll('article[data-role=user] [data-test=file] img')];
  return pictures.length === least && pictures.every((one) => one.complete && one.naturalWidth > 1);
}, count);

async function parts(visit) {
  const [question] = (await visit.stored()).messages;
  return question.parts.filter(({ type }) => type === 'file');
}

/** What the bucket has. */
async function bytes(visit, part) {
  const response = await visit.context.request.get(visit.url + part.url, {
    headers: { authorization: `Bearer ${visit.token}`, accept: 'application/json' },
  });
  const found = await visit.context.request.get((await response.json()).url);
  assert.equal(found.status(), 200);
  assert.equal(found.headers()['content-type'], part.mediaType);
  return found.body();
}

const paste = (field, [name, content]) => field.evaluate((element, [called, words]) => {
  const clipboardData = new DataTransfer();
  clipboardData.items.add(new File([words], called, { type: 'text/plain' }));
  element.dispatchEvent(new ClipboardEvent('paste', { clipboardData, bubbles: true, cancelable: true }));
}, [name, content]);

const drop = (field, [name, content]) => field.evaluate((element, [called, words]) => {
  const dataTransfer = new DataTransfer();
  dataTransfer.items.add(new File([words], called, { type: 'text/markdown' }));
  element.dispatchEvent(new DragEvent('drop', { dataTransfer, bubbles: true, cancelable: true }));
}, [name, content]);

export const stories = {
  'a picture that is larger than a model takes is made smaller before it is uploaded': {
    async tell(visit) {
      const photo = picture('photo.png', 1700);
      assert.ok(photo.buffer.length > MOST);
      await visit.open();
      await attach(visit, photo);
      await visit.ask('what is this?');
      const [part] = await parts(visit);
      assert.deepEqual([part.filename, part.mediaType], ['photo.png', 'image/jpeg']);
      const uploaded = await bytes(visit, part);
      assert.ok(uploaded.length > 256 * 1024 && uploaded.length <= 3_700_000, uploaded.length);
      assert.deepEqual([...uploaded.subarray(0, 3)], [0xff, 0xd8, 0xff]);
      await shown(visit, 1);
    },
  },

  'a picture of some megabytes and a PDF are uploaded, told to the model, shown, opened, and there after a reload': {
    async tell(visit) {
      const [large, manual] = [picture('large.png', 1100), pdf('manual.pdf', 300_000)];
      assert.ok(large.buffer.length > 3_000_000);
      await visit.open();
      await attach(visit, large, manual, picture('small.png', 8));
      await visit.accessible('uploaded files');
      await visit.picture('uploads');
      await visit.ask('what are these?');
      const told = await visit.replies.first().innerText();
      assert.ok(told.includes(`(image/png, ${large.buffer.length} bytes)`), told);
      assert.ok(told.includes(`(manual.pdf, ${manual.buffer.length} bytes)`), told);

      const [first, second, third] = await parts(visit);
      for (const [part, file] of [[first, large], [second, manual]]) {
        assert.match(part.url, /^\/api\/uploads\/[\w-]+$/);
        assert.deepEqual([part.filename, part.mediaType], [file.name, file.mimeType]);
        assert.ok((await bytes(visit, part)).equals(file.buffer), file.name);
      }
      assert.match(third.url, /^data:image\/png/, 'what fits is not uploaded');

      await shown(visit, 1);
      await visit.page.reload();
      await shown(visit, 1);
      await visit.accessible('a message with uploads');
      await visit.picture('uploads-sent');
      await visit.colour('dark');
      await visit.picture('uploads-sent-dark');
      for (const name of ['large.png', 'manual.pdf']) {
        const [read] = await Promise.all([
          visit.context.waitForEvent('request', (request) => request.isNavigationRequest() && request.url().includes('X-Amz-Signature')),
          visit.page.getByRole('button', { name: `Open ${name}` }).click(),
        ]);
        assert.equal(new URL(read.url()).searchParams.get('response-content-disposition'), `inline; filename*=UTF-8''${name}`);
        assert.equal((await visit.context.request.get(read.url())).status(), 200);
      }
    },
  },

  'a text that is too long for a message is uploaded, chosen, pasted or dropped': {
    async tell(visit) {
      const words = 'many words. '.repeat(2000);
      await visit.open();
      await attach(visit, text('log.txt', 70_000));
      await paste(visit.field, ['pasted.txt', words]);
      await attached(visit).nth(1).waitFor();
      await drop(visit.field, ['dropped.md', words]);
      await attached(visit).nth(2).waitFor();
      await visit.until('all is uploaded', () => !document.querySelector('[data-test=obstacle]'));
      await visit.ask('[[words 3]] read these');
      const found = await parts(visit);
      assert.deepEqual(found.map(({ filename, mediaType }) => [filename, mediaType]), [
        ['log.txt', 'text/plain'], ['pasted.txt', 'text/plain'], ['dropped.md', 'text/markdown'],
      ]);
      assert.equal(String(await bytes(visit, found[2])), words);
    },
  },

  'what is too large, of another kind, or more than the day has left is refused with a sentence': {
    async tell(visit) {
      await visit.open();
      await visit.test('files').setInputFiles([
        pdf('large.pdf', MOST + 100_000),
        { name: 'program.bin', mimeType: 'application/octet-stream', buffer: Buffer.from([0, 159, 146, 150]) },
        { name: 'empty.pdf', mimeType: 'application/pdf', buffer: Buffer.alloc(0) },
        { name: 'broken.png', mimeType: 'image/png', buffer: Buffer.alloc(400_000, 1) },
      ]);
      await visit.page.getByText('“large.pdf” is too large: it has 7.8 MB, and a file may have 7.6 MB.').waitFor();
      await visit.page.getByText('“program.bin” is neither a picture (PNG, JPEG, GIF, WebP), a PDF nor a text.').waitFor();
      await visit.page.getByText('“empty.pdf” is empty.').waitFor();
      await visit.page.getByText('“broken.png” is not a picture that can be read.').waitFor();
      assert.equal(await attached(visit).count(), 0);

      const spent = { mediaType: 'application/pdf', size: MOST };
      for (let i = 0; i < 5; i += 1) await visit.api('POST', '/api/uploads', spent);
      await visit.test('files').setInputFiles([pdf('one-more.pdf', 1000)]);
      await visit.page.getByText('This is more than is left of today\'s allowance for files.').waitFor();
      assert.ok(await visit.test('submit').isDisabled());
      await visit.accessible('a refused upload');
      await visit.picture('upload-refused');
      await visit.page.getByRole('button', { name: 'Remove one-more.pdf' }).click();
      await visit.ask('without it');
    },
  },

  'files that cost more than the day has left go back into the field, and the message goes without one of them': {
    async tell(visit) {
      await visit.open();
      await attach(visit, pdf('one.pdf', 7_000_000), pdf('two.pdf', 7_000_000));
      await visit.say('[[words 3]] compare these');
      await visit.page.getByText('This needs more than is left of today\'s allowance.').waitFor();
      await visit.until('the text is back', () => document.querySelector('textarea').value.endsWith('compare these'));
      assert.equal(await attached(visit).count(), 2);
      await visit.page.getByRole('button', { name: 'Remove two.pdf' }).click();
      await visit.ask('[[words 3]] read this');
      assert.deepEqual((await parts(visit)).map(({ filename }) => filename), ['one.pdf']);
    },
  },

  'an upload that is removed on its way ends, and the message goes without it': {
    async tell(visit) {
      await visit.open();
      await slow(visit);
      await visit.test('files').setInputFiles([picture('large.png', 1100)]);
      await underWay(visit);
      await visit.test('obstacle').waitFor();
      assert.equal(await progress(visit).getAttribute('aria-label'), 'Upload of large.png');
      assert.equal(await visit.test('upload-announcement').innerText(), 'large.png is being uploaded.');
      await visit.say('not yet');
      assert.equal(await visit.messages.count(), 0, 'it waits');
      await visit.accessible('an upload on its way');
      await visit.picture('uploading');
      await visit.page.setViewportSize({ width: 320, height: 700 });
      await visit.settled();
      assert.equal(await visit.page.evaluate(() => document.documentElement.scrollWidth), 320);
      await visit.colour('dark');
      await visit.picture('uploading-narrow-dark');
      const [ended] = await Promise.all([
        visit.page.waitForEvent('requestfailed', isUpload),
        visit.page.getByRole('button', { name: 'Remove large.png' }).click(),
      ]);
      assert.match(ended.failure().errorText, /ERR_ABORTED/);
      assert.equal((await visit.context.request.get(ended.url().split('?')[0])).status(), 403, 'it cannot be had');
      await visit.ask('without it');
      assert.deepEqual(await parts(visit), []);
    },
  },

  'a network that is cut is said, and the upload begins again with it': {
    async tell(visit) {
      const large = picture('large.png', 1100);
      await visit.open();
      const { end } = await slow(visit);
      await visit.test('files').setInputFiles([large]);
      await underWay(visit);
      await visit.context.setOffline(true);
      await visit.page.getByText('You are offline. This goes on once you are connected.').waitFor();
      await visit.accessible('an upload without a network');
      await visit.picture('upload-offline');
      await end();
      await visit.context.setOffline(false);
      await visit.until('it is uploaded', () => !document.querySelector('[data-test=obstacle]'));
      await visit.ask('is it there?');
      const [part] = await parts(visit);
      assert.ok((await bytes(visit, part)).equals(large.buffer));
    },
  },

  'bytes that have arrived are not sent again when their answer was lost': {
    async tell(visit) {
      const manual = pdf('manual.pdf', 300_000);
      await visit.open();
      const session = await devtools(visit);
      const statuses = [];
      session.on('Fetch.requestPaused', ({ requestId, request, responseStatusCode }) => {
        if (request.method !== 'PUT') return session.send('Fetch.continueRequest', { requestId });
        statuses.push(responseStatusCode);
        return statuses.length === 1
          ? session.send('Fetch.failRequest', { requestId, errorReason: 'ConnectionReset' })
          : session.send('Fetch.continueRequest', { requestId });
      });
      await session.send('Fetch.enable', { patterns: [{ urlPattern: '*X-Amz-Signature*', requestStage: 'Response' }] });
      await visit.test('files').setInputFiles([manual]);
      await visit.page.getByText('The connection was lost before all of it had arrived.').waitFor();
      await visit.accessible('an upload that was cut off');
      await visit.picture('upload-cut');
      await visit.page.getByRole('button', { name: 'Upload manual.pdf again' }).press('Enter');
      await visit.until('it is uploaded', () => !document.querySelector('[data-test=obstacle]'));
      assert.deepEqual(statuses, [200, 412]);
      await visit.ask('is it there?');
      const [part] = await parts(visit);
      assert.ok((await bytes(visit, part)).equals(manual.buffer));
    },
  },

  'what the bucket refuses is said, and the next try is announced anew': {
    async tell(visit) {
      await visit.open();
      await visit.context.route(/X-Amz-Signature/, (route) => (isUpload(route.request())
        ? route.fulfill({ status: 403, headers: { 'access-control-allow-origin': '*' }, body: '' })
        : route.fallback()), { times: 2 }); // the preflight is one
      const announced = [];
      visit.page.on('request', (request) => {
        if (request.method() === 'POST' && request.url().endsWith('/api/uploads')) announced.push(request);
      });
      await visit.test('files').setInputFiles([pdf('manual.pdf', 1000)]);
      await visit.page.getByText('The storage for files did not accept it.').waitFor();
      await visit.context.unroute(/X-Amz-Signature/);
      await visit.page.getByRole('button', { name: 'Upload manual.pdf again' }).click();
      await visit.until('it is uploaded', () => !document.querySelector('[data-test=obstacle]'));
      assert.equal(announced.length, 2);
      await visit.ask('is it there?');
    },
  },

  'an edit, its other version, another reply and a branch have the upload too': {
    async tell(visit) {
      const large = picture('large.png', 500);
      await visit.open();
      await attach(visit, large);
      await visit.ask('what is this?');
      const [part] = await parts(visit);
      await visit.act(visit.own.first(), 'edit');
      await visit.page.getByRole('list', { name: 'Attachments that stay' }).getByText('large.png').waitFor();
      await visit.page.getByRole('textbox', { name: 'Edit the message' }).fill('and now?');
      await visit.page.getByRole('textbox', { name: 'Edit the message' }).press('Control+Enter');
      await visit.until('the edit is answered', () => document.querySelector('article[data-role=assistant][data-id]')?.innerText.includes('and now?'));
      await visit.idle();
      assert.deepEqual(await parts(visit), [part]);
      await shown(visit, 1);
      assert.ok((await visit.replies.first().innerText()).includes(`${large.buffer.length} bytes`));

      await visit.act(visit.own.first(), 'version-before');
      await visit.until('it is the other version', () => document.querySelector('article[data-role=user]')?.innerText.includes('what is this?'));
      await shown(visit, 1);

      const before = await visit.replies.first().getAttribute('data-id');
      await visit.act(visit.replies.first(), 'regenerate');
      await visit.until('there is another reply', (id) => {
        const reply = document.querySelector('article[data-role=assistant][data-id]');
        return reply && reply.dataset.id !== id;
      }, before);
      await visit.idle();
      assert.ok((await visit.replies.first().innerText()).includes(`${large.buffer.length} bytes`));

      const id = visit.chatId;
      await visit.act(visit.replies.first(), 'fork');
      await visit.until('it is another chat', (of) => !location.hash.includes(of), id);
      await shown(visit, 1);
      await visit.ask('do you still see it?');
    },
  },

  'who reads a shared or a public chat sees that there was a file, and asks for none': {
    async tell(visit) {
      await visit.open();
      await attach(visit, picture('large.png', 500));
      await visit.ask('something to show');
      const id = visit.chatId;
      await visit.test('share').click();
      await visit.test('confirm').click();
      const link = await visit.test('link').inputValue();
      await visit.api('PATCH', `/api/chats/${id}`, { visibility: 'public' });
      const reader = Object.assign(await visit.other({ subject: `${visit.subject}-reader` }), { folder: visit.folder });
      const asked = [];
      reader.page.on('request', (request) => { if (request.url().includes('/api/uploads')) asked.push(request.url()); });
      for (const open of [() => reader.page.goto(link), () => reader.open(id)]) {
        await reader.page.goto('about:blank');
        await open();
        await reader.test('file-away').getByText('Picture', { exact: true }).waitFor();
        await reader.page.getByText('Only whoever sent this file can open it.').waitFor();
        await reader.accessible('somebody else\'s file');
      }
      await reader.picture('upload-of-another');
      assert.deepEqual(asked, []);
      await reader.end();
    },
  },

  'a URL that is over is asked for again, and a file that is gone is said': {
    async tell(visit) {
      await visit.open();
      await attach(visit, picture('large.png', 500));
      await visit.ask('look');
      await shown(visit, 1);
      // The bucket says no, as it does a minute later.
      let refused = 0;
      await visit.context.route(/X-Amz-Signature/, (route) => {
        refused += 1;
        return refused === 1 ? route.fulfill({ status: 403, body: '' }) : route.continue();
      });
      await visit.page.reload();
      await shown(visit, 1);
      assert.equal(refused, 2);

      await visit.context.unroute(/X-Amz-Signature/);
      await visit.context.route('**/api/uploads/*', (route) => route.fulfill({
        status: 404, contentType: 'application/problem+json', body: JSON.stringify({ code: 'not_found', message: 'no', requestId: 'r' }),
      }));
      await visit.page.reload();
      await visit.page.getByText('This file is no longer there.').waitFor();
      await visit.accessible('a file that is gone');
      await visit.picture('upload-gone');
    },
  },
};
