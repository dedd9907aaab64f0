// The page's policy refuses code that is made at run time: zod, which the AI SDK checks streams with, is told before any
// schema is made.
import { config } from 'zod';

config({ jitless: true });
