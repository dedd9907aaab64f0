// The way of a file that is too large for a message to the stack's bucket, and back: docs/api.md, "Uploads".
import { ApiError } from './api.js';

/** A file's URL is good for a minute; it is asked for again a little before. */
const URL_LIFE_MS = 45_000;
const UPLOADED = /(?:^|\/)api\/uploads\/([\w-]+)$/;

/** The id of the upload that a part of a message names, if it names one. */
export const uploadOf = (part) => (part.type === 'file' ? UPLOADED.exec(part.url ?? '')?.[1] : undefined);

/** Sends the bytes as the API has said. By `XMLHttpRequest`, since `fetch` does not tell how much of a body has been sent. */
function put(file, { method, url, headers }, { signal, onProgress }) {
  return new Promise((resolve, reject) => {
    signal.throwIfAborted();
    const request = new XMLHttpRequest();
    request.open(method, url);
    for (const [name, value] of Object.entries(headers)) request.setRequestHeader(name, value);
    request.upload.onprogress = ({ loaded, total }) => onProgress(loaded / total);
    request.onload = () => {
      const { status } = request;
      // 412: there are bytes already, those of a try whose answer was lost.
      if ((status >= 200 && status < 300) || status === 412) resolve();
      else reject(new ApiError(status, { code: status >= 500 ? 'storage_unavailable' : 'storage_refused' }));
    };
    request.onerror = () => reject(new ApiError(0, { code: 'network' }));
    request.onabort = () => reject(signal.reason);
    signal.addEventListener('abort', () => request.abort());
    request.send(file);
  });
}

/**
 * Uploads a file.
 * @param {ReturnType<typeof import('./api.js').createApi>} api
 * @param {{file: File, mediaType: string, announced?: object}} item `announced` is kept in it for the next try, so that bytes
 *   that have arrived are not sent again, and the day's are not spent twice
 * @param {{signal: AbortSignal, onProgress: (share: number) => void}} options `share` is from 0 to 1
 * @returns {Promise<string>} the URL that a message's part has
 * @throws {ApiError} by the API or the bucket, or what `signal` was aborted with
 */
export async function upload(api, item, options) {
  const { file, mediaType } = item;
  const isNext = Boolean(item.announced);
  item.announced ??= await api.announceUpload({ mediaType, size: file.size, filename: file.name }, options.signal);
  try {
    await put(file, item.announced.upload, options);
  } catch (thrown) {
    if (thrown.code !== 'storage_refused') throw thrown;
    item.announced = undefined;
    if (isNext) return upload(api, item, options); // the five minutes of the first try are over
    throw thrown;
  }
  return item.announced.url;
}

/** A function that tells where the bytes of an upload are; `isAnew`: where they were said to be they are not any more. */
export function createLocator(api) {
  const known = new Map();
  return (id, isAnew = false) => {
    const before = known.get(id);
    if (!isAnew && before && Date.now() < before.until) return before.url;
    const url = api.uploadUrl(id);
    known.set(id, { url, until: Date.now() + URL_LIFE_MS });
    url.catch(() => known.delete(id));
    return url;
  };
}
