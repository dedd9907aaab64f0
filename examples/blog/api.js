// The chat API as a page uses it: a token, requests, and a reply read as it is written. Knows nothing of the page.

/** Where the API is, and where a token for this visitor comes from: the blog's own server (see README.md). */
export const API = document.documentElement.dataset.api ?? '';
const TOKEN_URL = document.documentElement.dataset.token ?? '/token';

let token;
async function bearer(renew = false) {
  if (renew || !token) {
    const response = await fetch(TOKEN_URL, { method: 'POST' });
    if (!response.ok) throw new ApiError(response.status, { code: 'no_token', message: 'No token: are you logged in?' });
    ({ token } = await response.json());
  }
  return `Bearer ${token}`;
}

export class ApiError extends Error {
  constructor(status, { code, message, requestId }) {
    super(message);
    Object.assign(this, { status, code, requestId });
  }
}

/** One request; a token that has expired is renewed once. */
export async function request(method, path, body, { signal, headers } = {}) {
  for (const renew of [false, true]) {
    const response = await fetch(API + path, {
      method,
      signal,
      headers: {
        authorization: await bearer(renew),
        ...(body === undefined ? {} : { 'content-type': 'application/json' }),
        ...headers,
      },
      body: body === undefined ? undefined : JSON.stringify(body),
    });
    if (response.ok) return response;
    if (response.status === 401 && !renew) continue;
    const problem = await response.json().catch(() => ({ code: 'unknown', message: `The server answered ${response.status}.` }));
    throw new ApiError(response.status, problem);
  }
}

export const json = async (...args) => {
  const response = await request(...args);
  return response.status === 204 ? undefined : response.json();
};

/** The chunks of a UI message stream. */
async function* chunks(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = '';
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    rest += value;
    const events = rest.split(/\r?\n\r?\n/);
    rest = events.pop();
    for (const event of events) {
      const data = event.split(/\r?\n/).filter((line) => line.startsWith('data:')).map((line) => line.slice(5).trim()).join('\n');
      if (data === '[DONE]') return;
      if (data) yield JSON.parse(data);
    }
  }
}

/** Reads a reply into a message, as the AI SDK does, and calls `changed` for each step of it. A stream that ends without
 *  saying how was cut off. */
export async function readReply(response, changed, onTitle) {
  const message = { id: '', role: 'assistant', parts: [], metadata: {} };
  const open = new Map();
  let ended = false;
  for await (const chunk of chunks(response)) {
    const kind = chunk.type.split('-')[0];
    if (chunk.messageMetadata) Object.assign(message.metadata, chunk.messageMetadata);
    if (chunk.type === 'start') message.id = chunk.messageId ?? message.id;
    else if (chunk.type === 'data-chat-title') onTitle?.(chunk.data);
    else if (chunk.type === 'start-step') message.parts.push({ type: 'step-start' });
    else if (chunk.type === 'text-start' || chunk.type === 'reasoning-start') {
      const part = { type: kind, text: '', state: 'streaming' };
      open.set(chunk.id, part);
      message.parts.push(part);
    } else if (chunk.type === 'text-delta' || chunk.type === 'reasoning-delta') open.get(chunk.id).text += chunk.delta;
    else if (chunk.type === 'text-end' || chunk.type === 'reasoning-end') open.get(chunk.id).state = 'done';
    else if (chunk.type === 'error') {
      const problem = (() => { try { return JSON.parse(chunk.errorText); } catch { return { code: 'error', message: chunk.errorText }; } })();
      changed(message);
      throw new ApiError(200, problem);
    } else if (chunk.type === 'finish' || chunk.type === 'abort') ended = true;
    changed(message);
  }
  if (!ended) throw new ApiError(200, { code: 'cut_off', message: 'The reply was cut off.' });
  return message;
}

/** 16 letters and digits, as the AI SDK makes ids. */
export function newId() {
  const letters = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789';
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => letters[byte % letters.length]).join('');
}
