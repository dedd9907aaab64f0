// The search in the blog's own posts. Only where the site has indexed those of tests/src/blog.rs.
import assert from 'node:assert/strict';

const search = (query) => `[[tool search-posts {"query":"${query}"}]]`;

/** The links to what a reply rests on, as texts and addresses. */
async function sourcesOf(reply) {
  const links = reply.getByRole('region', { name: 'Sources' }).getByRole('link');
  return Promise.all((await links.all()).map(async (link) => [await link.innerText(), new URL(await link.getAttribute('href')).pathname]));
}

export const stories = {
  'an answer shows the search in the posts, and links the posts that it rests on': {
    async tell(visit) {
      await visit.open();
      await visit.ask(`${search('subject7')} ${search('Subject7 subject3')}`);
      const reply = visit.replies.first();
      const searches = reply.getByRole('button', { name: /search-posts/ });
      assert.equal(await searches.count(), 2);
      assert.match(await searches.first().innerText(), /is done/);
      const sources = [['1. Post number 7', '/posts/7'], ['2. Post number 3', '/posts/3']];
      assert.deepEqual(await sourcesOf(reply), sources, 'each post once, in the order of the searches');
      await visit.accessible('an answer with sources');

      // What was searched for, and what was found.
      await searches.first().click();
      await reply.getByText('"query": "subject7"').waitFor();
      await reply.getByText('This is about subject7').first().waitFor();
      await visit.accessible('a search that is unfolded');
      await visit.picture('posts');

      // A link leads to the post, in a window of its own that knows nothing of this one.
      const link = reply.getByRole('link', { name: 'Post number 7' });
      assert.deepEqual([await link.getAttribute('target'), await link.getAttribute('rel')], ['_blank', 'noopener noreferrer nofollow']);
      const [post] = await Promise.all([visit.context.waitForEvent('page'), link.click()]);
      await post.getByRole('heading', { name: 'Post number 7' }).waitFor();
      assert.equal(await post.evaluate(() => window.opener), null);
      await post.close();

      await visit.page.reload();
      await reply.getByRole('link', { name: 'Post number 3' }).waitFor();
      assert.deepEqual(await sourcesOf(reply), sources, 'a reload shows the same');
      await visit.ask('go on');
      assert.match(await visit.replies.nth(1).innerText(), /You said: go on/);
      assert.deepEqual(await sourcesOf(visit.replies.nth(1)), [], 'what is not searched for is not cited');
    },
  },

  'a search that finds nothing cites nothing, on a telephone': {
    options: { viewport: { width: 320, height: 640 }, isMobile: true, hasTouch: true },
    async tell(visit) {
      await visit.open();
      await visit.field.fill(search('nowhere'));
      await visit.test('submit').click();
      const reply = visit.replies.first();
      await reply.getByText('Tools said').waitFor();
      await visit.idle();
      assert.equal(await reply.getByRole('region', { name: 'Sources' }).count(), 0);
      const isWider = await visit.page.evaluate(() => document.documentElement.scrollWidth > window.innerWidth);
      assert.equal(isWider, false, 'nothing stands out');
      await visit.accessible('a search that found nothing');
    },
  },
};
