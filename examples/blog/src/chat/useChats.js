// The list of the visitor's chats: pages of it, a search, and what happens to a chat while it is listed.
import { refDebounced } from '@vueuse/core';
import { computed, ref, shallowRef, watch } from 'vue';

const PAGE = 40;
const SEARCH_AFTER_MS = 250;
const DAY_MS = 86_400_000;

const startOfDay = (time) => new Date(time).setHours(0, 0, 0, 0);

/** The heading a chat stands under, by the day it was last changed. */
export function groupOf(chat, now = Date.now()) {
  if (chat.pinned) return 'Pinned';
  const days = Math.round((startOfDay(now) - startOfDay(chat.updatedAt)) / DAY_MS);
  if (days <= 0) return 'Today';
  if (days === 1) return 'Yesterday';
  if (days < 8) return 'Previous 7 days';
  if (days < 31) return 'Previous 30 days';
  return new Intl.DateTimeFormat('en', { month: 'long', year: 'numeric' }).format(new Date(chat.updatedAt));
}

const byChange = (a, b) => b.updatedAt.localeCompare(a.updatedAt);

export function useChats(api) {
  const items = shallowRef([]);
  const next = ref(null);
  const search = ref('');
  const isArchive = ref(false);
  const state = ref('loading'); // or 'ready', 'failed'
  const sought = refDebounced(search, SEARCH_AFTER_MS);
  let asked = 0;
  let hasPaged = false; // then `next` follows the last page that was read, not the first
  const changed = new Map(); // by chat: how many pages had been asked for when it changed here

  const ask = (cursor) => api.chats({
    limit: PAGE, cursor, q: sought.value.trim(), archived: isArchive.value || undefined,
  });

  /** The first page anew. What was paged to before stays, so that a turn does not shorten the list; so does what has
   *  changed here since the page was asked for. */
  async function refresh() {
    const mine = ++asked;
    const page = await ask();
    if (mine !== asked) return;
    const isNewer = (chat) => changed.get(chat.id) >= mine;
    const fresh = page.items.filter((chat) => !isNewer(chat));
    const known = new Set(fresh.map((chat) => chat.id));
    const oldest = page.items.at(-1)?.updatedAt;
    // A chat that would stand on this page and is not there has been deleted or archived elsewhere.
    const isBehind = (chat) => page.nextCursor && !known.has(chat.id) && chat.updatedAt < oldest;
    const kept = items.value.filter((chat) => isNewer(chat) || isBehind(chat));
    if (!hasPaged) next.value = page.nextCursor;
    items.value = [...fresh, ...kept].sort(byChange);
    state.value = 'ready';
  }

  async function load() {
    items.value = [];
    next.value = null;
    hasPaged = false;
    state.value = 'loading';
    try {
      await refresh();
    } catch {
      state.value = 'failed';
    }
  }

  async function more() {
    const page = await ask(next.value);
    hasPaged = true;
    const known = new Set(items.value.map((chat) => chat.id));
    items.value = [...items.value, ...page.items.filter((chat) => !known.has(chat.id))];
    next.value = page.nextCursor;
  }

  /** Puts a chat where it belongs now: it is new, was changed, or is open and not on any page that was loaded. */
  function put(chat) {
    changed.set(chat.id, asked);
    if (Boolean(chat.archived) !== isArchive.value || sought.value.trim()) {
      items.value = items.value.map((known) => (known.id === chat.id ? { ...known, ...chat } : known))
        .filter((known) => Boolean(known.archived) === isArchive.value);
      return;
    }
    const known = items.value.find((other) => other.id === chat.id);
    const all = [...items.value.filter((other) => other !== known), { ...known, ...chat }];
    items.value = all.sort(byChange);
  }

  function remove(id) {
    changed.set(id, asked);
    items.value = items.value.filter((chat) => chat.id !== id);
  }

  watch([sought, isArchive], load);
  load();

  const groups = computed(() => {
    const found = new Map();
    const ordered = [...items.value.filter((chat) => chat.pinned), ...items.value.filter((chat) => !chat.pinned)];
    for (const chat of ordered) {
      const name = groupOf(chat);
      found.set(name, [...(found.get(name) ?? []), chat]);
    }
    return [...found].map(([name, chats]) => ({ name, chats }));
  });

  return { groups, isArchive, items, load, more, next, put, refresh, remove, search, state };
}
