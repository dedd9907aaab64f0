// The list of chats, and what is done with a chat.
import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { words } from './visit.mjs';

const turnsOf = (count) => Array.from({ length: count }, (_, i) => ({
  id: `m${i}`, role: i % 2 ? 'assistant' : 'user', parts: [{ type: 'text', text: `message ${i}` }],
}));

async function downloaded(visit, act) {
  const [download] = await Promise.all([visit.page.waitForEvent('download'), act()]);
  return { name: download.suggestedFilename(), text: await readFile(await download.path(), 'utf8') };
}

export const stories = {
  'a chat of more than a hundred messages shows the earlier ones when asked, where one was reading': {
    async tell(visit) {
      await visit.api('POST', '/api/chats', { id: 'long', title: 'A long chat' });
      for (const message of turnsOf(130)) await visit.api('POST', '/api/chats/long/messages', message);
      await visit.open('long');
      await visit.until('the last hundred are there', () => document.querySelectorAll('article[data-id]').length === 100);
      await visit.until('the end is in sight', () => {
        const { scrollTop, scrollHeight, clientHeight } = document.querySelector('[data-test=view]');
        return scrollHeight - clientHeight - scrollTop < 60;
      });
      await visit.pictures('long-chat');
      const oldest = visit.page.locator('article[data-id=m30]');
      await visit.test('earlier').scrollIntoViewIfNeeded();
      const before = await oldest.boundingBox();
      await visit.test('earlier').click();
      await visit.until('all are there', () => document.querySelectorAll('article[data-id]').length === 130);
      const after = await oldest.boundingBox();
      assert.ok(Math.abs(after.y - before.y) < 60, `${before.y} → ${after.y}`);
      assert.equal(await visit.test('earlier').count(), 0);
      await visit.ask('and one more');
      assert.equal(await visit.messages.count(), 132, 'they stay');
    },
  },

  'the list pages, keeps its pages after a turn, and shows the chat that is open': {
    async tell(visit) {
      for (let i = 0; i < 45; i += 1) await visit.api('POST', '/api/chats', { id: `chat-${i}`, title: `Chat number ${i}` });
      await visit.open('chat-0');
      await visit.until('the first page is there', () => document.querySelectorAll('[data-test=list] a').length >= 40);
      await visit.page.locator('[data-test=list] a[aria-current=page]', { hasText: 'Chat number 0' }).waitFor();
      await visit.test('more').click();
      await visit.until('all are there', () => document.querySelectorAll('[data-test=list] a').length === 45);
      await visit.ask('hello');
      await visit.until('it is the first', () => document.querySelector('[data-test=list] a').getAttribute('href') === '#/chat-0');
      assert.equal(await visit.listed.count(), 45);
      await visit.test('search').fill('number 44');
      await visit.until('it is found', () => document.querySelectorAll('[data-test=list] a').length === 1);
      await visit.test('search').fill('nothing like it');
      await visit.page.getByText('No title has these words.').waitFor();
      await visit.test('search').fill('');
      await visit.until('all of the first page are there', () => document.querySelectorAll('[data-test=list] a').length >= 40);
      await visit.accessible('a long list');
    },
  },

  'chats stand under the day they were last changed': {
    async tell(visit) {
      await visit.api('POST', '/api/chats', { id: 'old', title: 'An older one' });
      for (const [days, group] of [[0, 'Today'], [1, 'Yesterday'], [5, 'Previous 7 days'], [20, 'Previous 30 days']]) {
        await visit.page.clock.setFixedTime(Date.now() + days * 86_400_000);
        await visit.page.goto('about:blank');
        await visit.open();
        await visit.page.getByRole('heading', { name: group }).waitFor();
      }
    },
  },

  'a chat is renamed, pinned, archived, exported and deleted by dialogs and menus': {
    async tell(visit) {
      await visit.open();
      await visit.ask('what is kept');
      await visit.test('chat-menu').click();
      await visit.accessible('a menu', { without: ['region'] }); // it floats beside the landmarks
      await visit.choose('Rename');
      await visit.test('title-field').fill('My notes');
      await visit.accessible('the dialog of a name');
      await visit.test('title-field').press('Enter');
      await visit.page.getByRole('heading', { level: 1, name: 'My notes' }).waitFor();
      await visit.until('the title too', () => document.title === 'My notes · Chat');
      await visit.page.locator('[data-test=list] a', { hasText: 'My notes' }).waitFor();

      await visit.test('chat-menu').click();
      await visit.choose('Pin');
      await visit.page.getByRole('heading', { name: 'Pinned' }).waitFor();

      const one = await downloaded(visit, async () => {
        await visit.test('chat-menu').click();
        await visit.choose('Export as Markdown');
      });
      assert.equal(one.name, 'My-notes.md');
      assert.match(one.text, /^# My notes\n\n## You\n\nwhat is kept\n\n## Assistant\n\n/);
      const all = await downloaded(visit, () => visit.test('export').click());
      assert.equal(JSON.parse(all.text.trimEnd().split('\n').at(-1)).type, 'end');

      await visit.test('chat-menu').click();
      await visit.choose('Archive');
      await visit.until('it is out of the list', () => !document.querySelector('[data-test=list] a'));
      await visit.test('archive').click();
      await visit.page.locator('[data-test=list] a', { hasText: 'My notes' }).waitFor();
      await visit.test('chat-menu').click();
      await visit.choose('Take out of the archive');
      await visit.page.getByText('Nothing is archived.').waitFor();
      await visit.test('archive').click();
      await visit.page.locator('[data-test=list] a', { hasText: 'My notes' }).waitFor();

      const id = visit.chatId;
      await visit.test('chat-menu').click();
      await visit.choose('Delete');
      await visit.page.getByText('is deleted with all its messages').waitFor();
      await visit.page.getByRole('button', { name: 'Cancel' }).click();
      await visit.test('chat-menu').click();
      await visit.choose('Delete');
      await visit.test('confirm').click();
      await visit.test('suggestion').first().waitFor();
      await visit.until('it is out of the list', () => !document.querySelector('[data-test=list] a'));
      await visit.open(id);
      await visit.page.getByText('This chat is not here').waitFor();
    },
  },

  'a chat is shared by a link that everyone can read, until it is ended': {
    async tell(visit) {
      await visit.open();
      await visit.ask('something to show');
      await visit.test('share').click();
      await visit.test('confirm').click();
      const link = await visit.test('link').inputValue();
      assert.match(link, /#\/shared\/[\w-]{43}$/);
      await visit.accessible('a link');
      const reader = await visit.other({ subject: 'reader' });
      await reader.page.goto(link);
      await reader.page.locator('article', { hasText: 'You said: something to show' }).waitFor();
      assert.equal(await reader.page.locator('article [data-test=edit]').count(), 0, 'for reading');
      await reader.accessible('a shared chat');
      await reader.end();
      await visit.page.getByRole('button', { name: 'Done' }).click();
      await visit.test('share').click();
      await visit.page.getByRole('button', { name: 'End all links' }).click();
      await visit.page.getByRole('dialog').waitFor({ state: 'hidden' });
      await visit.page.goto('about:blank');
      await visit.page.goto(link);
      await visit.page.getByText('This link has ended').waitFor();
    },
  },

  'a chat that somebody else has made public is read, and nothing can be sent to it': {
    async tell(visit) {
      await visit.open();
      await visit.ask('something for all');
      const id = visit.chatId;
      await visit.api('PATCH', `/api/chats/${id}`, { visibility: 'public' });
      const reader = Object.assign(await visit.other({ subject: `${visit.subject}-reader` }), { folder: visit.folder });
      await reader.open(id);
      await reader.page.locator('article', { hasText: 'You said: something for all' }).waitFor();
      await reader.test('foreign').waitFor();
      assert.equal(await reader.field.count(), 0, 'there is no field');
      for (const name of ['edit', 'regenerate', 'vote-up', 'share', 'chat-menu']) {
        assert.equal(await reader.test(name).count(), 0, name);
      }
      assert.equal(await reader.listed.count(), 0, 'it is not listed as their own');
      await reader.accessible('a public chat');
      await reader.picture('public');
      await reader.page.getByRole('button', { name: 'a chat of your own' }).click();
      await reader.ask('my own words');
      assert.notEqual(reader.chatId, id);
      assert.equal(await reader.listed.count(), 1);
      await reader.end();
      assert.equal((await visit.stored(id)).messages.length, 2);
    },
  },

  'a chat that is left during its first reply is listed, and its reply is there later': {
    async tell(visit) {
      await visit.open();
      await visit.say(`[[delay 60]] ${words(80)}`);
      await visit.writing();
      await visit.test('new').click();
      await visit.test('suggestion').first().waitFor();
      assert.equal(await visit.listed.count(), 1);
      await visit.listed.first().click();
      await visit.until('its reply is there', () => document.querySelector('article[data-role=assistant][data-id]')?.innerText.includes('word79'));
      await visit.idle();
      assert.equal(await visit.messages.count(), 2);
    },
  },

  'the chat opens from the list and by the browser\'s buttons': {
    async tell(visit) {
      await visit.open();
      await visit.ask('alpha');
      await visit.test('new').click();
      await visit.ask('beta');
      await visit.page.locator('[data-test=list] a', { hasText: 'alpha' }).click();
      await visit.page.locator('article[data-role=user]', { hasText: 'alpha' }).waitFor();
      await visit.page.goBack();
      await visit.page.locator('article[data-role=user]', { hasText: 'beta' }).waitFor();
      await visit.page.locator('[data-test=list] a[aria-current=page]', { hasText: 'beta' }).waitFor();
    },
  },
};
