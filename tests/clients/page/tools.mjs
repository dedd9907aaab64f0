// Tools of a server, which are asked about before they change things. Only where the site has that of tests/clients/mcp.
import assert from 'node:assert/strict';

const remove = (what) => `[[tool lab_remove {"what":"${what}"}]]`;

export const stories = {
  'a tool that may change things is used once it is allowed': {
    async tell(visit) {
      await visit.open();
      await visit.ask(remove('all'));
      const reply = visit.replies.first();
      await reply.getByText('waits for approval').waitFor();
      assert.match(await reply.innerText(), /"what": "all"/, 'what it is given is shown');
      await visit.accessible('a question about a tool');
      await visit.picture('approval');

      // Another window asks as well, and learns that it was answered.
      const other = await visit.other();
      await other.open(visit.chatId);
      await other.test('allow').waitFor();

      await visit.test('allow').click();
      await reply.getByText('Tools said: removed all').waitFor();
      await visit.idle();
      assert.equal(await visit.test('allow').count(), 0);
      assert.equal((await visit.stored()).messages.length, 2, 'it is the same message');
      await other.test('refuse').click();
      await other.page.getByText('went on in another window').waitFor();
      await other.replies.first().getByText('Tools said: removed all').waitFor();
      await other.end();

      await visit.page.reload();
      await reply.getByText('Tools said: removed all').waitFor();
      await visit.ask('go on');
      assert.match(await visit.replies.nth(1).innerText(), /You said: go on/);
    },
  },

  'a tool that is refused is not used, by the keyboard': {
    async tell(visit) {
      await visit.open();
      await visit.ask(remove('nothing'));
      await visit.test('refuse').focus();
      await visit.page.keyboard.press('Enter');
      const reply = visit.replies.first();
      await reply.getByText('the user refused this call').waitFor();
      await visit.idle();
      await reply.getByText('was not approved').waitFor();
      await visit.accessible('a tool that was refused');
    },
  },
};
