// One HTTP call without a client's conveniences: no redirects, no decompression, no headers of its own.
import http from 'node:http'

/** Longest wait for an answer, ms: the slowest honest answer is a password hash on a busy machine. */
const ANSWER_MS = 30_000

const agent = new http.Agent({ keepAlive: true, maxSockets: 16 })

/** Calls `base + path`; `body` is bytes, text or nothing. Gives status, headers and the body's bytes. */
export const request = (base, { method, path, headers = {}, body }) => new Promise((resolve, reject) => {
  const { hostname, port } = new URL(base)
  const bytes = body === undefined ? undefined : Buffer.from(body)
  const length = bytes === undefined || 'transfer-encoding' in headers ? {} : { 'content-length': bytes.length }
  // Express and hyper both listen on IPv4 here; `localhost` may be looked up as IPv6 first.
  const host = hostname === 'localhost' ? '127.0.0.1' : hostname
  const asked = http.request({
    agent, hostname: host, port, path, method, headers: { host: `localhost:${port}`, ...length, ...headers },
  }, (response) => {
    const parts = []
    response.on('data', (part) => parts.push(part))
    response.on('end', () => resolve({
      status: response.statusCode, headers: response.headers, bytes: Buffer.concat(parts),
    }))
    response.on('error', reject)
  })
  asked.setTimeout(ANSWER_MS, () => asked.destroy(new Error(`no answer to ${method} ${path} within ${ANSWER_MS} ms`)))
  asked.on('error', reject)
  // A server that refuses a large body early closes while we still send: its answer counts, not our broken pipe.
  asked.end(bytes)
})

/** Query parameters in the form that XRPC clients send: lists repeat the name. */
export const query = (params = {}) => {
  const search = new URLSearchParams()
  for (const [name, value] of Object.entries(params)) {
    for (const one of Array.isArray(value) ? value : [value]) if (one !== undefined) search.append(name, String(one))
  }
  const text = search.toString()
  return text === '' ? '' : `?${text}`
}

/** The body as JSON, or undefined when it is none. */
export const json = (answer) => {
  try {
    return JSON.parse(answer.bytes.toString('utf8'))
  } catch {
    return undefined
  }
}

/** Waits until `condition` gives something, at most `limitMs`; fails with `what` after that. */
export const until = async (what, condition, limitMs = 10_000) => {
  const end = performance.now() + limitMs
  for (;;) {
    const found = await condition()
    if (found) return found
    if (performance.now() > end) throw new Error(`waited ${limitMs} ms for ${what}`)
    await new Promise((resolve) => setTimeout(resolve, 10))
  }
}
