// What a visitor reads when something goes wrong, and what can be done about it.
import { asApiError } from './api.js';

const wait = (error) => (error.retryAfter ? `Try again in ${error.retryAfter} seconds.` : 'Try again in a moment.');
const detail = (error) => (error.message ? `${error.message[0].toUpperCase()}${error.message.slice(1)}.` : '');

/** By code: the sentence, and `isFinal` where the same request would fail again. */
const SENTENCES = {
  network: () => [navigator.onLine ? 'The server cannot be reached.' : 'You are offline. This goes on once you are connected.'],
  no_token: () => ['You are not signed in any more. Load the page again.'],
  unauthenticated: () => ['You are not signed in any more. Load the page again.'],
  not_found: () => ['This chat does not exist any more.', true],
  id_taken: () => ['This message was changed elsewhere. Load the chat again.', true],
  stale: () => ['This chat went on in another window. It has been loaded again.', true],
  generation_in_progress: () => ['Another reply is still being written in this chat.'],
  rate_limited: (error) => [`That was a lot in a short time. ${wait(error)}`],
  budget_spent: () => ['This needs more than is left of today\'s allowance. It is renewed at midnight UTC.'],
  model_busy: (error) => [`The model is busy. ${wait(error)}`],
  model_unavailable: () => ['The model cannot be reached at the moment.'],
  model_refused: () => ['The model did not accept this message. Edit it, or choose another model.'],
  model_failed: () => ['The model failed while it was answering.'],
  empty_reply: () => ['The model had no answer to this.'],
  content_filtered: () => ['The answer was withheld by a content filter.'],
  out_of_tokens: () => ['The model reached its greatest length before it answered.'],
  interrupted: () => ['The reply was interrupted.'],
  not_stored: () => ['The reply could not be saved to its end.'],
  cut_off: () => ['The connection was lost before the end.'],
  too_large: () => ['This message is too large. Remove an attachment, or shorten it.', true],
  unprocessable: (error) => [`This was not accepted. ${detail(error)}`, true],
  invalid_request: (error) => [`This was not accepted. ${detail(error)}`, true],
  invalid_json: () => ['This message cannot be sent as it is.', true],
};

/** A wait beyond this is for the next day. */
const LONG_WAIT_SECONDS = 120;

/** The same where a file is uploaded. */
const OF_AN_UPLOAD = {
  ...SENTENCES,
  network: () => [navigator.onLine ? 'The connection was lost before all of it had arrived.' : 'You are offline. This goes on once you are connected.'],
  not_found: () => ['Nothing can be uploaded here any more.', true],
  rate_limited: (error) => (error.retryAfter > LONG_WAIT_SECONDS
    ? ['This is more than is left of today\'s allowance for files. It is renewed at midnight UTC.']
    : SENTENCES.rate_limited(error)),
  storage_refused: () => ['The storage for files did not accept it.'],
  storage_unavailable: () => ['The storage for files does not answer. Try again in a moment.'],
  too_large: () => ['It is too large to be uploaded.', true],
  unprocessable: () => ['A file of this kind cannot be uploaded.', true],
};

function problemIn(sentences, thrown) {
  const error = asApiError(thrown);
  const [text, isFinal = false] = sentences[error.code]?.(error) ?? ['Something went wrong on the server.'];
  // A reference helps only where someone has to look into the log.
  const reference = sentences[error.code] ? undefined : error.requestId;
  return { text, code: error.code, isFinal, reference };
}

/** `{text, code, isFinal, reference}` for whatever was thrown. */
export const problemOf = (thrown) => problemIn(SENTENCES, thrown);

/** The same for an upload. */
export const uploadProblemOf = (thrown) => problemIn(OF_AN_UPLOAD, thrown);

/** What is said below a reply that did not come to its end, by its metadata. */
export function endingOf({ status, finishReason } = {}) {
  if (status === 'stopped') return 'You stopped this reply.';
  if (status === 'interrupted') return 'This reply was interrupted.';
  if (status === 'error') return 'This reply failed before its end.';
  if (finishReason === 'length') return 'This reply ends here because it reached its greatest length.';
  if (finishReason === 'content-filter') return 'The rest of this reply was withheld by a content filter.';
  return undefined;
}
