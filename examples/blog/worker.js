// A Cloudflare Worker beside a blog: mints a five-minute token for its visitor, logged in or not. No AWS SDK, no driver,
// no database password. SIGNING_KEY is a private Ed25519 JWK with a kid; its public half is the API's AUTH_JWKS.
import { visitorOf } from './session.js'; // yours: {id, isGuest} from the login cookie or the anonymous one

const utf8 = (text) => new TextEncoder().encode(text);
const encode = (bytes) => btoa(String.fromCharCode(...bytes)).replace(/=+$/, '').replaceAll('+', '-').replaceAll('/', '_');
const part = (value) => encode(utf8(JSON.stringify(value)));

export default {
  async fetch(request, env) {
    const { id, isGuest } = await visitorOf(request, env);
    const jwk = JSON.parse(env.SIGNING_KEY), now = Math.floor(Date.now() / 1000);
    const key = await crypto.subtle.importKey('jwk', jwk, { name: 'Ed25519' }, false, ['sign']);
    const claims = { iss: env.ISSUER, aud: env.AUDIENCE, sub: id, iat: now, exp: now + 300, ...(isGuest && { anon: true }) };
    const input = `${part({ alg: 'EdDSA', typ: 'JWT', kid: jwk.kid })}.${part(claims)}`;
    const signature = encode(new Uint8Array(await crypto.subtle.sign('Ed25519', key, utf8(input))));
    return Response.json({ token: `${input}.${signature}` }, { headers: { 'cache-control': 'no-store' } });
  },
};
