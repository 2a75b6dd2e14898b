// Records and blobs: written, read, listed, deleted, at their limits.
import { account, at, png, post, space, text } from './make.mjs'

const repo = space('com.atproto.repo')
const did = '{alice.did}'
const key = (n) => `3mvfsmbk2zk2${n}`
const create = (name, body, more = {}) => repo('createRecord', name, {
  as: 'alice', body: typeof body === 'function' ? body : { repo: did, collection: post, record: text('hello'), ...body }, ...more,
})
const put = (name, body, more = {}) => repo('putRecord', name, { as: 'alice', body: { repo: did, collection: 'app.bsky.actor.profile', rkey: 'self', record: { $type: 'app.bsky.actor.profile', displayName: 'A' }, ...body }, ...more })
const remove = (name, body, more = {}) => repo('deleteRecord', name, { as: 'alice', body: { repo: did, collection: post, rkey: key('a'), ...body }, ...more })
const apply = (name, writes, more = {}) => repo('applyWrites', name, { as: 'alice', body: { repo: did, writes, ...more.body } })
const get = (name, params, more = {}) => repo('getRecord', name, { params: { repo: did, collection: post, rkey: key('a'), ...params }, cids: true, ...more })
const list = (name, params, more = {}) => repo('listRecords', name, { params: { repo: did, collection: post, ...params }, ...more })
const write = (action, more) => ({ $type: `com.atproto.repo.applyWrites#${action}`, collection: post, ...more })
const custom = 'com.example.thing'
const thing = (more) => ({ collection: custom, record: { $type: custom, ...more } })
const ZERO = 'bafyreidfayvfuwqa7qlnopdjiqrxzs6blmoeu4rujcjtnci5beludirz2a'
const like = (uri) => ({ $type: 'app.bsky.feed.like', subject: { uri, cid: ZERO }, createdAt: at })

/** What the servers treat differently on purpose: played apart, so that everything else stays comparable. */
const APART = new Set(['a bad link', 'bad bytes', '__proto__', 'a slur as key', 'nothing', 'create and delete'])

const all = [
  account('alice', 're-alice.test'),
  account('bob', 're-bob.test'),
  create('with a key', { rkey: key('a') }, { keep: 'one', status: 200 }),
  create('without a key', {}, { keep: 'two', status: 200 }),
  create('by handle', { repo: 're-alice.test' }),
  create('the same key', { rkey: key('a') }),
  create('key of another kind', { rkey: 'self' }),
  create('key that cannot be', { rkey: 'not/a/key' }),
  create('key ..', { rkey: '..' }),
  create('another repo', { repo: '{bob.did}' }),
  create('unknown repo', { repo: 'did:plc:aaaaaaaaaaaaaaaaaaaaaaaa' }),
  create('unknown handle', { repo: 're-nobody.test' }),
  create('no $type', { record: { text: 'hello', createdAt: at } }),
  create('another $type', { record: { $type: 'app.bsky.feed.like', text: 'hello', createdAt: at } }),
  create('no text', { record: { $type: post, createdAt: at } }),
  create('no text, not validated', { record: { $type: post, createdAt: at }, validate: false }),
  create('no text, validated', { record: { $type: post, createdAt: at }, validate: true }),
  create('validated', { validate: true }),
  create('bad date', { record: text('x', { createdAt: 'yesterday' }) }),
  create('text too long', { record: text('x'.repeat(3001)) }),
  create('graphemes too many', { record: text('é'.repeat(301)) }),
  create('unknown fields', { record: text('x', { more: { deep: [1, 'two', null, true] } }) }),
  create('a fraction', { record: text('x', { number: 1.5 }) }),
  create('a large integer', { record: text('x', { number: 9007199254740993 }) }),
  create('a link', { record: text('x', { link: { $link: ZERO } }) }),
  create('a bad link', { record: text('x', { link: { $link: 'nothing' } }) }),
  create('bytes', { record: text('x', { bytes: { $bytes: 'aGVsbG8' } }) }),
  create('bad bytes', { record: text('x', { bytes: { $bytes: '!!!' } }) }),
  create('unknown collection', thing({ a: 1 }), { keep: 'thing' }),
  create('unknown collection, validated', { ...thing({ a: 1 }), validate: true }),
  create('unknown collection, not validated', { ...thing({ a: 1 }), validate: false }),
  create('unknown collection, key', { ...thing({ a: 2 }), rkey: 'my.key:~_-' }),
  create('unknown collection, $type null', { collection: custom, record: { $type: null } }),
  create('a record in a list', { record: [text('x')] }),
  create('__proto__', { record: JSON.parse('{"$type":"app.bsky.feed.post","text":"x","createdAt":"2026-01-01T00:00:00Z","__proto__":{"a":1}}') }),
  create('wrong swapCommit', { swapCommit: ZERO }),
  create('right swapCommit', (vars) => ({ repo: vars.alice.did, collection: post, record: text('swap'), swapCommit: vars.two?.commit?.cid })),
  create('profile under another key', { collection: 'app.bsky.actor.profile', rkey: 'other', record: { $type: 'app.bsky.actor.profile' } }),
  create('a slur as key', { ...thing({}), rkey: 'nigger' }),
  create('an old blob', { record: text('x', { embed: { $type: 'app.bsky.embed.images', images: [{ alt: '', image: { cid: ZERO, mimeType: 'image/png' } }] } }) }),
  create('a blob that is not there', { record: text('x', { embed: { $type: 'app.bsky.embed.images', images: [{ alt: '', image: { $type: 'blob', ref: { $link: 'bafkreihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvyku' }, mimeType: 'image/png', size: 3 } }] } }) }),
  get('by did'), get('by handle', { repo: 're-alice.test' }), get('by cid', { cid: '{one.cid}' }), get('another cid', { cid: ZERO }),
  get('absent', { rkey: key('z') }), get('absent collection', { collection: 'com.example.none' }),
  get('unknown repo', { repo: 're-nobody.test' }), get('signed in', {}, { as: 'alice' }),
  repo('describeRepo', 'by did', { params: { repo: did } }),
  repo('describeRepo', 'by handle', { params: { repo: 're-alice.test' } }),
  repo('describeRepo', 'unknown', { params: { repo: 're-nobody.test' } }),
  put('new', {}, { keep: 'profile' }),
  put('the same', {}),
  put('another', { record: { $type: 'app.bsky.actor.profile', displayName: 'B' } }, { keep: 'profile2' }),
  put('wrong swapRecord', { swapRecord: ZERO }),
  put('swapRecord null for what is there', { swapRecord: null }),
  put('right swapRecord', { swapRecord: '{profile2.cid}', record: { $type: 'app.bsky.actor.profile', displayName: 'C' } }),
  put('wrong swapCommit', { swapCommit: ZERO }),
  put('swapRecord null for what is new', { collection: custom, rkey: 'new', swapRecord: null, record: { $type: custom } }),
  put('no $type', { record: { displayName: 'D' } }),
  put('another repo', { repo: '{bob.did}' }),
  put('invalid', { record: { $type: 'app.bsky.actor.profile', displayName: 7 } }),
  put('a post under a key', { collection: post, rkey: key('b'), record: text('put') }),
  remove('once', {}), remove('twice', {}), remove('absent collection', { collection: 'com.example.none', rkey: 'none' }),
  remove('wrong swapRecord', { rkey: key('b'), swapRecord: ZERO }), remove('wrong swapCommit', { rkey: key('b'), swapCommit: ZERO }),
  remove('another repo', { repo: '{bob.did}' }),
  get('deleted', {}),
  apply('nothing', []),
  apply('three', [write('create', { rkey: key('d'), value: text('d') }), write('create', { value: text('e') }), write('delete', { rkey: key('b') })]),
  apply('update', [write('update', { rkey: key('d'), value: text('d2') })]),
  apply('update of what is not there', [write('update', { rkey: key('y'), value: text('y') })]),
  apply('delete of what is not there', [write('delete', { rkey: key('y') })]),
  apply('create of what is there', [write('create', { rkey: key('d'), value: text('d') })]),
  apply('one key twice', [write('create', { rkey: key('g'), value: text('g') }), write('create', { rkey: key('g'), value: text('g') })]),
  apply('create and delete', [write('create', { rkey: key('h'), value: text('h') }), write('delete', { rkey: key('h') })]),
  apply('an unknown action', [{ $type: 'com.example.none', collection: post }]),
  apply('no $type', [{ collection: post, value: text('x') }]),
  apply('one bad of two', [write('create', { value: text('x') }), write('create', { value: { $type: post } })]),
  apply('wrong swapCommit', [write('create', { value: text('x') })], { body: { swapCommit: ZERO } }),
  apply('200', Array.from({ length: 200 }, (_, i) => write('create', { collection: custom, rkey: `many-${i}`, value: { $type: custom, i } })), { body: { validate: false } }),
  apply('201', Array.from({ length: 201 }, (_, i) => write('create', { collection: custom, rkey: `more-${i}`, value: { $type: custom, i } }))),
  apply('update 200', Array.from({ length: 200 }, (_, i) => write('update', { collection: custom, rkey: `many-${i}`, value: { $type: custom, i: i + 1000 } }))),
  create('a like', { collection: 'app.bsky.feed.like', record: like('at://did:plc:aaaaaaaaaaaaaaaaaaaaaaaa/app.bsky.feed.post/3k') }),
  create('the same like', { collection: 'app.bsky.feed.like', record: like('at://did:plc:aaaaaaaaaaaaaaaaaaaaaaaa/app.bsky.feed.post/3k') }),
  create('the same like, not validated', { validate: false, collection: 'app.bsky.feed.like', record: like('at://did:plc:aaaaaaaaaaaaaaaaaaaaaaaa/app.bsky.feed.post/3k') }),
  list('likes', { collection: 'app.bsky.feed.like' }),
  ...['follow', 'block'].flatMap((kind) => ['once', 'twice'].map((name) => create(`${kind} ${name}`, {
    collection: `app.bsky.graph.${kind}`, record: { $type: `app.bsky.graph.${kind}`, subject: '{bob.did}', createdAt: at },
  }))),
  create('a large record', thing({ text: 'x'.repeat(900_000) })),
  create('two large ones', thing({ text: 'y'.repeat(990_000) })),
  list('all'), list('two', { limit: 2 }), list('reversed', { reverse: true, limit: 3 }), list('after', { cursor: key('d') }),
  list('limit 100', { limit: 100 }), list('things', { collection: custom, limit: 5 }), list('next things', { collection: custom, limit: 5, cursor: 'many-5' }),
  list('absent collection', { collection: 'com.example.none' }), list('by handle', { repo: 're-alice.test', limit: 1 }),
  list('unknown repo', { repo: 're-nobody.test' }), list('empty cursor', { cursor: '', limit: 1 }),
  list('old names', { rkeyStart: key('a'), rkeyEnd: key('z'), limit: 2 }),
  { call: 'com.atproto.server.checkAccountStatus', name: 'after all', as: 'alice' },
  { call: 'com.atproto.sync.getRepo', name: 'compressed', params: { did }, headers: { 'accept-encoding': 'gzip' } },
]

export const records = { name: 'records', steps: all.filter(({ name }) => !APART.has(name)) }

export const recordsApart = {
  name: 'records apart', events: false,
  steps: [account('alice', 're-apart.test'), ...all.filter(({ name }) => APART.has(name))],
}

const upload = (name, body, type, more = {}) => repo('uploadBlob', name, { as: 'alice', body, type, ...more })
const sync = space('com.atproto.sync')
const image = (blob) => text('with a picture', { embed: { $type: 'app.bsky.embed.images', images: [{ alt: 'a', image: blob }] } })

export const blobs = {
  name: 'blobs',
  steps: [
    account('alice', 'bl-alice.test'),
    upload('a picture', png, 'image/png', { keep: 'picture', cids: true, status: 200 }),
    upload('a picture of another type', png, 'image/jpeg', { cids: true }),
    upload('a picture as bytes', png, 'application/octet-stream', { cids: true }),
    upload('text', 'hello', 'text/plain', { keep: 'words', cids: true }),
    upload('text with charset', 'hello 2', 'text/plain; charset=utf-8', { cids: true }),
    upload('html', '<html><script>alert(1)</script></html>', 'text/html', { keep: 'html', cids: true }),
    upload('an svg', '<svg xmlns="http://www.w3.org/2000/svg"/>', 'image/svg+xml', { cids: true }),
    upload('nothing', '', 'text/plain'),
    upload('a star', 'x', '*/*', {}),
    upload('no sensible type', 'x', 'nonsense', {}),
    upload('compressed', Buffer.from('H4sIAAAAAAAAA8tIzcnJBwCGphA2BQAAAA==', 'base64'), 'text/plain', { headers: { 'content-encoding': 'gzip' }, cids: true }),
    upload('unknown compression', 'x', 'text/plain', { headers: { 'content-encoding': 'snappy' } }),
    sync('getBlob', 'not used yet', { params: { did, cid: '{picture.blob.ref.$link}' }, headers: {} }),
    sync('listBlobs', 'none used', { params: { did } }),
    create('wrong size', (vars) => ({ repo: vars.alice.did, collection: post, record: image({ ...vars.picture?.blob, size: 1 }) })),
    create('wrong type', (vars) => ({ repo: vars.alice.did, collection: post, record: image({ ...vars.picture?.blob, mimeType: 'image/gif' }) })),
    create('not an image', (vars) => ({ repo: vars.alice.did, collection: post, record: image(vars.words?.blob) })),
    create('a picture', (vars) => ({ repo: vars.alice.did, collection: post, rkey: key('a'), record: image(vars.picture?.blob) }), { status: 200 }),
    create('the picture twice', (vars) => ({ repo: vars.alice.did, collection: post, rkey: key('b'), record: image(vars.picture?.blob) })),
    create('any blob', (vars) => ({ repo: vars.alice.did, collection: custom, rkey: 'html', record: { $type: custom, blob: vars.html?.blob } })),
    sync('getBlob', 'a picture', { params: (vars) => ({ did: vars.alice.did, cid: vars.picture?.blob?.ref?.$link }), bytes: true }),
    sync('getBlob', 'html', { params: (vars) => ({ did: vars.alice.did, cid: vars.html?.blob?.ref?.$link }), bytes: true }),
    sync('getBlob', 'part of a picture', { params: (vars) => ({ did: vars.alice.did, cid: vars.picture?.blob?.ref?.$link }), headers: { range: 'bytes=0-3' }, bytes: true }),
    sync('getBlob', 'absent', { params: { did, cid: 'bafkreieq5jui4j25lacwomsqgjeswwl3y5zcdrresptwgmfylxo2depppq' } }),
    sync('getBlob', 'of a record', { params: { did, cid: ZERO } }),
    sync('getBlob', 'of nobody', { params: { did: 'did:plc:aaaaaaaaaaaaaaaaaaaaaaaa', cid: ZERO } }),
    sync('listBlobs', 'two', { params: { did }, cids: true }),
    sync('listBlobs', 'one', { params: { did, limit: 1 }, cids: true, keep: 'page' }),
    sync('listBlobs', 'the next', { params: (vars) => ({ did: vars.alice.did, limit: 1, cursor: vars.page?.cursor }), cids: true }),
    sync('listBlobs', 'since', { params: { did, since: '3zzzzzzzzzzzz' } }),
    repo('listMissingBlobs', 'none', { as: 'alice' }),
    { call: 'com.atproto.server.checkAccountStatus', name: 'with blobs', as: 'alice' },
    remove('the first', {}), remove('the second', { rkey: key('b') }),
    sync('listBlobs', 'after deletion', { params: { did }, cids: true }),
    { call: 'com.atproto.server.checkAccountStatus', name: 'after deletion', as: 'alice' },
  ],
}
