// A server that plays AppView, labeler, feed generator and push service: it answers as the call asks it to, and tells
// what reached it.
import http from 'node:http'

/** A rev older than any that a server makes today. */
const OLD_REV = '2222222222222'

/** Up to which rev this AppView knows each account's repo; told by `app.bsky.test.rev`. */
const revs = new Map()

/** Headers of one hop, which say nothing of the caller. */
const OF_THE_HOP = new Set(['host', 'connection', 'keep-alive', 'content-length', 'transfer-encoding'])

const tokenOf = (authorization) => {
  const parts = /^Bearer ([\w-]+)\.([\w-]+)\.[\w-]+$/.exec(authorization ?? '')
  if (!parts) return authorization ?? null
  const [head, claims] = parts.slice(1).map((part) => JSON.parse(Buffer.from(part, 'base64url')))
  const { exp, iat, jti, ...rest } = claims
  return { head, ...rest, life: exp - iat, jti: typeof jti }
}

const told = (request, body) => ({
  method: request.method,
  // One of the values differs from server to server: compared decoded, where known DIDs are recognised.
  url: decodeURIComponent(request.url.replace(/\+/g, '%20')),
  headers: Object.fromEntries(
    Object.entries(request.headers)
      .filter(([name]) => !OF_THE_HOP.has(name) && name !== 'authorization')
      .sort(([a], [b]) => (a < b ? -1 : 1)),
  ),
  token: tokenOf(request.headers.authorization),
  body: body.length > 200 ? `${body.length} bytes` : body.toString('latin1'),
})

const profile = (did) => ({ did, handle: 'somebody.test', displayName: 'old name', description: 'old', postsCount: 1 })

/** Canned answers of methods that the servers read themselves. */
const canned = {
  // A handle here is the caller's own.
  'app.bsky.actor.getProfile': (params, caller) => profile(params.get('actor')?.startsWith('did:') === false ? caller : params.get('actor')),
  'app.bsky.actor.getProfiles': (params) => ({ profiles: params.getAll('actors').map(profile) }),
  'app.bsky.feed.getTimeline': () => ({ feed: [], cursor: 'next' }),
  'app.bsky.feed.getAuthorFeed': () => ({ feed: [] }),
  'app.bsky.feed.getActorLikes': () => ({ feed: [] }),
  'com.atproto.moderation.createReport': () => ({
    id: 7,
    reasonType: 'com.atproto.moderation.defs#reasonSpam',
    subject: { $type: 'com.atproto.admin.defs#repoRef', did: 'did:plc:aaaaaaaaaaaaaaaaaaaaaaaa' },
    reportedBy: 'did:plc:aaaaaaaaaaaaaaaaaaaaaaaa',
    createdAt: '2026-01-01T00:00:00.000Z',
  }),
}

/** Answers of `app.bsky.test.*`, by their last name. */
const wanted = {
  echo: (request, response, params, body) => answer(response, 200, told(request, body)),
  status: (_request, response, params) => {
    const status = Number(params.get('code'))
    answer(response, status, { error: params.get('error') ?? 'SomeError', message: 'upstream says no' }, { 'retry-after': '7' })
  },
  text: (_request, response, params) => {
    response.writeHead(Number(params.get('code') ?? 200), { 'content-type': 'text/plain' })
    response.end('not json')
  },
  headers: (_request, response) => answer(response, 200, {}, {
    'atproto-repo-rev': OLD_REV,
    'atproto-content-labelers': 'did:example:labels;redact',
    'content-language': 'en',
    'x-test': 'not passed on',
    'set-cookie': 'a=b',
    'cache-control': 'max-age=60',
    'retry-after': '9',
    etag: '"upstream"',
  }),
  drop: (request) => request.socket.destroy(),
  rev: (request, response, params) => {
    revs.set(tokenOf(request.headers.authorization)?.iss, params.get('rev'))
    answer(response, 200, {})
  },
  empty: (_request, response) => {
    response.writeHead(200)
    response.end()
  },
  redirect: (_request, response) => {
    response.writeHead(302, { location: 'http://127.0.0.1:1/' })
    response.end()
  },
  head: (_request, response) => {
    response.writeHead(204)
    response.end()
  },
}

/** The record of a feed generator, which the servers ask for before they ask the feed. */
const generator = (params, own) => ({
  uri: `at://${params.get('repo')}/app.bsky.feed.generator/${params.get('rkey')}`,
  cid: 'bafyreidfayvfuwqa7qlnopdjiqrxzs6blmoeu4rujcjtnci5beludirz2a',
  value: { $type: 'app.bsky.feed.generator', did: own.did, displayName: 'feed', createdAt: '2026-01-01T00:00:00.000Z' },
})

const answer = (response, status, value, headers = {}) => {
  const body = Buffer.from(JSON.stringify(value))
  response.writeHead(status, { 'content-type': 'application/json; charset=utf-8', 'content-length': body.length, ...headers })
  response.end(body)
}

/** Starts it on loopback; its DID is set once the directory knows it. */
export const startAppview = async () => {
  const own = { did: undefined }
  const server = http.createServer((request, response) => {
    const parts = []
    request.on('data', (part) => parts.push(part))
    request.on('end', () => {
      const { pathname, searchParams } = new URL(request.url, 'http://here')
      const method = pathname.replace('/xrpc/', '')
      const test = /^app\.bsky\.test\.(\w+)$/.exec(method)?.[1]
      if (test) return wanted[test](request, response, searchParams, Buffer.concat(parts))
      const caller = tokenOf(request.headers.authorization)?.iss
      const rev = revs.get(caller) ?? OLD_REV
      if (canned[method]) return answer(response, 200, canned[method](searchParams, caller), { 'atproto-repo-rev': rev })
      if (searchParams.get('collection') === 'app.bsky.feed.generator') return answer(response, 200, generator(searchParams, own))
      return answer(response, 200, told(request, Buffer.concat(parts)))
    })
  })
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve))
  return {
    url: `http://localhost:${server.address().port}`,
    own,
    stop: () => {
      server.closeAllConnections()
      server.close()
    },
  }
}
