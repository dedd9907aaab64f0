// What happens when something does not arrive.
import assert from 'node:assert/strict';
import { words } from './visit.mjs';

const once = async (visit) => {
  const { messages } = await visit.stored();
  assert.deepEqual(messages.map(({ role }) => role), ['user', 'assistant'], 'stored once');
  assert.equal(await visit.messages.count(), 2, 'shown once');
};

/** Turns are refused with this answer, as often as told. */
async function refuse(visit, status, code, { times = 1, headers = {}, isStored = false } = {}) {
  let left = times;
  await visit.context.route('**/api/chat', async (route) => {
    if (left === 0) return route.continue();
    left -= 1;
    if (isStored) await route.fetch();
    return route.fulfill({
      status, headers, contentType: 'application/problem+json', body: JSON.stringify({ code, message: 'no', requestId: 'r-1' }),
    });
  });
}

export const stories = {
  'a network cut in a reply is said, and the reply goes on by itself': {
    async tell(visit) {
      await visit.open();
      await visit.say(`[[delay 15]] ${words(400)}`);
      await visit.writing(80);
      await visit.context.setOffline(true);
      await visit.test('problem').waitFor();
      assert.match(await visit.test('problem').innerText(), /You are offline\./);
      await visit.accessible('offline');
      await visit.picture('offline');
      await visit.context.setOffline(false);
      await visit.idle();
      await visit.until('the end is there', () => document.querySelector('article[data-role=assistant][data-id]')?.innerText.includes('word399'));
      assert.equal(await visit.test('problem').count(), 0);
      await once(visit);
    },
  },

  'a connection that is reset in a reply is made again, and the reply goes on to its end': {
    async tell(visit) {
      await visit.open();
      await visit.say(`[[delay 15]] ${words(300)}`);
      await visit.writing(80);
      visit.cut();
      await visit.until('the end is there', () => document.querySelector('article[data-role=assistant][data-id]')?.innerText.includes('word299'));
      await visit.idle();
      assert.equal(await visit.test('problem').count(), 0);
      assert.equal((await visit.replies.first().innerText()).split('word299').length, 2);
      await once(visit);
    },
  },

  'a message that is sent offline is sent once there is a network, and stored once': {
    async tell(visit) {
      await visit.open();
      await visit.test('suggestion').first().waitFor();
      await visit.context.setOffline(true);
      await visit.say('are you there?');
      await visit.test('problem').waitFor();
      await visit.own.first().waitFor();
      await visit.context.setOffline(false);
      await visit.replies.first().waitFor();
      await visit.idle();
      assert.equal(new Set(visit.posts.map(({ message }) => message.id)).size, 1, 'the same message');
      await once(visit);
    },
  },

  'a connection that breaks behind the stored message is no second message': {
    async tell(visit) {
      await visit.open();
      let cuts = 0;
      await visit.context.route('**/api/chat', async (route) => {
        if (cuts++) return route.continue();
        await route.fetch();
        return route.abort('connectionreset');
      });
      await visit.say('only once');
      await visit.replies.first().waitFor();
      await visit.idle();
      await once(visit);
    },
  },

  'a stream that ends without its end is gone on with': {
    async tell(visit) {
      await visit.open();
      let cuts = 0;
      await visit.context.route('**/api/chat', async (route) => {
        if (cuts++) return route.continue();
        const response = await route.fetch();
        const body = (await response.text()).split('\n\n').slice(0, 8).join('\n\n');
        return route.fulfill({ response, body: `${body}\n\n` });
      });
      await visit.say(words(30));
      await visit.until('the end is there', () => document.querySelector('article[data-role=assistant][data-id]')?.innerText.includes('word29'));
      await visit.idle();
      await once(visit);
    },
  },

  'refusals are sentences with a way on, and the same message is sent again': {
    async tell(visit) {
      for (const [status, code, sentence, isStored] of [
        [429, 'rate_limited', /a lot in a short time. Try again in 7 seconds/, false],
        [429, 'model_busy', /The model is busy/, true],
        [503, 'model_unavailable', /The model cannot be reached/, true],
        [502, 'model_unavailable', /The model cannot be reached/, true],
        [503, 'unavailable', /Something went wrong on the server/, false],
        [409, 'generation_in_progress', /Another reply is still being written/, false],
      ]) {
        await visit.context.unrouteAll();
        await visit.context.route('**/token', (route) => route.fulfill({ json: { token: visit.token } }));
        await visit.page.goto('about:blank');
        await visit.open();
        await refuse(visit, status, code, { headers: { 'retry-after': '7' }, isStored });
        visit.posts.length = 0;
        await visit.say(`question ${status} ${code}`);
        await visit.test('problem').waitFor();
        assert.match(await visit.test('problem').innerText(), sentence);
        assert.equal(await visit.messages.count(), 1, 'the message stays');
        if (code === 'rate_limited') {
          await visit.accessible('a refusal');
          await visit.pictures('error');
        }
        await visit.page.getByRole('button', { name: 'Try again' }).click();
        await visit.replies.first().waitFor();
        await visit.idle();
        assert.equal(visit.posts.length, 2);
        assert.equal(visit.posts[0].message.id, visit.posts[1].message.id);
        await once(visit);
      }
    },
  },

  'what can never be accepted goes back into the field': {
    async tell(visit) {
      await visit.open();
      await visit.ask('before');
      await refuse(visit, 422, 'unprocessable');
      await visit.say('not this one');
      await visit.test('problem').waitFor();
      assert.match(await visit.test('problem').innerText(), /This was not accepted\. No\./);
      await visit.until('the text is back', () => document.querySelector('textarea').value === 'not this one');
      assert.equal(await visit.messages.count(), 2);
    },
  },

  'a model that fails in its middle is said, and another reply is asked for': {
    async tell(visit) {
      await visit.open();
      await visit.ask(`[[fail 3]] ${words(10)}`);
      assert.match(await visit.test('problem').innerText(), /The model failed while it was answering/);
      assert.equal(await visit.test('ending').innerText(), 'This reply failed before its end.');
      const [before] = (await visit.stored()).messages.slice(-1);
      await visit.page.getByRole('button', { name: 'Try again' }).click();
      await visit.until('it is another reply', (id) => {
        const reply = document.querySelector('article[data-role=assistant][data-id]');
        return reply && reply.dataset.id !== id;
      }, before.id);
      await visit.idle();
      assert.equal((await visit.stored()).messages.length, 2);
    },
  },

  'what is sent before a slow chat has loaded is shown once and sent behind it': {
    async tell(visit) {
      await visit.open();
      await visit.ask('first');
      const id = visit.chatId;
      const release = await visit.holdChat(id);
      await visit.page.goto('about:blank');
      await visit.open(id);
      await visit.page.getByRole('heading', { level: 1, name: /You said|first/ }).waitFor(); // its name, from the list
      await visit.say('second');
      await visit.page.getByText('second', { exact: true }).waitFor();
      release();
      await visit.until('both are answered', () => document.querySelectorAll('article[data-id]').length === 4);
      await visit.idle();
      assert.equal(await visit.page.locator('article').count(), 4);
      assert.deepEqual((await visit.stored()).messages.map(({ role }) => role), ['user', 'assistant', 'user', 'assistant']);
    },
  },

  'a chat that cannot be loaded says so and loads at the next try': {
    async tell(visit) {
      await visit.open();
      await visit.ask('first');
      const id = visit.chatId;
      await visit.context.route(`**/api/chats/${id}`, (route) => route.fulfill({
        status: 503, contentType: 'application/problem+json', body: JSON.stringify({ code: 'unavailable', message: 'no', requestId: 'r' }),
      }), { times: 1 });
      await visit.page.reload();
      await visit.page.getByText('The chat could not be loaded').waitFor();
      await visit.accessible('a chat that could not be loaded');
      await visit.page.getByRole('button', { name: 'Try again' }).click();
      await visit.replies.first().waitFor();
    },
  },

  'a link to a deleted chat says so': {
    async tell(visit) {
      await visit.open('deleted-chat-1');
      await visit.page.getByText('This chat is not here').waitFor();
      await visit.accessible('a deleted chat');
      await visit.page.getByRole('button', { name: 'Begin a new chat' }).click();
      await visit.test('suggestion').first().waitFor();
      assert.equal(visit.chatId, '');
    },
  },

  'a token that has ended is renewed without a word': {
    async tell(visit) {
      await visit.open();
      await visit.ask('one');
      const { token } = visit;
      let refusals = 0;
      await visit.context.route('**/api/chat', (route) => (refusals++
        ? route.continue()
        : route.fulfill({ status: 401, contentType: 'application/problem+json', body: '{"code":"unauthenticated","message":"expired"}' })));
      await visit.ask('two');
      assert.equal(await visit.messages.count(), 4);
      assert.equal(visit.token, token);
    },
  },
};
