// Moves an account from one server to the other by the calls that `goat account migrate` makes, and looks whether all of
// it arrived: records, blobs, preferences, identity, and what the network is told. Both ways; the answers of the two ways
// are compared as well.
import assert from 'node:assert/strict'
import { readCarWithRoot, verifyRepoCar } from '@atproto/repo'
import { cborDecode } from '@atproto/common'
import { answers } from './compare.mjs'
import { json, query, request, until } from './http.mjs'

const PASSWORD = 'a-long-enough-password'
const POSTS = 350
const BLOBS = 24
const AT = '2026-01-02T03:04:05.678Z'
const post = 'app.bsky.feed.post'
const ZERO = 'bafyreidfayvfuwqa7qlnopdjiqrxzs6blmoeu4rujcjtnci5beludirz2a'

/** One end of a move: remembers each answer, so that two moves can be compared. */
class End {
  constructor(server, trace, role) {
    this.server = server
    this.trace = trace
    this.role = role
  }

  async call(http, nsid, { params, body, token, type, quiet = false } = {}) {
    const raw = Buffer.isBuffer(body)
    const answer = await request(this.server.url, {
      method: http, path: `/xrpc/${nsid}${query(params)}`,
      headers: {
        ...(body === undefined ? {} : { 'content-type': type ?? (raw ? 'application/octet-stream' : 'application/json') }),
        ...(token === undefined ? (this.token === undefined ? {} : { authorization: `Bearer ${this.token}` }) : token === null ? {} : { authorization: `Bearer ${token}` }),
      },
      body: body === undefined ? undefined : raw ? body : JSON.stringify(body),
    })
    if (!quiet) this.trace.push({ role: this.role, nsid, answer })
    return answer
  }

  async ok(http, nsid, options) {
    const answer = await this.call(http, nsid, options)
    assert.equal(answer.status, 200, `${nsid} at the ${this.role} server: ${answer.bytes.toString().slice(0, 300)}`)
    return json(answer) ?? answer.bytes
  }

  get(nsid, params, options = {}) { return this.ok('GET', nsid, { params, ...options }) }
  post(nsid, body, options = {}) { return this.ok('POST', nsid, { body, ...options }) }
}

/** An account with records of many kinds, blobs and preferences. */
const furnish = async (old, handle) => {
  const made = await old.post('com.atproto.server.createAccount', { handle, email: `${handle}@example.org`, password: PASSWORD })
  const { did } = made
  old.token = made.accessJwt
  const quiet = { quiet: true }
  const blobs = []
  for (let i = 0; i < BLOBS; i += 1) {
    const bytes = Buffer.alloc(1 + i * i * 700, `blob ${i} of ${handle} `)
    const { blob } = await old.post('com.atproto.repo.uploadBlob', bytes, { type: i % 2 ? 'image/png' : 'text/plain', ...quiet })
    blobs.push(blob)
  }
  const write = (collection, value, rkey) => ({ $type: 'com.atproto.repo.applyWrites#create', collection, rkey, value: { $type: collection, ...value } })
  const custom = 'com.example.garden.plant'
  const writes = [
    write('app.bsky.actor.profile', { displayName: 'Mover', description: 'ä 🐦', avatar: { ...blobs[1], mimeType: 'image/png' } }, 'self'),
    ...Array.from({ length: POSTS }, (_, i) => write(post, { text: `post ${i} \u{1F426} ${'ü'.repeat(i % 40)}`, createdAt: AT, langs: ['en', 'de'] })),
    ...Array.from({ length: 60 }, (_, i) => write('app.bsky.feed.like', { subject: { uri: `at://${did}/${post}/3mvfsmbk2zk${i}`, cid: ZERO }, createdAt: AT })),
    ...Array.from({ length: 40 }, (_, i) => write('app.bsky.graph.follow', { subject: `did:plc:${'abcdefghijklmnopqrstuvwx'.slice(i % 20)}${'a'.repeat(i % 20)}`, createdAt: AT })),
    ...blobs.map((blob, i) => write(custom, { i, blob, link: { $link: ZERO }, bytes: { $bytes: 'aGVsbG8' }, deep: { list: [1, -5, true, null, 'x', { $link: ZERO }] } }, `plant:${i}`)),
  ]
  for (let from = 0; from < writes.length; from += 150) {
    await old.post('com.atproto.repo.applyWrites', { repo: did, validate: false, writes: writes.slice(from, from + 150) }, quiet)
  }
  await old.post('com.atproto.repo.deleteRecord', { repo: did, collection: custom, rkey: 'plant:3' }, quiet)
  await old.post('app.bsky.actor.putPreferences', {
    preferences: [
      { $type: 'app.bsky.actor.defs#adultContentPref', enabled: true },
      { $type: 'app.bsky.actor.defs#personalDetailsPref', birthDate: '1990-05-06T00:00:00.000Z' },
      { $type: 'app.bsky.actor.defs#savedFeedsPrefV2', items: [{ id: 'a', type: 'timeline', value: 'following', pinned: true }] },
    ],
  }, quiet)
  return did
}

/** All records of a repo, by their uri. */
const recordsOf = async (end, did) => {
  const { collections } = await end.get('com.atproto.repo.describeRepo', { repo: did }, { quiet: true })
  const all = new Map()
  for (const collection of collections.sort()) {
    for (let cursor; ;) {
      const page = await end.get('com.atproto.repo.listRecords', { repo: did, collection, limit: 100, cursor }, { quiet: true })
      for (const { uri, cid, value } of page.records) all.set(uri, { cid, value })
      if (!page.cursor || page.records.length === 0) break
      cursor = page.cursor
    }
  }
  return all
}

/** All blobs that a repo refers to. */
const blobsOf = async (end, did) => {
  const { cids } = await end.get('com.atproto.sync.listBlobs', { did, limit: 1000 }, { quiet: true })
  const all = new Map()
  for (const cid of cids.sort()) {
    const answer = await end.call('GET', 'com.atproto.sync.getBlob', { params: { did, cid }, quiet: true })
    assert.equal(answer.status, 200, `blob ${cid} at the ${end.role} server`)
    all.set(cid, answer.bytes.toString('base64'))
  }
  return all
}

const rootOf = async (car) => {
  const { root, blocks } = await readCarWithRoot(car)
  return cborDecode(blocks.get(root)).data.toString()
}

/** Moves blobs until none is missing, as goat does: by what the new server says it lacks. */
const moveBlobs = async (old, fresh, did) => {
  let moved = 0
  for (let cursor; ;) {
    // Only the first page is compared: the order within is each server's own.
    const page = await fresh.get('com.atproto.repo.listMissingBlobs', { limit: 10, cursor }, { quiet: moved > 0 })
    for (const { cid } of page.blobs) {
      const blob = await old.call('GET', 'com.atproto.sync.getBlob', { params: { did, cid }, quiet: moved > 0 })
      assert.equal(blob.status, 200, 'the old server gives its blobs')
      const taken = await fresh.post('com.atproto.repo.uploadBlob', blob.bytes, { type: blob.headers['content-type'], quiet: moved > 0 })
      assert.equal(taken.blob.ref.$link, cid)
      moved += 1
    }
    if (!page.cursor) return moved
    cursor = page.cursor
  }
}

/** Moves one account; gives the answers in their order. */
export const migrate = async (world, hoses, from, to, name) => {
  const trace = []
  const [old, fresh] = [new End(world[from], trace, 'old'), new End(world[to], trace, 'new')]
  const handles = [`${name}-old.test`, `${name}-new.test`]
  const did = await furnish(old, handles[0])
  const before = { records: await recordsOf(old, did), blobs: await blobsOf(old, did), preferences: await old.get('app.bsky.actor.getPreferences') }
  assert.ok(before.records.size > 450 && before.blobs.size === BLOBS - 1, 'there is much to move')

  // The account at the new server.
  const server = await fresh.get('com.atproto.server.describeServer')
  const { token } = await old.get('com.atproto.server.getServiceAuth', { aud: server.did, lxm: 'com.atproto.server.createAccount', exp: Math.floor(Date.now() / 1000) + 300 })
  const wanted = { did, handle: handles[1], email: `${handles[1]}@example.org`, password: PASSWORD }
  assert.notEqual((await fresh.call('POST', 'com.atproto.server.createAccount', { body: wanted })).status, 200, 'not without the token')
  const made = await fresh.post('com.atproto.server.createAccount', wanted, { token })
  fresh.token = made.accessJwt
  assert.equal(made.did, did)
  assert.notEqual((await fresh.call('POST', 'com.atproto.server.createAccount', { body: wanted, token })).status, 200, 'not twice')
  await fresh.get('com.atproto.server.checkAccountStatus')
  assert.equal((await fresh.call('POST', 'com.atproto.server.activateAccount')).status, 400, 'not before the identity points here')

  // Its data.
  const car = await old.get('com.atproto.sync.getRepo', { did })
  await fresh.post('com.atproto.repo.importRepo', car, { type: 'application/vnd.ipld.car' })
  assert.equal(await moveBlobs(old, fresh, did), BLOBS - 1)
  await fresh.post('app.bsky.actor.putPreferences', before.preferences)
  const moved = await fresh.get('com.atproto.server.checkAccountStatus')
  assert.equal(moved.expectedBlobs, moved.importedBlobs)
  assert.equal(moved.indexedRecords, before.records.size)
  assert.equal(moved.activated, false)

  // Its identity.
  const credentials = await fresh.get('com.atproto.identity.getRecommendedDidCredentials')
  const letters = world[from].mail.count(`${handles[0]}@example.org`)
  await old.post('com.atproto.identity.requestPlcOperationSignature')
  const { code } = await world[from].mail.next(`${handles[0]}@example.org`, letters)
  const { operation } = await old.post('com.atproto.identity.signPlcOperation', { token: code, ...credentials })
  await fresh.post('com.atproto.identity.submitPlcOperation', { operation })
  await fresh.post('com.atproto.server.activateAccount')
  await old.post('com.atproto.server.deactivateAccount', {})
  return { trace, did, handles, before, old, fresh, credentials, car }
}

/** Looks at both ends after a move. */
export const inspect = async (world, hoses, from, to, { did, handles, before, old, fresh, credentials, car }) => {
  assert.deepEqual(await recordsOf(fresh, did), before.records, 'all records, with their CIDs')
  assert.deepEqual(await blobsOf(fresh, did), before.blobs, 'all blobs, byte for byte')
  assert.deepEqual(await fresh.get('app.bsky.actor.getPreferences', {}, { quiet: true }), before.preferences)

  const document = await (await fetch(`${world.plcUrl}/${did}`)).json()
  assert.deepEqual(document.alsoKnownAs, [`at://${handles[1]}`])
  assert.equal(document.service.find(({ id }) => id.endsWith('#atproto_pds')).serviceEndpoint, world[to].url)
  const key = `did:key:${document.verificationMethod.find(({ id }) => id.endsWith('#atproto')).publicKeyMultibase}`
  assert.equal(key, credentials.verificationMethods.atproto)
  const whole = await fresh.get('com.atproto.sync.getRepo', { did }, { token: null })
  assert.equal(await rootOf(whole), await rootOf(car), 'the tree is the same')

  assert.equal((await fresh.get('com.atproto.identity.resolveHandle', { handle: handles[1] })).did, did)
  assert.equal((await fresh.get('com.atproto.repo.describeRepo', { repo: handles[1] })).handleIsCorrect, true)
  const status = (end) => end.get('com.atproto.sync.getRepoStatus', { did }, { token: null })
  assert.equal((await status(fresh)).active, true)
  assert.equal((await status(old)).active, false)
  assert.equal((await status(old)).status, 'deactivated')
  const session = await fresh.post('com.atproto.server.createSession', { identifier: handles[1], password: PASSWORD }, { token: null })
  fresh.token = session.accessJwt
  assert.equal((await fresh.get('com.atproto.server.checkAccountStatus')).validDid, true)
  const written = await fresh.post('com.atproto.repo.createRecord', { repo: did, collection: post, record: { $type: post, text: 'arrived', createdAt: AT } })
  // Only now: the reference leaves the last commit of the old server, signed by the old key, until the first write.
  const signed = await fresh.get('com.atproto.sync.getRepo', { did }, { token: null, quiet: true })
  assert.equal((await verifyRepoCar(signed, did, key)).creates.length, before.records.size + 1)
  assert.notEqual((await old.call('POST', 'com.atproto.repo.createRecord', { body: { repo: did, collection: post, record: { $type: post, text: 'gone', createdAt: AT } } })).status, 200)
  assert.notEqual((await old.call('GET', 'com.atproto.sync.getRepo', { params: { did }, token: null })).status, 200)

  const heard = (server) => hoses[server].events.filter((event) => event.did === did)
  const arrived = await until('the events of the move', () => {
    const events = heard(to)
    return events.some(({ event }) => event.kind === '#commit') ? events : undefined
  })
  await hoses[to].settled()
  assert.deepEqual(arrived.map(({ event }) => event.kind), ['#identity', '#account', '#identity', '#sync', '#commit'], 'nothing before the identity points here')
  assert.equal(arrived[1].event.active, true)
  assert.equal(arrived[2].event.handle, handles[1])
  assert.equal(arrived[4].event.ops[0].cid, written.cid)
  await until('the old server to say goodbye', () => heard(from).at(-1)?.event.status === 'deactivated')
}

/** Moves an account each way and compares the two moves; `note(where, difference)` hears of each difference. */
export const migrations = async (world, hoses, note) => {
  const done = []
  for (const [from, to] of [['reference', 'perch'], ['perch', 'reference']]) {
    const name = `mv-${from.slice(0, 3)}`
    try {
      const move = await migrate(world, hoses, from, to, name)
      await inspect(world, hoses, from, to, move)
      done.push(move)
    } catch (error) {
      note(`${from} to ${to}`, { method: 'migration', field: 'migration', reference: 'moves', perch: error.message.slice(0, 600) })
    }
  }
  if (done.length < 2) return 1
  const [there, back] = done
  const known = (move, here) => [[here.url, '<here>'], [(here === world.perch ? world.reference : world.perch).url, '<there>'], [move.did, '<did>'], [move.handles[0], '<old handle>'], [move.handles[1], '<new handle>']]
  there.trace.forEach((one, i) => {
    const other = back.trace[i]
    // In the first move the reference is the old server, in the second the new one.
    const isReference = one.role === 'old'
    const [reference, perch] = isReference ? [[one, there], [other, back]] : [[other, back], [one, there]]
    const side = { reference: known(reference[1], world.reference), perch: known(perch[1], world.perch) }
    for (const difference of answers(reference[0].answer, perch[0].answer, side)) {
      note(`${one.role} server, call ${i}`, { method: one.nsid, ...difference })
    }
  })
  return there.trace.length
}
