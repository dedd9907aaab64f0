// Sending, reading, stopping, going on, voting, editing.
import assert from 'node:assert/strict';
import { words } from './visit.mjs';

const MARKDOWN = `Gladly.

# Snapshot isolation

Each transaction reads a **consistent snapshot**; see [the guide](https://example.com/guide).

1. Begin
2. Write

\`\`\`sql
BEGIN;
COMMIT; -- 40001
\`\`\`

| | Optimistic |
|---|---|
| Reads | never wait |

![a picture](https://elsewhere.example.com/leak.png?secret) <b onclick="x()">html</b> [bad](javascript:alert(1)) :component[x]{.class}`;

export const stories = {
  'the first visit says what can be done, and a suggestion begins a chat': {
    async tell(visit) {
      await visit.open();
      await visit.test('suggestion').first().waitFor();
      assert.equal(await visit.page.title(), 'Chat');
      await visit.accessible('the first visit');
      await visit.pictures('first-visit');
      await visit.test('suggestion').nth(1).click();
      await visit.replies.first().waitFor();
      await visit.idle();
      assert.match(await visit.replies.first().innerText(), /Explain snapshot isolation/);
      assert.match(visit.chatId, /^[A-Za-z0-9]{16}$/, 'the address names the chat');
    },
  },

  'a reply thinks, streams, and is shown as Markdown that is safe': {
    async tell(visit) {
      await visit.context.grantPermissions(['clipboard-read', 'clipboard-write']);
      await visit.open();
      await visit.say(`[[accept 600]] ${MARKDOWN}`);
      await visit.test('thinking').waitFor();
      await visit.own.first().waitFor();
      await visit.listed.first().waitFor(); // listed before its reply
      assert.notEqual(await visit.page.title(), 'Chat');
      await visit.idle();
      const reply = visit.replies.first();
      await reply.locator('pre span[style]').first().waitFor(); // coloured
      assert.equal(await reply.locator('h1').innerText(), 'Snapshot isolation');
      assert.equal(await reply.locator('tbody td').first().innerText(), 'Reads');
      assert.equal(await reply.locator('pre').innerText(), 'BEGIN;\nCOMMIT; -- 40001');
      assert.equal(await reply.locator('img').count(), 0, 'no picture of another host is loaded');
      assert.deepEqual(await reply.locator('.chat-markdown a').evaluateAll((links) => links.map((link) => link.getAttribute('href'))),
        ['https://example.com/guide', 'https://elsewhere.example.com/leak.png?secret']);
      assert.equal(await reply.locator('b, component').count(), 0, 'HTML and components are text');
      assert.match(await reply.innerText(), /<b onclick="x\(\)">html<\/b>/);
      await reply.locator('[data-test=copy-code]').click();
      assert.equal(await visit.page.evaluate(() => navigator.clipboard.readText()), 'BEGIN;\nCOMMIT; -- 40001');
      await reply.locator('time').waitFor();
      await visit.accessible('a Markdown reply');
      await visit.pictures('markdown');
    },
  },

  'a reply is one announcement, and who speaks is said': {
    async tell(visit) {
      await visit.open();
      await visit.page.evaluate(() => {
        // Wherever a screen reader listens, not only where it is meant to.
        window.said = [];
        new MutationObserver((changes) => {
          const parent = ({ target }) => (target.nodeType === Node.ELEMENT_NODE ? target : target.parentElement);
          const live = '[aria-live]:not([aria-live=off]), [role=status], [role=alert], [role=log]';
          const regions = new Set(changes.map((change) => parent(change)?.closest(live)));
          for (const region of regions) if (region?.textContent.includes('word')) window.said.push(region.textContent);
        }).observe(document.body, { childList: true, characterData: true, subtree: true });
      });
      await visit.ask(words(40));
      const said = await visit.page.evaluate(() => window.said);
      assert.equal(said.length, 1);
      assert.match(said[0], /^Assistant: .*word39/);
      assert.deepEqual(await visit.page.locator('article h2').allInnerTexts(), ['You', 'Assistant']);
    },
  },

  'a reply is stopped with Esc, keeps what it said, and the next message goes through at once': {
    async tell(visit) {
      await visit.open();
      await visit.say(`[[delay 30]] ${words(1500)}`);
      await visit.writing(60);
      await visit.field.press('Escape');
      await visit.test('ending').waitFor();
      assert.equal(await visit.test('ending').innerText(), 'You stopped this reply.');
      await visit.page.getByRole('heading', { level: 1, name: /word0/ }).waitFor(); // it has its name all the same
      await visit.ask('and on');
      await visit.page.reload();
      await visit.messages.nth(3).waitFor();
      assert.equal(await visit.messages.count(), 4);
      const text = await visit.replies.first().innerText();
      assert.ok(text.includes('word3') && !text.includes('word1499'), text);
    },
  },

  'a stop that overtakes its message stops the reply all the same': {
    async tell(visit) {
      await visit.open();
      let letThrough;
      const held = new Promise((resolve) => { letThrough = resolve; });
      await visit.context.route('**/api/chat', async (route) => {
        await held;
        await route.continue();
      });
      const early = visit.page.waitForResponse((response) => response.url().endsWith('/stop'));
      await visit.say('[[accept 20000]] never mind');
      await visit.field.press('Escape');
      assert.equal((await early).status(), 404, 'the chat is not there yet');
      letThrough();
      await visit.page.getByText('You stopped the reply before it began.').waitFor();
      await visit.idle();
      assert.equal((await visit.stored()).activeStreamId, null);
      await visit.ask('and on');
      const { messages } = await visit.stored();
      assert.deepEqual(messages.map((message) => message.role), ['user', 'user', 'assistant']);
    },
  },

  'after a reload in its middle a reply goes on to its end, and nothing is there twice': {
    async tell(visit) {
      await visit.open();
      // A third of the time that a reply may take, so that a busy machine does not interrupt it.
      await visit.say(`[[delay 60]] ${words(150)}`);
      await visit.writing(60);
      await visit.page.reload();
      await visit.writing(60);
      await visit.idle();
      const live = await visit.replies.first().innerText();
      assert.equal(live.split('word149').length, 2);
      assert.equal(await visit.messages.count(), 2);
      await visit.page.reload();
      await visit.replies.first().waitFor();
      assert.equal((await visit.replies.first().innerText()), live, 'stored as it was shown');
    },
  },

  'one who scrolls up while a reply streams stays there, can select, and comes back': {
    async tell(visit) {
      await visit.open();
      await visit.ask(`[[delay 0]] ${Array.from({ length: 60 }, (_, i) => `line ${i}`).join('\n\n')}`);
      const long = (_, i) => `${'long'.repeat(6)}${i}`;
      await visit.say(`[[delay 60]] ${Array.from({ length: 400 }, long).join('\n\n')}`);
      await visit.writing(400);
      const view = visit.test('view');
      await view.hover();
      await visit.page.mouse.wheel(0, -700);
      await visit.test('to-end').waitFor();
      const top = await view.evaluate((element) => element.scrollTop);
      const paragraph = visit.replies.nth(1).locator('p').first();
      await paragraph.evaluate((element) => { element.dataset.mark = 'same'; getSelection().selectAllChildren(element); });
      const length = (await visit.replies.nth(1).innerText()).length;
      await visit.writing(length + 200);
      assert.equal(await view.evaluate((element) => element.scrollTop), top, 'nothing pulls down');
      assert.equal(await paragraph.getAttribute('data-mark'), 'same', 'what is read is not replaced');
      assert.match(await visit.page.evaluate(() => getSelection().toString()), /said/);
      await visit.test('to-end').click();
      await visit.until('the end is in sight', () => {
        const { scrollTop, scrollHeight, clientHeight } = document.querySelector('[data-test=view]');
        return scrollHeight - clientHeight - scrollTop < 60;
      });
      await visit.field.press('Escape');
      await visit.idle();
    },
  },

  'a vote is kept, and neither moves the page nor the focus': {
    async tell(visit) {
      await visit.open();
      await visit.ask(Array.from({ length: 60 }, (_, i) => `line ${i}`).join('\n\n'));
      await visit.ask('short');
      const first = visit.replies.first();
      await first.hover();
      const up = first.locator('[data-test=vote-up]');
      await up.scrollIntoViewIfNeeded();
      await visit.settled();
      const top = await visit.test('view').evaluate((element) => element.scrollTop);
      await up.click();
      await visit.until('the vote shows', () => document.querySelector('[data-test=vote-up]').ariaPressed === 'true');
      assert.equal(await visit.test('view').evaluate((element) => element.scrollTop), top);
      assert.ok(await up.evaluate((button) => button === document.activeElement));
      await visit.page.reload();
      await visit.until('the vote is there', () => document.querySelector('[data-test=vote-up]')?.ariaPressed === 'true');
    },
  },

  'an edit and another reply set aside what was there, and lead back to it': {
    async tell(visit) {
      await visit.open();
      await visit.ask('first question');
      await visit.ask('second question');
      await visit.act(visit.own.first(), 'edit');
      const field = visit.page.getByRole('textbox', { name: 'Edit the message' });
      assert.equal(await field.inputValue(), 'first question');
      await field.fill('edited question');
      await visit.accessible('an edit');
      await visit.page.getByRole('button', { name: 'Send', exact: true }).first().click();
      await visit.page.getByText('This sets the 3 messages after it aside.').waitFor();
      await visit.accessible('a question');
      await visit.page.getByRole('button', { name: 'Cancel' }).click();
      assert.equal(await visit.messages.count(), 4, 'nothing has happened');
      await visit.act(visit.own.first(), 'edit');
      await field.fill('edited question');
      await field.press('Control+Enter');
      await visit.test('confirm').click();
      await visit.until('the edit is answered', () => document.querySelectorAll('article[data-id]').length === 2);
      await visit.idle();
      const { messages } = await visit.stored();
      assert.deepEqual(messages.map((message) => message.parts.at(-1).text.includes('edited question')), [true, true]);
      await visit.act(visit.replies.first(), 'regenerate');
      await visit.until('another reply is there', (id) => {
        const reply = document.querySelector('article[data-role=assistant][data-id]');
        return reply && reply.dataset.id !== id;
      }, messages[1].id);
      await visit.idle();
      assert.equal(await visit.messages.count(), 2);
      await visit.own.first().locator('[data-test=version]', { hasText: '2/2' }).waitFor();
      await visit.replies.first().locator('[data-test=version]', { hasText: '2/2' }).waitFor();
      await visit.accessible('versions');
      await visit.act(visit.own.first(), 'version-before');
      await visit.page.locator('article', { hasText: 'You said: second question' }).waitFor();
      assert.equal(await visit.messages.count(), 4);
      await visit.act(visit.own.first(), 'version-after');
      await visit.until('the edit is there', () => document.querySelectorAll('article[data-id]').length === 2);
      assert.equal(await visit.own.first().locator('p').innerText(), 'edited question');
    },
  },

  'a chat goes on in a new one from a reply on': {
    async tell(visit) {
      await visit.open();
      await visit.ask('one');
      await visit.ask('two');
      const from = visit.chatId;
      await visit.act(visit.replies.first(), 'fork');
      await visit.until('another chat is open', (id) => location.hash.slice(2) !== id, from);
      await visit.until('it has two messages', () => document.querySelectorAll('article[data-id]').length === 2);
      assert.equal(await visit.listed.count(), 2);
    },
  },

  'thoughts fold, and an end by length is marked': {
    async tell(visit) {
      await visit.open();
      await visit.ask('[[reasoning]] [[finish length]] why');
      await visit.page.getByText('This reply ends here because it reached its greatest length.').waitFor();
      const thoughts = visit.page.getByRole('button', { name: /Thought/ });
      await thoughts.waitFor();
      await visit.until('they are folded', () => [...document.querySelectorAll('article button[aria-expanded]')].every((button) => button.ariaExpanded === 'false'));
      await thoughts.click();
      await visit.page.getByText('The user wants to hear this again.').waitFor();
      await visit.accessible('thoughts');
      await visit.ask('[[finish content-filter]] and why');
      await visit.page.getByText('The rest of this reply was withheld by a content filter.').waitFor();
      await visit.picture('thoughts');
    },
  },
};
