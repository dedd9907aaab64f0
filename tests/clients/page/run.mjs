// The chat page's stories in a headless Chromium, each with a visitor of its own.
//   node run.mjs URL CHROMIUM FOLDER [STORY…]
// FOLDER gets the screenshots; STORY is a part of a story's name, or `--tools`, `--posts` or `--uploads` for those on a site that has a
// server of tools, whose blog's posts are indexed, or that has a bucket; parts of their names may follow. The model behind the API
// echoes, and takes directives.
// Ends with 0 when all went as told.
import { mkdirSync } from 'node:fs';
import path from 'node:path';
import { chromium } from 'playwright-core';
import * as failures from './failures.mjs';
import * as files from './files.mjs';
import * as input from './input.mjs';
import * as list from './list.mjs';
import * as looks from './looks.mjs';
import * as posts from './posts.mjs';
import * as states from './states.mjs';
import * as tools from './tools.mjs';
import * as turns from './turns.mjs';
import * as uploads from './uploads.mjs';
import { Visit } from './visit.mjs';
import { wire } from './wire.mjs';

const [address, executablePath, folder, ...chosen] = process.argv.slice(2);
/** How many are told at once. */
const TELLERS = 3;

mkdirSync(folder, { recursive: true });
const special = { '--tools': tools, '--posts': posts, '--uploads': uploads }[chosen[0]];
if (special) chosen.shift();
const chapters = special ? [special] : [turns, failures, list, files, input, looks, states];
const stories = chapters.flatMap((file) => Object.entries(file.stories))
  .map(([name, story], place) => ({ name, place, ...story }))
  .filter(({ name }) => !chosen.length || chosen.some((part) => name.includes(part)));
const browser = await chromium.launch({
  executablePath, headless: true, args: ['--no-sandbox', '--disable-dev-shm-usage', '--disable-gpu'],
});
let failed = 0;

async function told({ name, place, options, tell }) {
  const begun = Date.now();
  const { url, cut, end } = await wire(address);
  const visit = await Visit.begin(browser, url, { subject: `story-${place}-${begun}`, ...options });
  Object.assign(visit, { cut, folder });
  visit.other = (more) => Visit.begin(browser, url, { subject: visit.subject, ...more });
  try {
    await tell(visit);
    await visit.end();
    console.log(`${name} (${Date.now() - begun} ms)`);
  } catch (error) {
    failed += 1;
    await visit.page.screenshot({ path: path.join(folder, `failed-${place}.png`) }).catch(() => {});
    const shown = await visit.page.locator('body').innerText().catch(() => '');
    console.error(`FAILED: ${name}\n${error.stack ?? error}\nthe page reported: ${JSON.stringify(visit.faults)}\nshown: ${shown.slice(-1500)}`);
    await visit.context.close();
  } finally {
    end();
  }
}

async function teller() {
  for (let story = stories.shift(); story; story = stories.shift()) await told(story);
}

await Promise.all(Array.from({ length: TELLERS }, teller));
await browser.close();
process.exitCode = failed ? 1 : 0;
