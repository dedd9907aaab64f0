// Light and dark, the other direction of writing, forced colours.
import assert from 'node:assert/strict';

const background = (visit) => visit.page.evaluate(() => getComputedStyle(document.body).backgroundColor);
const isDark = (visit) => visit.page.evaluate(() => document.documentElement.classList.contains('dark'));

async function choose(visit, theme) {
  await visit.test('theme').click();
  await visit.page.getByRole('menuitemcheckbox', { name: theme }).click();
}

const QUESTION = 'Two visitors clap for the same post at the same moment. What does Aurora DSQL do?';
const REPLY = `Neither of them waits. Each transaction reads its own **snapshot** and writes without a lock; who commits second is told that \
the row has changed:

\`\`\`sql
UPDATE posts SET claps = claps + 1 WHERE id = 42;
COMMIT;  -- ERROR 40001: change conflicts with another transaction
\`\`\`

So the second one runs again, with a little *jitter* before it:

| | With locks | In DSQL |
|---|---|---|
| Reads | may wait for writers | never wait |
| A conflict | queues | is found at COMMIT |
| Your code | handles deadlocks | runs the transaction again |

For a counter that many touch, add a row for each clap instead and count them when reading.`;
const CHATS = ['Titles for a post on latency', 'How long does a token last?', 'A regular expression for slugs', 'Translate the imprint'];

/** A conversation as a model would have it, stored by an import. */
async function conversation(visit) {
  for (const title of [...CHATS].reverse()) await visit.api('POST', '/api/chats', { title });
  const lines = [
    { type: 'meta', version: 1, exportedAt: new Date().toISOString() },
    { type: 'chat', id: 'claps', title: 'Two claps at the same moment' },
    { type: 'message', chatId: 'claps', id: 'q', role: 'user', parts: [{ type: 'text', text: QUESTION }] },
    { type: 'message', chatId: 'claps', id: 'a', role: 'assistant', parts: [{ type: 'text', text: REPLY }] },
    { type: 'end', chats: 1, messages: 2 },
  ];
  const response = await visit.context.request.post(`${visit.url}/api/import`, {
    headers: { authorization: `Bearer ${visit.token}`, 'content-type': 'application/x-ndjson' },
    data: lines.map((line) => JSON.stringify(line)).join('\n'),
  });
  assert.equal(response.status(), 201, await response.text());
  return (await response.json()).ids[0];
}

export const stories = {
  'a conversation looks as the documentation shows it, on a desk and on a telephone, by day and by night': {
    async tell(visit) {
      const id = await conversation(visit);
      await visit.open(id);
      await visit.replies.first().locator('pre span[style]').first().waitFor();
      await visit.accessible('a conversation');
      await visit.pictures('conversation');
    },
  },

  'the page follows the system while it is open, unless a theme was chosen, and begins in it': {
    async tell(visit) {
      await visit.open();
      await visit.test('suggestion').first().waitFor();
      const light = await background(visit);
      await visit.page.emulateMedia({ colorScheme: 'dark' });
      await visit.until('it follows', () => document.documentElement.classList.contains('dark'));
      assert.notEqual(await background(visit), light);
      await choose(visit, 'Light');
      await visit.until('it is light', () => !document.documentElement.classList.contains('dark'));
      await visit.page.reload();
      await visit.test('suggestion').first().waitFor();
      assert.equal(await isDark(visit), false);
      await visit.page.emulateMedia({ colorScheme: 'light' });
      await choose(visit, 'Dark');
      // Before the page's own script has run.
      await visit.context.route('**/assets/*.js', (route) => route.abort());
      await visit.page.reload();
      assert.equal(await isDark(visit), true);
      assert.notEqual(await background(visit), light, 'no flash');
    },
  },

  'a text that is written from right to left stands so': {
    async tell(visit) {
      await visit.open();
      await visit.ask('שלום עולם');
      const direction = (locator) => locator.evaluate((element) => getComputedStyle(element).direction);
      assert.equal(await direction(visit.own.locator('p').first()), 'rtl');
      await visit.field.fill('مرحبا');
      assert.equal(await direction(visit.field), 'rtl');
    },
  },

  'in forced colours the chat that is open can be told from the others': {
    options: { forcedColors: 'active' },
    async tell(visit) {
      await visit.api('POST', '/api/chats', { id: 'one', title: 'One' });
      await visit.api('POST', '/api/chats', { id: 'two', title: 'Two' });
      await visit.open('one');
      await visit.page.locator('[data-test=list] a[aria-current=page]').waitFor();
      const outline = (id) => visit.page.locator(`a[href="#/${id}"]`).evaluate((link) => getComputedStyle(link).outlineStyle);
      assert.equal(await outline('one'), 'solid');
      assert.equal(await outline('two'), 'none');
    },
  },
};
