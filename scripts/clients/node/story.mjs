// What a client of Node does, and how it tells what came of it: a JSON object a line, {step, held, note}.
// The variables STORY_* name its table and the statements that make it: see run.py.
import assert from "node:assert/strict";
import fs from "node:fs";

export const { DSQL_ENDPOINT: host, AWS_REGION: region, STORY_TABLE: table, STORY_CREATE, STORY_INDEX } = process.env;
export const port = Number(process.env.DSQL_PORT);
export const ca = fs.readFileSync(process.env.DSQL_CA_FILE, "utf8");

export const row = {
  id: crypto.randomUUID(), t: "naïve ✓ 'quoted'", i: -5, b: "9007199254740993", n: "1234567.8900", f: true,
  at: new Date("2026-11-30T12:34:56.789Z"), j: { a: [1, null, "ü"] }, raw: Buffer.from([0, 255, 92]), nothing: null,
};

// DSQL has no such thing, or the client lacks it; the text says which.
export class Limit extends Error {}

// An INSERT of the row's columns with $1, $2, …
export const insert = `INSERT INTO ${table} (${Object.keys(row)}) VALUES (${Object.keys(row).map((_, n) => `$${n + 1}`)})`;

export const same = (found, expected = row) => {
  const part = Object.fromEntries(Object.keys(expected).map((name) => [name, found?.[name]]));
  if (Buffer.isBuffer(expected.raw)) part.raw = Buffer.from(part.raw);
  assert.deepEqual(part, expected);
};

// What an error says of its kind, wherever a client puts it.
const codeOf = (error) => {
  if (!error || /^[0-9A-Z]{5}$/.test(error.code)) return error?.code;
  return codeOf(error.cause ?? error.original ?? error.driverError);
};

export const refused = async (does, code) => {
  const error = await Promise.resolve().then(does).then(() => null, (thrown) => thrown);
  assert.equal(codeOf(error), code, `${error}`);
  return error;
};

// A transaction that loses to a rival: its first attempt fails with 40001 and the second one counts.
export const conflict = async (attempt, rival, read) => {
  const lost = await refused(() => attempt(rival), "40001");
  await attempt(async () => {});
  assert.equal(await read(), 6);
  return lost;
};

// Does every step and tells what came of each: a step returns a note or nothing.
export const play = async (steps) => {
  for (const [step, does] of Object.entries(steps)) {
    let held = true, note;
    try {
      note = await does();
    } catch (error) {
      held = error instanceof Limit ? null : false;
      note = held === null ? error.message : `${error.name}: ${error.message} ${error.cause?.message ?? ""}`.replace(/\s+/g, " ").trim();
      if (held === false && process.env.STORY_VERBOSE) console.error(error);
    }
    console.log(JSON.stringify({ step, held, note: typeof note === "string" ? note : null }));
  }
  process.exit(0);
};
