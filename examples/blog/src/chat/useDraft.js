import { useLocalStorage } from '@vueuse/core';
import { computed } from 'vue';

/** The text that is being written in a chat: one for each chat, kept over a reload, forgotten once it is empty. */
export function useDraft(chatId) {
  const stored = useLocalStorage(() => `chat-draft:${chatId()}`, null, {
    flush: 'sync', // into this chat's place, though the chat is another one in a moment
    serializer: { read: (text) => text, write: (text) => text },
  });
  return computed({
    get: () => stored.value ?? '',
    set: (text) => { stored.value = text || null; },
  });
}
