// @atproto/repo: the exported CAR is checked against the key in the DID document.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { AtpAgent } from '@atproto/api'
import { readCarWithRoot, verifyProofs, verifyRecords, verifyRepoCar } from '@atproto/repo'
import { newHandle, password, pdsUrl, signingKey } from './world.mjs'

/** More records than one tree node holds, so that the tree has layers. */
const RECORDS = 300

const collection = 'app.bsky.feed.post'

test('a repo with layers verifies, whole and since a rev, and single records have proofs', async () => {
  const agent = new AtpAgent({ service: pdsUrl })
  const handle = newHandle()
  const { data: account } = await agent.createAccount({ handle, email: `${handle}@example.org`, password })
  const { did } = account
  const key = await signingKey(did)
  for (let from = 0; from < RECORDS; from += 100) {
    const writes = Array.from({ length: 100 }, (_, i) => ({
      $type: 'com.atproto.repo.applyWrites#create',
      collection,
      value: { $type: collection, text: `post ${from + i}`, createdAt: new Date(1.7e12 + from + i).toISOString() },
    }))
    await agent.com.atproto.repo.applyWrites({ repo: did, writes })
  }

  const car = await agent.com.atproto.sync.getRepo({ did })
  const whole = await verifyRepoCar(car.data, did, key)
  assert.equal(whole.creates.length, RECORDS)
  const latest = await agent.com.atproto.sync.getLatestCommit({ did })
  assert.equal(latest.data.cid, whole.commit.cid.toString())
  assert.equal(latest.data.rev, whole.commit.rev)

  const post = await agent.post({ text: 'one more' })
  const part = await readCarWithRoot((await agent.com.atproto.sync.getRepo({ did, since: whole.commit.rev })).data)
  assert.ok(part.blocks.size < RECORDS, 'the part since a rev is smaller than the whole')
  assert.ok([...part.blocks.entries()].some(({ cid }) => cid.toString() === post.cid))

  const rkey = post.uri.split('/').pop()
  const proof = (await agent.com.atproto.sync.getRecord({ did, collection, rkey })).data
  const [claim] = await verifyRecords(proof, did, key)
  assert.equal(claim.rkey, rkey)
  const absent = (await agent.com.atproto.sync.getRecord({ did, collection, rkey: 'absent' })).data
  const { verified } = await verifyProofs(absent, [{ collection, rkey: 'absent', cid: null }], did, key)
  assert.equal(verified.length, 1)

  const other = await signingKey((await new AtpAgent({ service: pdsUrl }).createAccount({
    handle: newHandle(), email: 'other@example.org', password })).data.did)
  await assert.rejects(verifyRepoCar(car.data, did, other), /signature/, 'the check itself can fail')
})
