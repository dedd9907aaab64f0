// The page's whole story in a headless Chromium.
//   node story.mjs URL CHROMIUM SCREENSHOT
// The model behind the API echoes, word by word. Ends with 0 when all of it went as told.
import assert from 'node:assert/strict';
import puppeteer from 'puppeteer-core';

const [url, executablePath, screenshot] = process.argv.slice(2);
const browser = await puppeteer.launch({
  executablePath, headless: true, args: ['--no-sandbox', '--disable-dev-shm-usage', '--disable-gpu'],
});
const page = await browser.newPage();
page.setDefaultTimeout(60_000);
const faults = [];
page.on('pageerror', (error) => faults.push(String(error)));
page.on('console', (message) => { if (message.type() === 'error') faults.push(message.text()); });
page.on('dialog', (dialog) => (dialog.type() === 'prompt' ? dialog.accept('Renamed') : dialog.accept()));

const words = (n) => Array.from({ length: n }, (_, i) => `word${i}`).join(' ');
const seen = () => page.$$eval('.message', (all) => all.map((item) => ({
  id: item.dataset.id,
  role: item.classList.contains('user') ? 'user' : 'assistant',
  writing: item.classList.contains('writing'),
  text: [...item.querySelectorAll('.text .text')].map((part) => part.textContent).join(''),
  status: item.querySelector('.status')?.textContent ?? '',
})));
const until = (what, condition, ...args) => page.waitForFunction(condition, {}, ...args)
  .catch(async (error) => {
    await page.screenshot({ path: screenshot });
    const notice = await page.$eval('#notice', (p) => p.textContent);
    throw new Error(`${what}: ${error.message}; notice: ${notice}; seen: ${JSON.stringify(await seen()).slice(0, 800)}`);
  });
const ready = () => until('the page is ready', () => document.body.dataset.ready === 'true');
const idle = () => until('nothing is being written', () => document.body.dataset.busy === 'false');
const writing = (least) => until('a reply is being written',
  (n) => document.querySelector('.message.writing .text .text')?.textContent.length > n, least);
async function say(text) {
  await page.focus('#input');
  await page.$eval('#input', (input, value) => { input.value = value; }, text);
  await page.keyboard.press('Enter');
}
const act = (place, action) => page.evaluate((n, name) =>
  document.querySelectorAll('.message')[n].querySelector(`[data-action=${name}]`).click(), place, action);
const step = (name) => console.log(name);

try {
  await page.setViewport({ width: 1100, height: 800 });
  await page.goto(url);
  await ready();

  step('a message is sent with Enter and its reply streams in');
  await say(words(12));
  await until('the question is there', () => document.querySelectorAll('.message.user').length === 1);
  await idle();
  await until('the reply is there', () => document.querySelectorAll('.message.assistant .text .text').length === 1);
  let all = await seen();
  assert.deepEqual(all.map((m) => m.role), ['user', 'assistant']);
  assert.ok(all[1].text.includes('word11'), all[1].text);
  assert.ok(new URL(page.url()).hash.length > 1, 'the address names the chat');
  await until('the list has it', () => document.querySelectorAll('#list button').length === 1);

  step('Shift+Enter is a new line');
  await page.focus('#input');
  await page.keyboard.type('a');
  await page.keyboard.down('Shift');
  await page.keyboard.press('Enter');
  await page.keyboard.up('Shift');
  assert.equal(await page.$eval('#input', (input) => input.value), 'a\n');
  await page.$eval('#input', (input) => { input.value = ''; });

  step('a reply is stopped with Esc and keeps what it said');
  await say(words(1_200));
  await writing(40);
  await page.keyboard.press('Escape');
  await idle();
  await page.reload();
  await ready();
  all = await seen();
  assert.equal(all.length, 4);
  assert.equal(all[3].status, '(stopped)');
  assert.ok(all[3].text.includes('word3') && !all[3].text.includes('word1199'));

  step('after a reload in its middle a reply goes on to its end');
  await say(words(400));
  await writing(40);
  await page.reload();
  await writing(40);
  await idle();
  await until('the end is there', () => [...document.querySelectorAll('.message')].at(-1).textContent.includes('word399'));
  all = await seen();
  assert.equal(all.length, 6, 'nothing is there twice');
  const live = all[5].text;
  assert.equal(live.split('word399').length, 2, 'no text is doubled');
  await page.reload();
  await ready();
  assert.equal((await seen())[5].text, live, 'stored as it was shown');

  step('a vote is cast and is there after a reload');
  await act(1, 'up');
  const pressed = () => page.$$eval('.message', (items) => items[1].querySelector('[data-action=up]').getAttribute('aria-pressed'));
  await until('the vote shows', () => document.querySelectorAll('.message')[1].querySelector('[data-action=up]').getAttribute('aria-pressed') === 'true');
  await page.reload();
  await ready();
  assert.equal(await pressed(), 'true');

  step('another reply is asked for');
  const first = (await seen())[5].id;
  await act(5, 'regenerate');
  await until('the new reply begins', () => document.body.dataset.busy === 'true');
  await idle();
  await until('the new reply is there', (old) => {
    const last = [...document.querySelectorAll('.message')].at(-1);
    return last.classList.contains('assistant') && last.dataset.id !== old;
  }, first);
  assert.equal((await seen()).length, 6);

  step('a message is edited and what followed it is replaced');
  await act(0, 'edit');
  assert.ok((await page.$eval('#input', (input) => input.value)).startsWith('word0'));
  await say('edited text');
  await until('the edit is answered', () => document.querySelectorAll('.message').length === 2 && document.body.dataset.busy === 'false');
  await page.reload();
  await ready();
  all = await seen();
  assert.equal(all.length, 2);
  assert.equal(all[0].text, 'edited text');
  assert.ok(all[1].text.includes('edited text'));

  step('light and dark, and the choice stays');
  const theme = () => page.$eval(':root', (root) => [root.dataset.theme, getComputedStyle(document.body).backgroundColor]);
  const [before, colour] = await theme();
  await page.click('#theme');
  const [after, other] = await theme();
  assert.notEqual(before, after);
  assert.notEqual(colour, other);
  await page.reload();
  await ready();
  assert.equal((await theme())[0], after);
  await page.screenshot({ path: screenshot });

  step('a telephone\'s width needs no sideways scrolling, and the list opens');
  await page.setViewport({ width: 390, height: 800, isMobile: true, hasTouch: true });
  await page.reload();
  await ready();
  assert.deepEqual(await page.evaluate(() => [document.documentElement.scrollWidth, innerWidth]), [390, 390]);
  assert.equal(await page.$eval('#side', (side) => getComputedStyle(side).visibility), 'hidden');
  await page.click('#menu');
  await until('the list is open', () => getComputedStyle(document.querySelector('#side')).visibility === 'visible');
  await page.screenshot({ path: screenshot.replace(/\.png$/, '-phone.png') });
  await page.setViewport({ width: 1100, height: 800 });
  await page.reload();
  await ready();

  step('Ctrl+K begins a new chat');
  await page.keyboard.down('Control');
  await page.keyboard.press('k');
  await page.keyboard.up('Control');
  await until('the new chat is empty', () => document.querySelectorAll('.message').length === 0);
  await say('a second chat');
  await until('both are listed', () => document.querySelectorAll('#list button').length === 2);
  await idle();

  step('a chat is renamed and deleted');
  await page.click('#rename');
  await until('it has its name', () => document.querySelector('#title').textContent === 'Renamed');
  await page.click('#delete');
  await until('one is left', () => document.querySelectorAll('#list button').length === 1 && document.querySelectorAll('.message').length === 0);
  await page.click('#list button');
  await until('the other is open', () => document.querySelectorAll('.message').length === 2);

  assert.deepEqual(faults, [], 'the page reports no errors');
  console.log('the story is told');
} catch (error) {
  console.error(error.stack ?? error);
  console.error(`the page reported: ${JSON.stringify(faults)}`);
  process.exitCode = 1;
} finally {
  await browser.close();
}
