// Reactions and comments: every statement names its post, and what changes something also its visitor.
import type { NeonQueryFunction } from '@neondatabase/serverless'
import { BadRequest } from './index'

type Sql = NeonQueryFunction<false, false>

const KINDS = ['like', 'love', 'laugh', 'think']
const PAGE = 20

export interface Reactions {
  counts: Record<string, number>
  mine: string[]
}

export interface Comment {
  id: string
  author: string
  body: string
  made: string
}

const counting = (sql: Sql, post: string, visitor: string) =>
  sql`SELECT kind, count(*)::int AS count, bool_or(visitor = ${visitor}) AS mine
      FROM reactions WHERE post = ${post} GROUP BY kind ORDER BY kind`

function reactions(rows: Record<string, unknown>[]): Reactions {
  const counts: Record<string, number> = {}
  const mine: string[] = []
  for (const row of rows) {
    counts[String(row['kind'])] = Number(row['count'])
    if (row['mine'] === true) mine.push(String(row['kind']))
  }
  return { counts, mine }
}

export async function listReactions(sql: Sql, post: string, visitor: string): Promise<Reactions> {
  return reactions(await counting(sql, post, visitor))
}

/** One request, one transaction: the change and the counts that include it. */
export async function react(sql: Sql, post: string, visitor: string, input: Record<string, unknown>): Promise<Reactions> {
  const kind = kindOf(input)
  const [, rows] = await sql.transaction([
    sql`INSERT INTO reactions (post, visitor, kind) VALUES (${post}, ${visitor}, ${kind}) ON CONFLICT DO NOTHING`,
    counting(sql, post, visitor),
  ])
  return reactions(rows ?? [])
}

export async function unreact(sql: Sql, post: string, visitor: string, input: Record<string, unknown>): Promise<Reactions> {
  const kind = kindOf(input)
  const [, rows] = await sql.transaction([
    sql`DELETE FROM reactions WHERE post = ${post} AND visitor = ${visitor} AND kind = ${kind}`,
    counting(sql, post, visitor),
  ])
  return reactions(rows ?? [])
}

/** Newest first; `before` is the `made` of the last one seen. */
export async function listComments(sql: Sql, post: string, before: string | null): Promise<{ comments: Comment[] }> {
  if (before !== null && Number.isNaN(Date.parse(before))) throw new BadRequest('before is no time')
  const rows = await sql`
    SELECT id, author, body, made FROM comments
    WHERE post = ${post} AND made < coalesce(${before}::timestamptz, 'infinity')
    ORDER BY made DESC, id DESC LIMIT ${PAGE}`
  return { comments: rows.map(comment) }
}

export async function addComment(sql: Sql, post: string, visitor: string, input: Record<string, unknown>): Promise<Comment> {
  const author = text(input, 'author', 80)
  const body = text(input, 'body', 4000)
  const [row] = await sql`
    INSERT INTO comments (post, visitor, author, body) VALUES (${post}, ${visitor}, ${author}, ${body})
    RETURNING id, author, body, made`
  if (!row) throw new Error('INSERT returned nothing')
  return comment(row)
}

const comment = (row: Record<string, unknown>): Comment => ({
  id: String(row['id']),
  author: String(row['author']),
  body: String(row['body']),
  made: (row['made'] as Date).toISOString(),
})

function kindOf(input: Record<string, unknown>): string {
  const kind = input['kind']
  if (typeof kind !== 'string' || !KINDS.includes(kind)) throw new BadRequest(`kind is one of ${KINDS.join(', ')}`)
  return kind
}

function text(input: Record<string, unknown>, name: string, longest: number): string {
  const value = input[name]
  if (typeof value !== 'string' || !value.trim() || value.length > longest || value.includes('\0')) {
    throw new BadRequest(`${name} has 1 to ${longest} characters`)
  }
  return value.trim()
}
