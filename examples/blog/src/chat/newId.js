import { createIdGenerator } from 'ai';

/** 16 letters and digits, as the AI SDK makes ids. */
export const newId = createIdGenerator({ size: 16 });
