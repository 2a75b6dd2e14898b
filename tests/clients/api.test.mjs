// @atproto/api, as an app would use it.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { AtpAgent } from '@atproto/api'
import { newHandle, password, pdsUrl, png } from './world.mjs'

const handle = newHandle()

test('an account is made, and logging in gives a session', async () => {
  const maker = new AtpAgent({ service: pdsUrl })
  const { data } = await maker.createAccount({ handle, email: `${handle}@example.org`, password })
  assert.match(data.did, /^did:plc:[a-z2-7]{24}$/)
  const agent = new AtpAgent({ service: pdsUrl })
  const login = await agent.login({ identifier: handle, password })
  assert.equal(login.data.did, data.did)
  assert.equal(login.data.handle, handle)
})

test('a wrong password is refused by name', async () => {
  const agent = new AtpAgent({ service: pdsUrl })
  await assert.rejects(agent.login({ identifier: handle, password: 'wrong' }), { status: 401 })
})

test('a post with a picture is read back as it was written', async () => {
  const agent = new AtpAgent({ service: pdsUrl })
  await agent.login({ identifier: handle, password })
  const upload = await agent.uploadBlob(png, { encoding: 'image/png' })
  assert.equal(upload.data.blob.mimeType, 'image/png')
  assert.equal(upload.data.blob.size, png.length)
  const text = 'Hello from the TypeScript SDK: äöü 🐦'
  const embed = { $type: 'app.bsky.embed.images', images: [{ alt: 'a pixel', image: upload.data.blob }] }
  const written = await agent.post({ text, embed, langs: ['en'] })

  const rkey = written.uri.split('/').pop()
  const { data } = await agent.com.atproto.repo.getRecord({ repo: handle, collection: 'app.bsky.feed.post', rkey })
  assert.equal(data.cid, written.cid)
  assert.equal(data.value.text, text)
  const link = data.value.embed.images[0].image.ref.toString()
  const blob = await agent.com.atproto.sync.getBlob({ did: agent.assertDid, cid: link })
  assert.deepEqual(Buffer.from(blob.data), png)

  const list = await agent.com.atproto.repo.listRecords({ repo: handle, collection: 'app.bsky.feed.post' })
  assert.deepEqual(list.data.records.map(({ uri }) => uri), [written.uri])
  await agent.deletePost(written.uri)
  const after = await agent.com.atproto.repo.listRecords({ repo: handle, collection: 'app.bsky.feed.post' })
  assert.deepEqual(after.data.records, [])
})

test('a profile is written with the SDK upsert and read back', async () => {
  const agent = new AtpAgent({ service: pdsUrl })
  await agent.login({ identifier: handle, password })
  await agent.upsertProfile((old) => ({ ...old, displayName: 'A. Pixel' }))
  await agent.upsertProfile((old) => ({ ...old, description: 'white' }))
  const { data } = await agent.com.atproto.repo.getRecord({ repo: handle, collection: 'app.bsky.actor.profile', rkey: 'self' })
  assert.equal(data.value.displayName, 'A. Pixel')
  assert.equal(data.value.description, 'white')
})

test('a session is refreshed and ended', async () => {
  const agent = new AtpAgent({ service: pdsUrl })
  await agent.login({ identifier: handle, password })
  const before = agent.session.refreshJwt
  await agent.sessionManager.refreshSession()
  assert.notEqual(agent.session.refreshJwt, before)
  const { data } = await agent.com.atproto.server.getSession()
  assert.equal(data.handle, handle)
  await agent.logout()
  assert.equal(agent.session, undefined)
})
