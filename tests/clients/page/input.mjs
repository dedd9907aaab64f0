// The field, the keyboard, the telephone.
import assert from 'node:assert/strict';
import { devices } from 'playwright-core';

const { defaultBrowserType, ...phone } = devices['Pixel 7'];

export const stories = {
  'Shift+Enter is a new line, an Enter that ends a composition sends nothing, Enter twice sends once': {
    async tell(visit) {
      await visit.open();
      await visit.field.pressSequentially('a');
      await visit.field.press('Shift+Enter');
      assert.equal(await visit.field.inputValue(), 'a\n');
      await visit.field.evaluate((field) => {
        for (const detail of [{ keyCode: 229 }, { isComposing: true }]) {
          field.dispatchEvent(new KeyboardEvent('keydown', { key: 'Enter', bubbles: true, cancelable: true, ...detail }));
        }
      });
      assert.equal(await visit.messages.count(), 0);
      await visit.field.fill('once');
      await visit.field.press('Enter');
      await visit.field.press('Enter');
      await visit.replies.first().waitFor();
      await visit.idle();
      assert.equal(visit.posts.length, 1);
    },
  },

  'what is written stays with its chat, over a reload too': {
    async tell(visit) {
      await visit.open();
      await visit.ask('alpha');
      const alpha = visit.chatId;
      await visit.field.fill('for alpha');
      await visit.test('new').click();
      await visit.test('suggestion').first().waitFor();
      assert.equal(await visit.field.inputValue(), '');
      await visit.field.fill('for a new one');
      await visit.page.locator(`a[href="#/${alpha}"]`).click();
      await visit.own.first().waitFor();
      assert.equal(await visit.field.inputValue(), 'for alpha');
      await visit.act(visit.own.first(), 'edit');
      assert.equal(await visit.field.inputValue(), 'for alpha', 'an edit is elsewhere');
      await visit.page.reload();
      await visit.until('it is there', () => document.querySelector('textarea').value === 'for alpha');
      await visit.test('new').click();
      await visit.until('and the other', () => document.querySelector('textarea').value === 'for a new one');
    },
  },

  'a paste beyond the limit is kept and said': {
    async tell(visit) {
      await visit.open();
      await visit.field.fill('x'.repeat(16_003));
      await visit.test('excess').waitFor();
      assert.match(await visit.test('excess').innerText(), /at most 16,000 characters; this one has 3 too many/);
      assert.equal((await visit.field.inputValue()).length, 16_003);
      assert.ok(await visit.test('submit').isDisabled());
      await visit.accessible('a text that is too long');
      await visit.field.fill('x'.repeat(16_000));
      await visit.test('excess').waitFor({ state: 'hidden' });
    },
  },

  'the whole story by keyboard alone': {
    async tell(visit) {
      const { keyboard } = visit.page;
      const focused = (name) => visit.until(`focus reaches ${name}`, (label) => {
        const { activeElement: element } = document;
        return (element.ariaLabel ?? element.textContent).trim().startsWith(label);
      }, name);
      const reach = async (name, key = 'Tab') => {
        for (let i = 0; i < 60; i += 1) {
          await keyboard.press(key);
          const label = await visit.page.evaluate(() => (document.activeElement.ariaLabel ?? document.activeElement.textContent).trim());
          if (label.startsWith(name)) {
            const isSeen = await visit.page.evaluate(() => {
              for (let element = document.activeElement; element; element = element.parentElement) {
                if (getComputedStyle(element).opacity === '0') return false;
              }
              return true;
            });
            await visit.settled();
            assert.ok(isSeen || await visit.page.evaluate(() => document.activeElement.matches(':focus-visible')), `${name} can be seen`);
            return;
          }
        }
        assert.fail(`${name} is not reached by ${key}`);
      };
      await visit.open();
      await visit.test('suggestion').first().waitFor();
      await focused('Message');
      await keyboard.type('hello by keyboard');
      await keyboard.press('Enter');
      await visit.replies.first().waitFor();
      await visit.idle();
      await reach('Good reply', 'Shift+Tab');
      await keyboard.press('Enter');
      await visit.until('it is voted for', () => document.querySelector('[data-test=vote-up]').ariaPressed === 'true');
      await reach('Edit the message', 'Shift+Tab');
      await keyboard.press('Enter');
      await focused('Edit the message');
      await keyboard.press('Escape');
      await focused('Edit the message'); // back on its button
      await reach('This chat', 'Shift+Tab');
      await keyboard.press('Enter');
      await visit.page.getByRole('menuitem', { name: 'Rename' }).waitFor();
      await keyboard.press('Enter');
      await focused('Title');
      await visit.settled();
      await keyboard.press('Control+a');
      await keyboard.type('By keyboard');
      await keyboard.press('Enter');
      await visit.page.getByRole('heading', { level: 1, name: 'By keyboard' }).waitFor();
      await keyboard.press('Control+k');
      await visit.test('suggestion').first().waitFor();
      await focused('Message');
      await reach('By keyboard', 'Shift+Tab');
      await keyboard.press('Enter');
      await visit.replies.first().waitFor();
      await focused('By keyboard'); // the focus stays where it was
    },
  },

  'on a telephone Enter is a new line, the drawer closes by every way, and nothing scrolls sideways': {
    options: { ...phone, viewport: { width: 390, height: 844 } },
    async tell(visit) {
      await visit.open();
      await visit.test('suggestion').first().waitFor();
      await visit.field.fill('a');
      await visit.field.press('Enter');
      assert.equal(await visit.messages.count(), 0);
      await visit.field.fill(`${'a very-long-word-that-does-not-end'.repeat(8)}\n\n| a | b |\n|---|---|\n| ${'wide '.repeat(30)} | x |`);
      await visit.test('submit').click();
      await visit.replies.first().waitFor();
      await visit.idle();
      const drawer = visit.page.getByRole('dialog');
      const menu = visit.page.getByRole('button', { name: /sidebar/i });
      for (const close of [
        () => visit.page.keyboard.press('Escape'),
        () => visit.page.touchscreen.tap(380, 400),
        () => drawer.getByRole('button', { name: /close|sidebar/i }).first().click(),
        () => drawer.getByRole('link').first().click(),
      ]) {
        await menu.first().click();
        await drawer.waitFor();
        await visit.settled();
        await close();
        await drawer.waitFor({ state: 'hidden' });
      }
      await menu.first().click();
      await drawer.waitFor();
      await visit.accessible('the drawer');
      await visit.picture('drawer-phone');
      await visit.page.keyboard.press('Escape');
      await drawer.waitFor({ state: 'hidden' });
      for (const width of [390, 320]) {
        await visit.page.setViewportSize({ width, height: 700 });
        await visit.settled();
        assert.deepEqual(await visit.page.evaluate(() => [document.documentElement.scrollWidth, innerWidth]), [width, width]);
      }
      await visit.picture('narrow');
    },
  },
};
