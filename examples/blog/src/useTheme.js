import { useColorMode } from '@vueuse/core';

/** Light, dark or as the system has it; `auto` follows the system while the page is open. */
export const useTheme = () => useColorMode({ storageKey: 'theme', emitAuto: true, disableTransition: false });
