// Records: written, read, listed, deleted.
const post = 'app.bsky.feed.post'
const at = '2026-01-02T03:04:05.678Z'
const record = (text, more = {}) => ({ $type: post, text, createdAt: at, ...more })

export const records = {
  name: 'records',
  steps: [
    { call: 'com.atproto.server.createAccount', name: 'success', keep: 'alice', status: 200, body: { handle: 'records-a.test', email: 'records-a@example.org', password: 'a-long-enough-password' } },
    { call: 'com.atproto.repo.createRecord', name: 'with a key', as: 'alice', keep: 'one', cids: false, status: 200, body: { repo: '{alice.did}', collection: post, rkey: 'one', record: record('one') } },
    { call: 'com.atproto.repo.createRecord', name: 'without a key', as: 'alice', keep: 'two', status: 200, body: { repo: '{alice.did}', collection: post, record: record('two') } },
    { call: 'com.atproto.repo.getRecord', name: 'by did', params: { repo: '{alice.did}', collection: post, rkey: 'one' }, cids: true, status: 200 },
  ],
}
