// States on the way, which a page is in for a moment: axe finds nothing in them, and nothing jumps.
import assert from 'node:assert/strict';
import { words } from './visit.mjs';

const height = (locator) => locator.evaluate((element) => element.getBoundingClientRect().height);

export const stories = {
  'a reply is accessible before its first word, while it is written, stopped and failed': {
    async tell(visit) {
      await visit.open();
      await visit.say('[[accept 25000]] never mind');
      await visit.test('thinking').waitFor();
      await visit.until('it is stored', () => location.hash.length > 2);
      await visit.accessible('a reply that was asked for');
      await visit.field.press('Escape');
      await visit.page.getByText('You stopped the reply before it began.').waitFor();
      await visit.accessible('a reply that never began');
      await visit.test('new').click(); // the model is shown messages without an answer as one
      await visit.test('suggestion').first().waitFor();
      await visit.say(`[[delay 20]] ${words(1500)}`);
      await visit.writing(60);
      await visit.accessible('a reply on its way');
      await visit.field.press('Escape');
      await visit.test('ending').waitFor();
      await visit.accessible('a stopped reply');
      await visit.ask(`[[fail 3]] ${words(10)}`);
      await visit.accessible('a failed reply');
    },
  },

  'a chat is accessible while it loads, while a message waits for it, and where one has scrolled away': {
    async tell(visit) {
      await visit.open();
      await visit.ask(Array.from({ length: 60 }, (_, i) => `line ${i}`).join('\n\n'));
      const release = await visit.holdChat(visit.chatId);
      await visit.page.reload();
      await visit.page.getByRole('status', { name: 'Loading the chat', exact: true }).waitFor();
      await visit.accessible('a chat that loads');
      await visit.say('second');
      await visit.page.getByText('second', { exact: true }).waitFor();
      await visit.accessible('a message that waits');
      release();
      await visit.until('both are answered', () => document.querySelectorAll('article[data-id]').length === 4);
      await visit.idle();
      await visit.test('view').hover();
      await visit.page.mouse.wheel(0, -700);
      await visit.test('to-end').waitFor();
      await visit.accessible('the way back to the end');
    },
  },

  'what is asked, told and not found is accessible': {
    async tell(visit) {
      await visit.context.route('**/api/models', (route) =>
        route.fulfill({ json: { models: [{ id: 'echo' }, { id: 'other' }], default: 'echo' } }));
      await visit.open();
      await visit.test('model').click();
      await visit.page.getByRole('menuitemcheckbox', { name: 'other' }).waitFor();
      await visit.accessible('the models', { without: ['region'] }); // the menu floats beside the landmarks
      await visit.page.keyboard.press('Escape');
      await visit.page.getByRole('menuitemcheckbox', { name: 'other' }).waitFor({ state: 'hidden' });
      await visit.test('model').click();
      await visit.page.getByRole('menuitemcheckbox', { name: 'echo' }).click();
      await visit.ask('kept');
      await visit.test('chat-menu').click();
      await visit.choose('Delete');
      await visit.test('confirm').waitFor();
      await visit.accessible('a deletion');
      await visit.page.getByRole('button', { name: 'Cancel' }).click();
      await visit.context.route('**/votes', (route) => route.fulfill({ status: 503, body: '{"code":"unavailable"}' }), { times: 1 });
      await visit.act(visit.replies.first(), 'vote-up');
      await visit.page.getByText('Something went wrong on the server.').first().waitFor();
      await visit.accessible('a notice');
      await visit.test('search').fill('nothing like it');
      await visit.page.getByText('No title has these words.').waitFor();
      await visit.accessible('a search that finds nothing');
      await visit.test('search').fill('');
      await visit.test('archive').click();
      await visit.page.getByText('Nothing is archived.').waitFor();
      await visit.accessible('an empty archive');
      await visit.page.goto('about:blank');
      await visit.open(`shared/${'x'.repeat(43)}`);
      await visit.page.getByText('This link has ended').waitFor();
      await visit.accessible('a link that has ended');
    },
  },

  'nothing jumps when a chat gets its name, and nothing is covered by what is told': {
    async tell(visit) {
      await visit.open();
      await visit.test('suggestion').first().waitFor();
      const header = visit.page.locator('header', { has: visit.test('title') });
      const [before, { width }] = [await height(header), await visit.test('submit').boundingBox()];
      assert.ok(width < 60, `Send is ${width} px wide`);
      await visit.say(`[[fail 40]] ${Array.from({ length: 60 }, (_, i) => `line ${i}`).join('\n\n')}`);
      await visit.writing();
      assert.equal(await height(header), before, 'while it is written');
      assert.equal((await visit.test('submit').boundingBox()).width, width, 'as Stop');
      await visit.test('problem').waitFor();
      await visit.idle();
      await visit.test('share').waitFor();
      assert.equal(await height(header), before, 'with its buttons');
      await visit.until('the end of the reply is in sight', () => {
        const [last] = [...document.querySelectorAll('article[data-id]')].slice(-1);
        return last.getBoundingClientRect().bottom <= document.querySelector('[data-test=problem]').getBoundingClientRect().top + 1;
      });
    },
  },
};
