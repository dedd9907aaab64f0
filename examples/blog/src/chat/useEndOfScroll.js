// The end of a column that grows: it stays in sight until someone scrolls away from it, and again once they are back.
import { useEventListener, useResizeObserver } from '@vueuse/core';
import { ref } from 'vue';

/** How near counts as the end, in CSS pixels. */
const NEAR = 48;

/**
 * @param {import('vue').Ref<HTMLElement | null>} view what scrolls
 * @param {import('vue').Ref<HTMLElement | null>} content what grows in it
 */
export function useEndOfScroll(view, content) {
  const isAtEnd = ref(true);
  let top = 0;

  const distance = () => view.value.scrollHeight - view.value.clientHeight - view.value.scrollTop;

  function toEnd({ isSmooth = false } = {}) {
    isAtEnd.value = true;
    const behavior = isSmooth && !matchMedia('(prefers-reduced-motion: reduce)').matches ? 'smooth' : 'instant';
    view.value?.scrollTo({ top: view.value.scrollHeight, behavior });
  }

  useEventListener(view, 'scroll', () => {
    const isUp = view.value.scrollTop < top;
    top = view.value.scrollTop;
    if (distance() <= NEAR) isAtEnd.value = true;
    else if (isUp) isAtEnd.value = false;
  }, { passive: true });
  useResizeObserver([content, view], () => {
    if (isAtEnd.value && distance() > 0) toEnd();
  });

  return { isAtEnd, toEnd };
}
