// The page: a list of chats, one of them open. The address names it (#id), so a reload opens it again, and a reply that is
// being written goes on where it is.
import { ApiError, json, newId, readReply, request } from './api.js';

const $ = (id) => document.getElementById(id);
const state = {
  chats: [], next: null, id: null, title: 'New chat', messages: [], votes: new Map(),
  reply: null, // { abort, message } while one is being written
  editing: null,
};

// --- what is shown

function showList() {
  $('list').replaceChildren(...state.chats.map((chat) => {
    const button = Object.assign(document.createElement('button'), { type: 'button', textContent: chat.title });
    button.setAttribute('aria-current', String(chat.id === state.id));
    button.addEventListener('click', () => { location.hash = chat.id; closeMenu(); });
    const item = document.createElement('li');
    item.append(button);
    return item;
  }));
  $('more').hidden = !state.next;
  $('rename').hidden = $('delete').hidden = !state.chats.some((chat) => chat.id === state.id);
}

const line = (name, text) => Object.assign(document.createElement('div'), { className: name, textContent: text });

function fill(item, message, writing) {
  item.className = `message ${message.role}${writing ? ' writing' : ''}`;
  item.dataset.id = message.id;
  const parts = message.parts.filter((part) => part.text).map((part) => line(part.type, part.text));
  const status = message.metadata?.status;
  if (!writing && ['stopped', 'interrupted', 'error'].includes(status)) parts.push(line('status', `(${status})`));
  item.querySelector('.text').replaceChildren(...parts);
  for (const [action, value] of [['up', true], ['down', false]]) {
    item.querySelector(`[data-action=${action}]`).setAttribute('aria-pressed', String(state.votes.get(message.id) === value));
  }
}

function showMessages() {
  const items = state.messages.map((message) => {
    const item = $('message').content.firstElementChild.cloneNode(true);
    fill(item, message, message === state.reply?.message);
    return item;
  });
  $('messages').replaceChildren(...items);
  items.at(-1)?.scrollIntoView({ block: 'end' });
  $('title').textContent = state.title;
  showBusy();
}

function showBusy() {
  $('stop').hidden = !state.reply;
  $('send').hidden = Boolean(state.reply);
  document.body.dataset.busy = String(Boolean(state.reply));
}

function showReply(message) {
  const last = $('messages').lastElementChild;
  if (last?.classList.contains('writing')) fill(last, message, true);
  else showMessages();
  $('messages').scrollTop = $('messages').scrollHeight;
}

function notice(text) {
  $('notice').textContent = text ?? '';
  $('notice').hidden = !text;
}

const told = (work) => async (...args) => {
  try {
    await work(...args);
  } catch (error) {
    if (error.name !== 'AbortError') notice(error.requestId ? `${error.message} (request ${error.requestId})` : error.message);
  }
};

// --- chats

async function loadList(more = false) {
  const query = more && state.next ? `?cursor=${encodeURIComponent(state.next)}` : '';
  const page = await json('GET', `/api/chats${query}`);
  state.chats = more ? [...state.chats, ...page.items] : page.items;
  state.next = page.nextCursor;
  showList();
}

async function openChat() {
  state.reply?.abort.abort(); // stops reading, not the reply: that is written to its end
  const id = location.hash.slice(1);
  Object.assign(state, { id: id || newId(), title: 'New chat', messages: [], votes: new Map(), reply: null, editing: null });
  notice();
  showMessages();
  showList();
  if (!id) return $('input').focus();
  let chat;
  try {
    chat = await json('GET', `/api/chats/${id}`);
  } catch (error) {
    if (error.status === 404) return;
    throw error;
  }
  if (state.id !== id) return;
  Object.assign(state, { title: chat.title, messages: chat.messages });
  for (const vote of await json('GET', `/api/chats/${id}/votes`)) state.votes.set(vote.messageId, vote.isUpvoted);
  showMessages();
  if (chat.activeStreamId) await resume();
}

async function resume() {
  const id = state.id;
  await reading(async (signal) => {
    const response = await request('GET', `/api/chat/${id}/stream`, undefined, { signal });
    if (response.status === 204) { // it ended in between
      state.messages = (await json('GET', `/api/chats/${id}`)).messages;
      return undefined;
    }
    return response;
  });
}

// --- a turn

/** Shows the reply that `begin` answers with while it is read. */
async function reading(begin) {
  const reply = { abort: new AbortController(), message: null, id: state.id };
  state.reply = reply;
  notice();
  showBusy();
  const mine = () => state.reply === reply;
  try {
    const response = await begin(reply.abort.signal);
    if (!response) return;
    await readReply(response, (message) => {
      if (!mine()) return;
      if (!reply.message) state.messages.push(message);
      reply.message = message;
      showReply(message);
    }, (title) => { if (mine()) { state.title = title; $('title').textContent = title; } });
  } catch (error) {
    if (error instanceof ApiError && error.code === 'resume_again' && mine()) {
      state.messages.pop();
      return resume();
    }
    throw error;
  } finally {
    if (mine()) {
      state.reply = null;
      showMessages();
      loadList().catch(() => {});
    }
  }
}

async function send(text) {
  const editing = state.editing;
  const message = { id: editing ?? newId(), role: 'user', parts: [{ type: 'text', text }] };
  if (editing) state.messages.length = state.messages.findIndex((known) => known.id === editing);
  state.messages.push(message);
  state.editing = null;
  if (location.hash.slice(1) !== state.id) history.replaceState(null, '', `#${state.id}`);
  showMessages();
  try {
    await reading((signal) => request('POST', '/api/chat',
      { id: state.id, message, trigger: 'submit-message', ...(editing ? { messageId: editing } : {}) }, { signal }));
  } catch (error) {
    if (error.status >= 400) { // refused: nothing was stored
      if (editing) await openChat();
      else state.messages = state.messages.filter((known) => known !== message);
      $('input').value = text;
      grow();
      showMessages();
    }
    throw error;
  }
}

async function regenerate(messageId) {
  const place = state.messages.findIndex((message) => message.id === messageId);
  state.messages.length = place;
  const message = state.messages.at(-1);
  showMessages();
  await reading((signal) => request('POST', '/api/chat', { id: state.id, message, trigger: 'regenerate-message', messageId }, { signal }));
}

// The server ends the reply with `abort`; what it said until then is kept.
const stop = told(async () => {
  if (state.reply) await json('POST', `/api/chat/${state.id}/stop`, {});
});

async function vote(messageId, isUpvoted) {
  const taken = state.votes.get(messageId) === isUpvoted;
  await json('POST', `/api/chats/${state.id}/votes`, taken ? { messageId } : { messageId, isUpvoted });
  if (taken) state.votes.delete(messageId); else state.votes.set(messageId, isUpvoted);
  showMessages();
}

// --- what the visitor does

const submit = told(async () => {
  const text = $('input').value.trim();
  if (!text || state.reply) return;
  $('input').value = '';
  grow();
  await send(text);
});

function grow() {
  $('input').style.height = 'auto';
  $('input').style.height = `${$('input').scrollHeight + 2}px`;
}

function closeMenu(open = false) {
  $('side').classList.toggle('open', open);
  $('menu').setAttribute('aria-expanded', String(open));
}

function newChat() {
  if (location.hash) location.hash = '';
  else told(openChat)();
  closeMenu();
}

$('form').addEventListener('submit', (event) => { event.preventDefault(); submit(); });
$('input').addEventListener('input', grow);
$('input').addEventListener('keydown', (event) => {
  if (event.key === 'Enter' && !event.shiftKey && !event.isComposing) { event.preventDefault(); submit(); }
});
document.addEventListener('keydown', (event) => {
  if (event.key === 'Escape') {
    if (state.reply) stop();
    else if (state.editing) { state.editing = null; $('input').value = ''; grow(); notice(); } else closeMenu();
  }
  if (event.key.toLowerCase() === 'k' && (event.ctrlKey || event.metaKey)) { event.preventDefault(); newChat(); }
});
$('stop').addEventListener('click', stop);
$('new').addEventListener('click', newChat);
$('menu').addEventListener('click', () => closeMenu(!$('side').classList.contains('open')));
$('more').addEventListener('click', told(() => loadList(true)));
$('rename').addEventListener('click', told(async () => {
  const title = prompt('Title', state.title)?.trim();
  if (!title) return;
  state.title = (await json('PATCH', `/api/chats/${state.id}/title`, { title })).title;
  showMessages();
  await loadList();
}));
$('delete').addEventListener('click', told(async () => {
  if (!confirm('Delete this chat?')) return;
  await json('DELETE', `/api/chats/${state.id}`);
  newChat();
  await loadList();
}));
$('messages').addEventListener('click', told(async (event) => {
  const action = event.target.dataset?.action;
  const id = event.target.closest('.message')?.dataset.id;
  if (!action || !id || state.reply) return;
  if (action === 'edit') {
    const message = state.messages.find((known) => known.id === id);
    $('input').value = message.parts.filter((part) => part.type === 'text').map((part) => part.text).join('\n');
    state.editing = id;
    grow();
    $('input').focus();
    notice('Editing: what follows this message will be replaced. Esc cancels.');
  } else if (action === 'regenerate') await regenerate(id);
  else await vote(id, action === 'up');
}));

const dark = matchMedia('(prefers-color-scheme: dark)');
$('theme').addEventListener('click', () => {
  const root = document.documentElement;
  const next = (root.dataset.theme ?? (dark.matches ? 'dark' : 'light')) === 'dark' ? 'light' : 'dark';
  root.dataset.theme = next;
  localStorage.setItem('theme', next);
});
document.documentElement.dataset.theme = localStorage.getItem('theme') ?? (dark.matches ? 'dark' : 'light');
addEventListener('hashchange', told(openChat));
await told(async () => { await Promise.all([loadList(), openChat()]); })();
document.body.dataset.ready = 'true';
