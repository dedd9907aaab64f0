// A visit to the page: a browser's window with a visitor of its own, and what the stories do and see there.
import assert from 'node:assert/strict';
import path from 'node:path';
import AxeBuilder from '@axe-core/playwright';

/** Only what never comes takes this long: the browser shares its processors with other tests. */
const LIMIT_MS = 60_000;

/** What the page itself reports; a request that fails because the network was cut is the story's own doing. */
const isExpected = (text) => /Failed to load resource|net::ERR_/.test(text);

export class Visit {
  /** @param {object} options `subject`: who visits; the rest goes to the browser's context */
  static async begin(browser, url, { subject, ...options }) {
    const context = await browser.newContext({ viewport: { width: 1280, height: 800 }, acceptDownloads: true, ...options });
    context.setDefaultTimeout(LIMIT_MS);
    const visit = new Visit(context, url, subject);
    visit.token = await (await context.request.get(`${url}/control/token/${subject}`)).text();
    await context.route('**/token', (route) => route.fulfill({ json: { token: visit.token } }));
    visit.page = await context.newPage();
    visit.watch(visit.page);
    return visit;
  }

  constructor(context, url, subject) {
    Object.assign(this, { context, url, subject, faults: [], posts: [] });
  }

  watch(page) {
    page.on('pageerror', (error) => this.faults.push(String(error.stack ?? error)));
    page.on('console', (message) => {
      if (message.type() === 'error' && !isExpected(message.text())) this.faults.push(message.text());
    });
    page.on('request', (request) => {
      if (request.method() === 'POST' && new URL(request.url()).pathname === '/api/chat') this.posts.push(request.postDataJSON());
    });
  }

  async end() {
    await this.context.close();
    assert.deepEqual(this.faults, [], 'the page reports no errors');
  }

  open(hash = '') {
    return this.page.goto(`${this.url}/${hash ? `#/${hash}` : ''}`);
  }

  /** The API as this visitor. */
  async api(method, path, data) {
    const response = await this.context.request.fetch(this.url + path, {
      method, headers: { authorization: `Bearer ${this.token}` }, ...(data === undefined ? {} : { data }),
    });
    assert.ok(response.ok(), `${method} ${path}: ${response.status()} ${await response.text()}`);
    return response.status() === 204 ? undefined : response.json();
  }

  get chatId() {
    return new URL(this.page.url()).hash.slice(2);
  }

  stored(id = this.chatId) {
    return this.api('GET', `/api/chats/${id}`);
  }

  // --- what is there

  test(name) {
    return this.page.locator(`[data-test="${name}"]`);
  }

  get field() {
    return this.page.getByRole('textbox', { name: 'Message', exact: true });
  }

  get messages() {
    return this.page.locator('article[data-id]');
  }

  get own() {
    return this.page.locator('article[data-role=user]');
  }

  get replies() {
    return this.page.locator('article[data-role=assistant][data-id]');
  }

  get listed() {
    return this.test('list').getByRole('link');
  }

  /** Waits until it holds, and says what did not. */
  async until(what, condition, argument) {
    await this.page.waitForFunction(condition, argument, { timeout: LIMIT_MS }).catch((error) => {
      throw new Error(`${what}: ${error.message}`);
    });
  }

  idle() {
    return this.until('nothing is being written', () =>
      !document.querySelector('article[data-writing], [data-test=thinking]')
      && document.querySelector('[data-test=submit]')?.getAttribute('aria-label') === 'Send');
  }

  writing(least = 1) {
    return this.until('a reply is being written', (length) =>
      document.querySelector('article[data-writing]')?.textContent.length > length, least);
  }

  // --- what is done

  async say(text) {
    await this.field.fill(text);
    await this.field.press('Enter');
  }

  /** One turn, to its end. */
  async ask(text) {
    const before = await this.replies.count();
    await this.say(text);
    await this.replies.nth(before).waitFor();
    await this.idle();
  }

  /** The chat does not load, once, before what this gives is called. */
  async holdChat(id) {
    let release;
    const held = new Promise((resolve) => { release = resolve; });
    await this.context.route(`**/api/chats/${id}`, async (route) => {
      await held;
      await route.continue();
    }, { times: 1 });
    return release;
  }

  async act(message, name) {
    await message.hover();
    await message.locator(`[data-test="${name}"]`).click();
  }

  async choose(item) {
    await this.page.getByRole('menuitem', { name: item }).click();
  }

  /** No violation that axe knows of, in light and in dark. */
  async accessible(what, { without = [] } = {}) {
    for (const colorScheme of ['light', 'dark']) {
      await this.colour(colorScheme);
      const { violations } = await new AxeBuilder({ page: this.page }).disableRules(without).analyze();
      const found = violations.map(({ id, nodes }) => `${id}: ${nodes.slice(0, 3).map((node) => `${node.html} ${node.failureSummary}`).join('\n')}`);
      assert.deepEqual(found, [], `${what}, ${colorScheme}`);
    }
    await this.colour('light');
  }

  /** The system's colours, and the page in them. */
  async colour(colorScheme) {
    await this.page.emulateMedia({ colorScheme });
    await this.until(`the page is ${colorScheme}`, (name) => document.documentElement.classList.contains(name), colorScheme);
    await this.settled();
  }

  async picture(name) {
    await this.settled();
    await this.page.screenshot({ path: path.join(this.folder, `${name}.png`) });
  }

  /** On a desk and on a telephone, by day and by night. */
  async pictures(name) {
    const desk = this.page.viewportSize();
    for (const [device, size] of [['', desk], ['-phone', { width: 390, height: 844 }]]) {
      await this.page.setViewportSize(size);
      for (const [night, colour] of [['', 'light'], ['-dark', 'dark']]) {
        await this.colour(colour);
        await this.picture(`${name}${device}${night}`);
      }
    }
    await this.colour('light');
    await this.page.setViewportSize(desk);
  }

  /** Every transition has ended. Looked at, not waited for by `finished`: of a transition whose element goes that may never settle. */
  settled() {
    return this.until('every transition has ended', () => document.getAnimations().every((animation) =>
      animation.playState !== 'running' || animation.effect?.getComputedTiming().iterations === Infinity));
  }
}

/** Numbered words, which an echo repeats. */
export const words = (count) => Array.from({ length: count }, (_, i) => `word${i}`).join(' ');
