// Who a visitor is: a random id in a cookie that only this Worker can write, since the id opens his chats.
import type { Env } from './index'

const COOKIE = 'visitor'
const YEAR_S = 365 * 24 * 3600

export interface Visitor {
  id: string
  /** Of the response: the cookie, where it is new. */
  headers: Headers
}

export async function recognise(request: Request, env: Env): Promise<Visitor> {
  const headers = new Headers()
  const cookies = request.headers.get('cookie') ?? ''
  const value = cookies.split(/;\s*/).find((part) => part.startsWith(`${COOKIE}=`))?.slice(COOKIE.length + 1)
  const [id, signature] = value?.split('.') ?? []
  if (id && signature && (await verify(env.VISITOR_SECRET, id, signature))) return { id, headers }
  const fresh = crypto.randomUUID()
  const signed = base64url(new Uint8Array(await crypto.subtle.sign('HMAC', await key(env.VISITOR_SECRET), encode(fresh))))
  headers.set('set-cookie', `${COOKIE}=${fresh}.${signed}; Max-Age=${YEAR_S}; Path=/; Secure; HttpOnly; SameSite=Lax`)
  return { id: fresh, headers }
}

async function verify(secret: string, id: string, signature: string): Promise<boolean> {
  try {
    const bytes = Uint8Array.from(atob(signature.replace(/-/g, '+').replace(/_/g, '/')), (c) => c.charCodeAt(0))
    return await crypto.subtle.verify('HMAC', await key(secret), bytes, encode(id))
  } catch {
    return false
  }
}

const encode = (text: string) => new TextEncoder().encode(text)

const key = (secret: string) =>
  crypto.subtle.importKey('raw', encode(secret), { name: 'HMAC', hash: 'SHA-256' }, false, ['sign', 'verify'])

export function base64url(bytes: Uint8Array): string {
  return btoa(String.fromCharCode(...bytes)).replace(/\+/g, '-').replace(/\//g, '_').replace(/=+$/, '')
}
