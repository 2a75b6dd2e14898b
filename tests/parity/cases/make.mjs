// What stories are built from.

export const PASSWORD = 'a-long-enough-password'
export const post = 'app.bsky.feed.post'
export const at = '2026-01-02T03:04:05.678Z'

/** A post's record. */
export const text = (words, more = {}) => ({ $type: post, text: words, createdAt: at, ...more })

/** Makes an account and keeps its session under `name`. */
export const account = (name, handle = `${name}.test`, more = {}) => ({
  call: 'com.atproto.server.createAccount', name: `${name} is made`, keep: name, status: 200,
  with: { email: `${handle}@example.org` },
  body: { handle, email: `${handle}@example.org`, password: PASSWORD, ...more },
})

/** A session by password, kept under `name`. */
export const login = (name, identifier, password = PASSWORD, more = {}) => ({
  call: 'com.atproto.server.createSession', name: `${name} signs in`, keep: name, body: { identifier, password, ...more },
})

/** A case of method `nsid`. */
export const step = (nsid, name, more = {}) => ({ call: nsid, name, ...more })

/** Makers of the cases of one namespace. */
export const space = (prefix) => (method, name, more = {}) => ({ call: `${prefix}.${method}`, name, ...more })

/** One white pixel. */
export const png = Buffer.from(
  'iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==', 'base64')
