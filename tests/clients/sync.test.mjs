// @atproto/sync: its Firehose checks each commit against the DID document by itself, and says nothing of what it drops;
// so the events are counted.
import assert from 'node:assert/strict'
import http from 'node:http'
import { test } from 'node:test'
import { AtpAgent } from '@atproto/api'
import { DidResolver, HandleResolver, MemoryCache } from '@atproto/identity'
import { Firehose } from '@atproto/sync'
import { newHandle, password, pdsUrl, plcUrl, until } from './world.mjs'

/** Handles below .test are in no DNS: their HTTPS address is answered by the PDS, asked with their name as the host. */
const askPds = (address) => new Promise((resolve, reject) => {
  const { host, pathname } = new URL(address instanceof Request ? address.url : address)
  const { hostname, port } = new URL(pdsUrl)
  http.get({ hostname, port, path: pathname, headers: { host } }, (response) => {
    let body = ''
    response.on('data', (part) => { body += part })
    response.on('end', () => resolve(new Response(body, { status: response.statusCode })))
  }).on('error', reject)
})

const idResolver = {
  // The package's own fetch refuses http: addresses, which a directory on this machine has.
  did: new DidResolver({ plcUrl, didCache: new MemoryCache(), fetch }),
  handle: new HandleResolver({ fetch: askPds }),
}

/** Follows the firehose from `cursor` until `enough(events)`. */
const follow = async (cursor, enough) => {
  const events = []
  const errors = []
  const firehose = new Firehose({
    idResolver,
    service: pdsUrl.replace(/^http/, 'ws'),
    getCursor: () => cursor,
    handleEvent: (event) => { events.push(event) },
    onError: (error) => { errors.push(error) },
  })
  firehose.start()
  try {
    await until('events on the firehose', () => errors.length > 0 || enough(events))
  } finally {
    await firehose.destroy()
  }
  assert.deepEqual(errors.map((error) => `${error}: ${error.cause}`), [])
  return events
}

test('every kind of write arrives, checked, in order, live and again from a cursor', async () => {
  const agent = new AtpAgent({ service: pdsUrl })
  const handle = newHandle()
  const { data: { did } } = await agent.createAccount({ handle, email: `${handle}@example.org`, password })
  const mine = (events) => events.filter((event) => event.did === did)
  const commits = (events) => mine(events).filter(({ event }) => ['create', 'update', 'delete'].includes(event))

  const live = follow(0, (events) => commits(events).length >= 5)
  const post = await agent.post({ text: 'one' })
  await agent.post({ text: 'two' })
  await agent.upsertProfile(() => ({ displayName: 'first' }))
  await agent.upsertProfile(() => ({ displayName: 'second' }))
  await agent.deletePost(post.uri)
  const seen = await live

  assert.deepEqual(commits(seen).map(({ event }) => event), ['create', 'create', 'create', 'update', 'delete'])
  assert.equal(commits(seen)[3].record.displayName, 'second')
  const identity = mine(seen).find(({ event }) => event === 'identity')
  assert.equal(identity?.handle, handle, 'the handle resolves both ways')
  assert.ok(mine(seen).some(({ event, active }) => event === 'account' && active))
  const sequence = seen.map(({ seq }) => seq)
  assert.deepEqual(sequence, [...sequence].sort((a, b) => a - b))
  const revs = commits(seen).map(({ rev }) => rev)
  assert.deepEqual(revs, [...new Set(revs)].sort(), 'revs only grow')

  const middle = commits(seen)[2].seq
  const again = await follow(middle, (events) => commits(events).length >= 2)
  assert.deepEqual(commits(again).map(({ seq }) => seq), commits(seen).slice(3).map(({ seq }) => seq))
})
