// The files that go with the message that is being written. What fits is a part of it at once, the rest is uploaded first.
import { until, useEventListener } from '@vueuse/core';
import { computed, onScopeDispose, ref } from 'vue';
import { ApiError } from './api.js';
import { attach, attachedFile } from './attachments.js';
import { newId } from './newId.js';
import { uploadProblemOf } from './sentences.js';
import { upload } from './uploads.js';

const nameOf = (part) => part.filename ?? attachedFile(part)?.name ?? 'Picture';
/** A picture that is in the message is its own preview. */
const ofPart = (part) => ({
  key: newId(), name: nameOf(part), part, preview: part.type === 'file' && part.url.startsWith('data:') ? part.url : undefined,
});

/**
 * @param {object} options
 * @param {ReturnType<typeof import('./api.js').createApi>} options.api
 * @param {() => object | null | undefined} options.uploads what an upload may be; null: there are none; undefined: not known yet
 */
export function useAttachments({ api, uploads }) {
  /** `{key, name, preview?}`, and `part` once it can be sent; until then `file`, `mediaType`, `progress` from 0 to 1, `problem`. */
  const items = ref([]);
  const refusals = ref([]);
  const announcement = ref('');
  const isUploading = computed(() => items.value.some((item) => !item.part && !item.problem));
  const isFailed = computed(() => items.value.some((item) => item.problem));

  async function send(item) {
    Object.assign(item, { problem: undefined, progress: 0, abort: new AbortController() });
    announcement.value = `${item.name} is being uploaded.`;
    try {
      const { mediaType, name: filename } = item;
      const url = await upload(api, item, {
        signal: item.abort.signal,
        onProgress: (share) => { item.progress = share; },
      });
      item.part = { type: 'file', url, mediaType, filename };
      announcement.value = `${item.name} is uploaded.`;
    } catch (thrown) {
      if (thrown?.name !== 'AbortError') item.problem = uploadProblemOf(thrown);
    }
  }

  async function add(files) {
    refusals.value = [];
    await until(uploads).not.toBeUndefined();
    for (const file of files) {
      const others = items.value.map(({ part }) => part).filter(Boolean);
      const { part, refusal, ...own } = await attach(file, others, items.value.length, uploads());
      if (refusal) {
        refusals.value.push(refusal);
      } else if (part) {
        items.value.push(ofPart(part));
      } else {
        items.value.push({ key: newId(), name: file.name, file, ...own });
        send(items.value.at(-1));
      }
    }
  }

  function remove(item) {
    item.abort?.abort();
    items.value = items.value.filter(({ key }) => key !== item.key);
  }

  /** The parts of the message, which are sent now. */
  function take() {
    const parts = items.value.map(({ part }) => part);
    items.value = [];
    refusals.value = [];
    announcement.value = '';
    return parts;
  }

  const restore = (parts) => { items.value = [...parts.map(ofPart), ...items.value]; };

  // A network that is gone may leave an upload that never ends.
  useEventListener('offline', () => items.value.forEach(({ abort }) => abort?.abort(new ApiError(0, { code: 'network' }))));
  useEventListener('online', () => items.value.filter(({ problem }) => problem?.code === 'network').forEach(send));
  onScopeDispose(() => items.value.forEach(({ abort }) => abort?.abort()));

  return { add, announcement, isFailed, isUploading, items, refusals, remove, restore, send, take };
}
