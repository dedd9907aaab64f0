// The Worker of a blog. Reactions and comments lie in Aurora DSQL, reached over HTTP by the Neon driver: no AWS SDK, no
// token, no socket. For the chat backend it mints a short-lived token with a key that never leaves it.
import { neon, neonConfig, NeonDbError } from '@neondatabase/serverless'
import { addComment, listComments, listReactions, react, unreact } from './posts'
import { mintToken } from './token'
import { recognise } from './visitor'

export interface Env {
  /** The connection string of a login; a secret. */
  DATABASE_URL: string
  /** The URL that answers `/sql`, where it is not `api.<zone of the host>`. */
  SQL_ENDPOINT?: string
  /** The private JWK whose public half the chat backend has; a secret. */
  JWT_PRIVATE_KEY: string
  /** Signs visitors' cookies; a secret. */
  VISITOR_SECRET: string
  BLOG_ORIGIN: string
  AUTH_ISSUER: string
  AUTH_AUDIENCE: string
}

/** What a visitor did wrong; its message is for him. */
export class BadRequest extends Error {}

const MOST_BODY_BYTES = 16 * 1024

export default {
  async fetch(request, env) {
    const { headers, id: visitor } = await recognise(request, env)
    headers.set('access-control-allow-origin', env.BLOG_ORIGIN)
    headers.set('access-control-allow-credentials', 'true')
    headers.set('cache-control', 'no-store')
    headers.set('vary', 'origin')
    if (request.method === 'OPTIONS') {
      headers.set('access-control-allow-methods', 'GET, POST, DELETE')
      headers.set('access-control-allow-headers', 'content-type')
      return new Response(null, { status: 204, headers })
    }
    // A cookie travels with any site's request; only the blog's own pages may act for its visitors.
    const origin = request.headers.get('origin')
    if (request.method !== 'GET' && origin !== env.BLOG_ORIGIN) {
      return Response.json({ message: 'not from this page' }, { status: 403, headers })
    }
    try {
      const answer = await route(request, env, visitor)
      return answer === undefined
        ? Response.json({ message: 'not found' }, { status: 404, headers })
        : Response.json(answer, { headers })
    } catch (error) {
      const { status, message } = explain(error)
      return Response.json({ message }, { status, headers })
    }
  },
} satisfies ExportedHandler<Env>

async function route(request: Request, env: Env, visitor: string): Promise<unknown> {
  if (env.SQL_ENDPOINT) neonConfig.fetchEndpoint = env.SQL_ENDPOINT
  const sql = neon(env.DATABASE_URL)
  const url = new URL(request.url)
  const [, first, slug, what] = url.pathname.split('/')
  const post = slug ? decodeURIComponent(slug) : ''
  const method = request.method
  if (first === 'chat-token' && !slug && method === 'POST') return mintToken(env, visitor)
  if (first !== 'posts' || !/^[a-z0-9-]{1,100}$/.test(post)) return undefined
  switch (`${method} ${what}`) {
    case 'GET reactions':
      return listReactions(sql, post, visitor)
    case 'POST reactions':
      return react(sql, post, visitor, await body(request))
    case 'DELETE reactions':
      return unreact(sql, post, visitor, await body(request))
    case 'GET comments':
      return listComments(sql, post, url.searchParams.get('before'))
    case 'POST comments':
      return addComment(sql, post, visitor, await body(request))
    default:
      return undefined
  }
}

async function body(request: Request): Promise<Record<string, unknown>> {
  const text = await request.text()
  if (text.length > MOST_BODY_BYTES) throw new BadRequest('too long')
  try {
    const value: unknown = JSON.parse(text)
    if (value && typeof value === 'object' && !Array.isArray(value)) return value as Record<string, unknown>
  } catch {
    // said below
  }
  throw new BadRequest('a JSON object is expected')
}

/** What the visitor reads of an error; the log has the rest. */
function explain(error: unknown): { status: number; message: string } {
  if (error instanceof BadRequest) return { status: 400, message: error.message }
  if (error instanceof NeonDbError) {
    console.error('database', error.code ?? 'unreachable', error.message)
    // Conflicts that did not go away, a full or waking database, an unknown outcome: all worth another try.
    const passing = ['40001', '08006', '08007', '53300', '53400', '57014', '57P03']
    if (!error.code || passing.includes(error.code)) return { status: 503, message: 'please try again' }
  } else {
    console.error(error)
  }
  return { status: 500, message: 'something went wrong' }
}
