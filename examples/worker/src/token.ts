// The visitor's token for the chat backend: ES256, valid for an hour. The browser sends it as a bearer token.
import type { Env } from './index'
import { base64url } from './visitor'

const VALID_S = 3600

export async function mintToken(env: Env, visitor: string): Promise<{ token: string; expiresIn: number }> {
  const jwk = JSON.parse(env.JWT_PRIVATE_KEY) as JsonWebKey & { kid?: string }
  const key = await crypto.subtle.importKey('jwk', jwk, { name: 'ECDSA', namedCurve: 'P-256' }, false, ['sign'])
  const now = Math.floor(Date.now() / 1000)
  const part = (value: unknown) => base64url(new TextEncoder().encode(JSON.stringify(value)))
  const head = part({ alg: 'ES256', typ: 'JWT', kid: jwk.kid })
  // anon: a guest without an account.
  const claims = part({ iss: env.AUTH_ISSUER, aud: env.AUTH_AUDIENCE, sub: visitor, anon: true, iat: now, exp: now + VALID_S })
  const signed = new TextEncoder().encode(`${head}.${claims}`)
  const signature = await crypto.subtle.sign({ name: 'ECDSA', hash: 'SHA-256' }, key, signed)
  return { token: `${head}.${claims}.${base64url(new Uint8Array(signature))}`, expiresIn: VALID_S }
}
