// One chat: its messages, the reply that is being written, and what happens when one of them does not arrive. The AI SDK
// reads the streams; this decides when to load the chat again, when to go on with a reply, and when to send again.
import { useChat } from '@ai-sdk/vue';
import { useEventListener } from '@vueuse/core';
import { DefaultChatTransport, lastAssistantMessageIsCompleteWithApprovalResponses } from 'ai';
import { computed, onScopeDispose, reactive, ref, shallowRef } from 'vue';
import { ApiError } from './api.js';
import { isAttachment } from './attachments.js';
import { newId } from './newId.js';
import { problemOf } from './sentences.js';

/** How often the page draws while words arrive. */
const THROTTLE_MS = 60;
const RECONNECT_AFTER_MS = 2000;
/** How often in a row a lost reply is gone after without being asked. */
const RECONNECTS = 3;
/** A stop that finds no reply is said again after so long, and so often. */
const STOP_AGAIN_MS = 250;
const STOPS = 20;
/** Refusals after which the message is stored: another one may be sent behind it. */
const STORED = ['model_refused', 'model_unavailable', 'stopped'];
/** Ends of a stream after which the reply may go on. */
const LOST = ['network', 'resume_again', 'cut_off'];

/** A reply has its status once it has ended. */
const isUnfinished = (message) => message?.role === 'assistant' && !message.metadata?.status;

/** What a chat is called until the server knows better. */
function titleOf(parts) {
  const text = parts.findLast((part) => part.type === 'text')?.text.trim().split('\n')[0] || 'Attachment';
  return text.length > 60 ? `${text.slice(0, 59)}…` : text;
}

/**
 * @param {object} options
 * @param {ReturnType<typeof import('./api.js').createApi>} options.api
 * @param {string} options.id the chat's id
 * @param {boolean} options.isNew whether the chat is not stored yet
 * @param {() => string | undefined} options.model the model that the visitor has chosen
 * @param {(chat: object) => void} options.onChat called when the chat is another one, for the list
 * @param {() => void} options.onSettled called after a reply
 * @param {(message: object) => void} options.onRefused called with a message that is not stored and cannot be sent as it is
 */
export function useConversation({ api, id, isNew, model, onChat, onSettled, onRefused }) {
  const state = ref(isNew ? 'ready' : 'loading'); // or 'missing', 'failed'
  const chat = shallowRef();
  const isForeign = ref(false); // somebody else's, who has made it public: it is read, and nothing is sent to it
  const earlier = ref(null);
  const problem = shallowRef();
  const waiting = shallowRef();
  const votes = reactive(new Map());
  const versions = shallowRef(new Map()); // by message: the ids of all that stand in its place, itself among them
  let stops = 0;
  let isGone = false;
  let reconnects = 0;

  const talk = useChat({
    id,
    generateId: newId,
    throttle: THROTTLE_MS,
    onData: ({ type, data }) => {
      if (type === 'data-chat-title' && !isGone) publish({ title: data });
    },
    transport: new DefaultChatTransport({
      api: `${api.base}/api/chat`,
      fetch: api.fetch,
      // Of what is posted only the last message counts: the history is the database's.
      prepareSendMessagesRequest: ({ messages: all, trigger, messageId, requestMetadata }) => ({
        body: {
          id,
          message: all.at(-1),
          trigger,
          model: model(),
          // What is sent again is no edit: the same message has one reply, however often it is posted.
          messageId: requestMetadata?.isRetry ? undefined : messageId,
        },
      }),
      prepareReconnectToStreamRequest: () => ({ api: `${api.base}/api/chat/${encodeURIComponent(id)}/stream` }),
    }),
  });
  const { messages, status } = talk;

  const isWriting = computed(() => status.value === 'submitted' || status.value === 'streaming');
  const isBusy = computed(() => isWriting.value || Boolean(waiting.value));
  const unanswered = computed(() => {
    const last = messages.value.at(-1);
    return !isWriting.value && last?.role === 'user' ? last : undefined;
  });
  /** Whether the last message may not have arrived: it is sent again before another one is. */
  const isUnsent = computed(() => Boolean(unanswered.value && problem.value && !STORED.includes(problem.value.code)));

  function publish(changes) {
    chat.value = { id, ...chat.value, ...changes };
    onChat(chat.value);
  }

  const report = (thrown, repair) => { problem.value = { ...problemOf(thrown), repair }; };

  // --- loading

  /** Shows what is stored, whether a reply is being written or not, and says which. What is shown and older than that stays,
   *  and so does a message that never arrived. */
  async function refresh() {
    const { messages: stored, prevCursor, activeStreamId, isOwner, ...rest } = await api.chat(id);
    if (isGone) return false;
    const shown = messages.value;
    const overlap = stored.length ? shown.findIndex((message) => message.id === stored[0].id) : -1;
    const last = shown.at(-1);
    const isMissing = last?.role === 'user' && !stored.some((message) => message.id === last.id);
    // What was read of a reply stays in sight until more of it comes.
    const isPart = activeStreamId && isUnfinished(last) && shown.at(-2)?.id === stored.at(-1)?.id;
    if (overlap <= 0) earlier.value = prevCursor;
    messages.value = [...shown.slice(0, Math.max(0, overlap)), ...stored, ...(isMissing || isPart ? [last] : [])];
    talk.clearError();
    isForeign.value = isOwner === false;
    if (isForeign.value) chat.value = { id, ...rest };
    else publish(rest);
    return Boolean(activeStreamId);
  }

  async function load() {
    state.value = 'loading';
    problem.value = undefined;
    try {
      const isBeingWritten = await refresh();
      if (isGone) return;
      state.value = 'ready';
      if (isForeign.value) {
        giveBack();
        return;
      }
      api.votes(id).then((all) => all.forEach((vote) => votes.set(vote.messageId, vote.isUpvoted)), () => {});
      loadVersions().catch(() => {});
      if (isBeingWritten) await run(resume);
    } catch (thrown) {
      if (isGone) return;
      report(thrown, load);
      state.value = problem.value.code === 'not_found' ? 'missing' : 'failed';
      if (state.value === 'missing') giveBack();
      return;
    }
    const message = waiting.value;
    waiting.value = undefined;
    if (message) await submit(message);
  }

  async function loadVersions() {
    const { branches } = await api.branches(id);
    const places = branches.map((branch) => branch.messages.map((message) => message.id)).filter((ids) => ids.length > 1);
    versions.value = new Map(places.flatMap((ids) => ids.map((one) => [one, ids])));
  }

  /** Goes on with another version of a message, and with what followed that. */
  async function takeVersion(messageId) {
    await api.takeBranch(id, messageId);
    await refresh();
    await loadVersions();
  }

  function giveBack() {
    if (waiting.value) onRefused(waiting.value);
    waiting.value = undefined;
  }

  async function loadEarlier() {
    const page = await api.messages(id, earlier.value);
    messages.value = [...page.messages, ...messages.value];
    earlier.value = page.prevCursor;
  }

  // --- a turn

  /** Runs one request of the AI SDK, which ends with the reply, and sees to it if the reply did not end. */
  async function run(request) {
    problem.value = undefined;
    const before = stops;
    await request();
    if (isGone || stops !== before) return undefined;
    if (talk.error.value) return failed(talk.error.value);
    const last = messages.value.at(-1);
    // A stream may end without a word where its reply has not.
    if (isUnfinished(last)) return failed(new ApiError(0, { code: 'cut_off' }));
    if (last?.role === 'user') return recover();
    reconnects = 0;
    loadVersions().catch(() => {});
    return onSettled();
  }

  async function failed(thrown) {
    const found = problemOf(thrown);
    if (LOST.includes(found.code)) return recover();
    // With fewer files it may be accepted today.
    const isFinal = found.isFinal || (found.code === 'budget_spent' && Boolean(unanswered.value?.parts.some(isAttachment)));
    const isRefused = isFinal && unanswered.value;
    report(thrown, isFinal ? undefined : retry);
    if (!isRefused) return onSettled();
    const message = unanswered.value;
    messages.value = messages.value.filter((known) => known !== message);
    onRefused(message);
    if (found.code === 'not_found' && !messages.value.length) state.value = 'missing';
    else if (chat.value?.createdAt) await refresh().catch(() => {});
    report(thrown);
  }

  /** Loads the chat after a cut, and goes on with what is there: a reply that is still being written, one that has ended
   *  meanwhile, or a message that never arrived. */
  async function recover() {
    const isLate = reconnects >= RECONNECTS;
    reconnects += 1;
    if (isLate || !navigator.onLine) return report(new ApiError(0, { code: 'network' }), again);
    problem.value = { code: 'network', text: 'The connection was lost. Connecting again …' };
    if (reconnects > 1) await new Promise((resolve) => { setTimeout(resolve, RECONNECT_AFTER_MS); });
    if (isGone) return undefined;
    let isBeingWritten;
    try {
      isBeingWritten = await refresh();
    } catch (thrown) {
      const { code } = problemOf(thrown);
      // A chat whose first message never arrived is not there yet.
      if (code !== 'not_found' || !unanswered.value) return code === 'network' ? recover() : report(thrown, again);
    }
    if (isBeingWritten) return run(resume);
    if (unanswered.value) return retry();
    problem.value = undefined;
    return onSettled();
  }

  const again = () => {
    reconnects = 0;
    return recover();
  };

  async function resume() {
    await talk.resumeStream();
    const last = messages.value.at(-1);
    // It ended between the two requests.
    if (status.value === 'ready' && (last?.role === 'user' || isUnfinished(last))) await refresh();
  }

  /** Answers the last message again, or for the first time: the same message, so that it is stored once. */
  function retry() {
    if (unanswered.value) return run(() => talk.sendMessage(undefined, { metadata: { isRetry: true } }));
    return regenerate(messages.value.at(-1).id);
  }

  function submit(message) {
    publish({ title: chat.value?.title ?? titleOf(message.parts), updatedAt: new Date().toISOString() });
    return run(() => talk.sendMessage(message));
  }

  async function send(parts) {
    const message = { id: newId(), role: 'user', parts, metadata: { createdAt: Date.now() } };
    if (state.value === 'ready') await submit(message);
    else waiting.value = message; // until the chat has loaded
  }

  const edit = (messageId, parts) =>
    run(() => talk.sendMessage({ role: 'user', parts, messageId, metadata: { createdAt: Date.now() } }));

  /** Allows or refuses what the reply asks; it goes on once all of that is answered. */
  async function answer({ id: approval, approved }) {
    await talk.addToolApprovalResponse({ id: approval, approved });
    if (!lastAssistantMessageIsCompleteWithApprovalResponses({ messages: messages.value })) return;
    await run(() => talk.sendMessage());
    // It was answered elsewhere, or the chat has gone on.
    if (problem.value?.code === 'stale') await refresh();
  }

  const regenerate = (messageId) => run(() => talk.regenerate({ messageId }));

  /** Stops the server's reply. A stop that overtakes the message finds none, perhaps not even the chat. */
  async function stopReply() {
    for (let n = 0; n < STOPS; n += 1) {
      const { stopped } = await api.stop(id).catch((thrown) => {
        if (problemOf(thrown).code !== 'not_found') throw thrown;
        return { stopped: false };
      });
      if (stopped || !isWriting.value) return;
      await new Promise((resolve) => { setTimeout(resolve, STOP_AGAIN_MS); });
    }
  }

  /** Both: the server's reply, and reading it. A message that is on its way is let through first: nobody can take it back. */
  async function stop() {
    stops += 1;
    try {
      await Promise.all([stopReply(), status.value === 'submitted' ? undefined : talk.stop()]);
      await talk.stop();
      const last = messages.value.at(-1);
      if (last?.role === 'assistant') {
        messages.value = messages.value.with(-1, { ...last, metadata: { ...last.metadata, status: 'stopped' } });
      } else {
        problem.value = { code: 'stopped', text: 'You stopped the reply before it began.', repair: retry };
      }
      onSettled();
    } catch (thrown) {
      report(thrown, again);
    }
  }

  async function vote(messageId, isUpvoted) {
    const value = votes.get(messageId) === isUpvoted ? undefined : isUpvoted;
    await api.vote(id, { messageId, isUpvoted: value });
    votes.set(messageId, value);
  }

  /** A network that is gone may leave a stream open that never says another word. */
  useEventListener('offline', async () => {
    if (!isWriting.value) return;
    stops += 1;
    await talk.stop();
    if (!isGone) await recover();
  });
  useEventListener('online', () => {
    if (problem.value?.code === 'network') problem.value.repair?.();
  });
  // Only the reading ends: the server writes the reply to its end, and the next visit shows it.
  onScopeDispose(() => {
    isGone = true;
    talk.stop();
  });
  if (!isNew) load();

  return {
    answer, chat, earlier, edit, isBusy, isForeign, isUnsent, isWriting, load, loadEarlier, messages, problem, regenerate, retry, send, state,
    status, stop, takeVersion, versions, vote, votes, waiting,
    setChat: (changes) => { chat.value = { ...chat.value, ...changes }; },
  };
}
