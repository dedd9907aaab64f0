// The chat API as the page uses it: a token for this visitor, requests, and what an answer says that is not a success.

/** An answer that is not a success. `status` is 0 where there was no answer at all. */
export class ApiError extends Error {
  constructor(status, { code = 'unknown', message = '', requestId } = {}, retryAfter) {
    super(message);
    Object.assign(this, { name: 'ApiError', status, code, requestId, retryAfter });
  }
}

const seconds = (text) => (/^\d+$/.test(text ?? '') ? Number(text) : undefined);

function problemOf(text) {
  try {
    const problem = JSON.parse(text);
    return problem && typeof problem === 'object' ? problem : {};
  } catch {
    return {};
  }
}

/** Whatever was thrown, by `fetch`, by the AI SDK or here, as an `ApiError`. */
export function asApiError(error) {
  if (error instanceof ApiError) return error;
  // The end of a stream that failed has the same JSON for its text.
  const problem = problemOf(error?.message);
  return problem.code ? new ApiError(200, problem) : new ApiError(0, { code: 'network', message: error?.message });
}

/**
 * @param {object} options
 * @param {string} options.base where the API is; empty behind the page's own origin
 * @param {string} options.tokenUrl where the blog's server hands out the visitor's token (README.md)
 */
export function createApi({ base = '', tokenUrl = '/token' } = {}) {
  let token;

  async function freshToken() {
    const response = await fetch(tokenUrl, { method: 'POST' });
    if (!response.ok) throw new ApiError(response.status, { code: 'no_token' });
    return (await response.json()).token;
  }

  /** `fetch` with the visitor's token, which is renewed once if it has expired. */
  async function authorized(url, init = {}) {
    for (const isLast of [false, true]) {
      token ??= freshToken();
      const used = token;
      let bearer;
      try {
        bearer = await used;
      } catch (error) {
        if (token === used) token = undefined;
        throw error;
      }
      const headers = new Headers(init.headers);
      headers.set('authorization', `Bearer ${bearer}`);
      const response = await fetch(url, { ...init, headers });
      if (response.status !== 401 || isLast) return response;
      if (token === used) token = undefined;
    }
  }

  /** An answer that is a success. */
  async function checked(response) {
    if (response.ok) return response;
    throw new ApiError(response.status, problemOf(await response.text()), seconds(response.headers.get('retry-after')));
  }

  const answer = async (response) => ((await checked(response)).status === 204 ? undefined : response.json());

  const json = async (method, path, body, signal) => answer(await authorized(base + path, {
    method,
    signal,
    headers: body === undefined ? {} : { 'content-type': 'application/json' },
    body: body === undefined ? undefined : JSON.stringify(body),
  }));
  const query = (fields) => {
    const given = Object.entries(fields).filter(([, value]) => value !== undefined && value !== null && value !== '');
    return given.length ? `?${new URLSearchParams(given)}` : '';
  };
  const chatPath = (id, rest = '') => `/api/chats/${encodeURIComponent(id)}${rest}`;

  return {
    base,
    /** `fetch` for the AI SDK, which would keep the text of a refusal and no more. */
    fetch: async (url, init) => checked(await authorized(url, init)),
    /** Which models there are, and what an upload may be. */
    models: () => json('GET', '/api/models'),
    chats: (fields) => json('GET', `/api/chats${query(fields)}`),
    chat: (id) => json('GET', chatPath(id)),
    messages: (id, before) => json('GET', chatPath(id, `/messages${query({ before })}`)),
    change: (id, changes) => json('PATCH', chatPath(id), changes),
    remove: (id) => json('DELETE', chatPath(id)),
    votes: (id) => json('GET', chatPath(id, '/votes')),
    vote: (id, vote) => json('POST', chatPath(id, '/votes'), vote),
    fork: (id, messageId) => json('POST', chatPath(id, '/fork'), { messageId }),
    branches: (id) => json('GET', chatPath(id, '/branches')),
    takeBranch: (id, messageId) => json('POST', chatPath(id, '/branches'), { messageId }),
    share: (id) => json('POST', chatPath(id, '/share')),
    unshare: (id) => json('DELETE', chatPath(id, '/share')),
    stop: (id) => json('POST', `/api/chat/${encodeURIComponent(id)}/stop`, {}),
    /** Where a file may be sent that a message names then. */
    announceUpload: (file, signal) => json('POST', '/api/uploads', file, signal),
    /** Where an upload of the visitor's is, for a minute. By JSON: a browser does not tell the bucket whose page was redirected. */
    uploadUrl: async (id) => {
      const response = await authorized(`${base}/api/uploads/${encodeURIComponent(id)}`, { headers: { accept: 'application/json' } });
      return (await answer(response)).url;
    },
    /** A snapshot is for everyone: without the visitor's token. */
    snapshot: async (shareToken) => answer(await fetch(`${base}/api/shared/${encodeURIComponent(shareToken)}`)),
    /** Everything of the visitor's, as lines of JSON; without its last line it was cut off. */
    async exportAll() {
      const response = await checked(await authorized(`${base}/api/me/export`));
      const text = await response.text();
      if (!text.trimEnd().split('\n').at(-1).includes('"end"')) throw new ApiError(0, { code: 'cut_off' });
      return text;
    },
  };
}
