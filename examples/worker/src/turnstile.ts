// The check that a visitor is not a program: Turnstile's widget on the page makes a token, and siteverify says what it is worth.

export interface CheckEnv {
  // 'off' mints for everybody: on a machine of one's own alone.
  TURNSTILE?: string;
  // The widget's secret.
  TURNSTILE_SECRET?: string;
}

const SITEVERIFY = 'https://challenges.cloudflare.com/turnstile/v0/siteverify';
// As long as one is, by its description.
const MAX_TOKEN_CHARS = 2048;
const PATIENCE_MS = 5_000;
// What the page names in its widget, so that a token of another form of the same site opens nothing here.
const ACTION = 'chat';
// Errors that are not the visitor's.
const OURS = new Set(['missing-input-secret', 'invalid-input-secret', 'bad-request', 'internal-error']);

interface Verdict {
  success?: boolean;
  hostname?: string;
  action?: string;
  'error-codes'?: string[];
}

// What a token is worth; 'unknown' when nobody could say, and then nothing is minted.
export async function verified(env: CheckEnv, token: unknown, address: string, hostname: string): Promise<'passed' | 'refused' | 'unknown'> {
  if (env.TURNSTILE === 'off') return 'passed';
  if (!env.TURNSTILE_SECRET) throw new Error('TURNSTILE_SECRET is not set');
  if (typeof token !== 'string' || token.length < 1 || token.length > MAX_TOKEN_CHARS) return 'refused';
  let verdict: Verdict;
  try {
    const response = await fetch(SITEVERIFY, {
      method: 'POST',
      headers: { 'Content-Type': 'application/json' },
      body: JSON.stringify({ secret: env.TURNSTILE_SECRET, response: token, ...(address && { remoteip: address }) }),
      signal: AbortSignal.timeout(PATIENCE_MS),
    });
    verdict = await response.json<Verdict>();
  } catch (error) {
    console.error(JSON.stringify({ message: 'siteverify did not answer', error: String(error) }));
    return 'unknown';
  }
  const codes = verdict['error-codes'] ?? [];
  if (codes.some((code) => OURS.has(code))) {
    console.error(JSON.stringify({ message: 'siteverify does not take the request', codes }));
    return 'unknown';
  }
  const isOurs = verdict.hostname === hostname && verdict.action === ACTION;
  return verdict.success === true && isOurs ? 'passed' : 'refused';
}
