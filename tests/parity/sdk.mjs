// @atproto/api as an app uses it, on Perch with everything around it: app passwords, services behind it, mail, moving in.
import assert from 'node:assert/strict'
import { createRequire } from 'node:module'
import path from 'node:path'
import { pathToFileURL } from 'node:url'
import { png } from './cases/make.mjs'

const PASSWORD = 'a-long-enough-password'

/** The stories; each is given the SDK's agent class and the world. */
const stories = {
  'an app password signs in, and may do less': async (AtpAgent, { perch }) => {
    const owner = new AtpAgent({ service: perch.url })
    await owner.createAccount({ handle: 'sdk-app.test', email: 'sdk-app@example.org', password: PASSWORD })
    const { data } = await owner.com.atproto.server.createAppPassword({ name: 'client' })
    const app = new AtpAgent({ service: perch.url })
    await app.login({ identifier: 'sdk-app.test', password: data.password })
    const { uri } = await app.post({ text: 'by app password' })
    assert.match(uri, /^at:\/\/did:plc:/)
    await assert.rejects(app.com.atproto.server.createAppPassword({ name: 'more' }), { status: 400, error: 'InvalidToken' })
    await owner.com.atproto.server.revokeAppPassword({ name: 'client' })
    await assert.rejects(app.sessionManager.refreshSession(), { error: 'ExpiredToken' })
  },

  'what the server does not answer is passed on': async (AtpAgent, { perch, appview }) => {
    const agent = new AtpAgent({ service: perch.url })
    await agent.createAccount({ handle: 'sdk-proxy.test', email: 'sdk-proxy@example.org', password: PASSWORD })
    const { data: profile } = await agent.getProfile({ actor: 'did:plc:aaaaaaaaaaaaaaaaaaaaaaaa' })
    assert.equal(profile.displayName, 'old name')
    const { commit } = (await agent.com.atproto.repo.createRecord({
      repo: agent.did, collection: 'app.bsky.feed.post', record: { $type: 'app.bsky.feed.post', text: 'known', createdAt: new Date().toISOString() },
    })).data
    await agent.sessionManager.fetchHandler(`/xrpc/app.bsky.test.rev?rev=${commit.rev}`)
    await agent.upsertProfile(() => ({ displayName: 'new name' }))
    assert.equal((await agent.getProfile({ actor: agent.did })).data.displayName, 'new name', 'what was just written is shown')
    await agent.post({ text: 'just written' })
    const { data: timeline } = await agent.getTimeline()
    assert.equal(timeline.feed[0]?.post.record.text, 'just written')
    const labeler = agent.withProxy('atproto_labeler', appview.did)
    const { data: report } = await labeler.createModerationReport({
      reasonType: 'com.atproto.moderation.defs#reasonSpam', subject: { $type: 'com.atproto.admin.defs#repoRef', did: agent.did },
    })
    assert.equal(report.id, 7)
  },

  'preferences are kept': async (AtpAgent, { perch }) => {
    const agent = new AtpAgent({ service: perch.url })
    await agent.createAccount({ handle: 'sdk-prefs.test', email: 'sdk-prefs@example.org', password: PASSWORD })
    await agent.setAdultContentEnabled(true)
    await agent.setPersonalDetails({ birthDate: '1990-05-06T00:00:00.000Z' })
    const preferences = await agent.getPreferences()
    assert.equal(preferences.moderationPrefs.adultContentEnabled, true)
    assert.equal(preferences.birthDate.toISOString(), '1990-05-06T00:00:00.000Z')
  },

  'mail is confirmed and a password is reset': async (AtpAgent, { perch }) => {
    const agent = new AtpAgent({ service: perch.url })
    const email = 'sdk-mail@example.org'
    await agent.createAccount({ handle: 'sdk-mail.test', email, password: PASSWORD })
    await agent.com.atproto.server.requestEmailConfirmation()
    await agent.com.atproto.server.confirmEmail({ email, token: (await perch.mail.next(email, 0)).code })
    assert.equal((await agent.com.atproto.server.getSession()).data.emailConfirmed, true)
    await agent.com.atproto.server.requestPasswordReset({ email })
    await agent.com.atproto.server.resetPassword({ token: (await perch.mail.next(email, 1)).code, password: 'another-password' })
    const again = new AtpAgent({ service: perch.url })
    await assert.rejects(again.login({ identifier: email, password: PASSWORD }), { status: 401 })
    await again.login({ identifier: email, password: 'another-password' })
  },

  'a handle is changed': async (AtpAgent, { perch }) => {
    const agent = new AtpAgent({ service: perch.url })
    await agent.createAccount({ handle: 'sdk-name.test', email: 'sdk-name@example.org', password: PASSWORD })
    await agent.updateHandle({ handle: 'sdk-name-2.test' })
    assert.equal((await agent.resolveHandle({ handle: 'sdk-name-2.test' })).data.did, agent.did)
    await assert.rejects(agent.resolveHandle({ handle: 'sdk-name.test' }), { status: 400 })
  },

  'an account moves in from the reference': async (AtpAgent, { perch, reference, plcUrl }) => {
    const old = new AtpAgent({ service: reference.url })
    const email = 'sdk-move@example.org'
    await old.createAccount({ handle: 'sdk-move.test', email, password: PASSWORD })
    const upload = await old.uploadBlob(png, { encoding: 'image/png' })
    const post = await old.post({ text: 'before', embed: { $type: 'app.bsky.embed.images', images: [{ alt: '', image: upload.data.blob }] } })
    const fresh = new AtpAgent({ service: perch.url })
    const { data: server } = await fresh.com.atproto.server.describeServer()
    const { data: auth } = await old.com.atproto.server.getServiceAuth({ aud: server.did, lxm: 'com.atproto.server.createAccount' })
    await fresh.com.atproto.server.createAccount(
      { handle: 'sdk-moved.test', email, password: PASSWORD, did: old.did },
      { headers: { authorization: `Bearer ${auth.token}` }, encoding: 'application/json' },
    )
    await fresh.login({ identifier: 'sdk-moved.test', password: PASSWORD })
    const car = await old.com.atproto.sync.getRepo({ did: old.did })
    await fresh.com.atproto.repo.importRepo(car.data, { encoding: 'application/vnd.ipld.car' })
    const { data: missing } = await fresh.com.atproto.repo.listMissingBlobs()
    for (const { cid } of missing.blobs) {
      const blob = await old.com.atproto.sync.getBlob({ did: old.did, cid })
      await fresh.com.atproto.repo.uploadBlob(blob.data, { encoding: blob.headers['content-type'] })
    }
    const { data: credentials } = await fresh.com.atproto.identity.getRecommendedDidCredentials()
    await old.com.atproto.identity.requestPlcOperationSignature()
    const { code } = await reference.mail.next(email, 0)
    const { data: signed } = await old.com.atproto.identity.signPlcOperation({ token: code, ...credentials })
    await fresh.com.atproto.identity.submitPlcOperation({ operation: signed.operation })
    await fresh.com.atproto.server.activateAccount()
    await old.com.atproto.server.deactivateAccount({})
    const read = await fresh.com.atproto.repo.getRecord({ repo: 'sdk-moved.test', collection: 'app.bsky.feed.post', rkey: post.uri.split('/').pop() })
    assert.equal(read.data.cid, post.cid)
    const document = await (await fetch(`${plcUrl}/${old.did}`)).json()
    assert.equal(document.service[0].serviceEndpoint, perch.url)
    await fresh.post({ text: 'after' })
  },

  'an account is deleted': async (AtpAgent, { perch }) => {
    const agent = new AtpAgent({ service: perch.url })
    const email = 'sdk-gone@example.org'
    const { data } = await agent.createAccount({ handle: 'sdk-gone.test', email, password: PASSWORD })
    await agent.com.atproto.server.requestAccountDelete()
    const { code } = await perch.mail.next(email, 0)
    await agent.com.atproto.server.deleteAccount({ did: data.did, password: PASSWORD, token: code })
    await assert.rejects(new AtpAgent({ service: perch.url }).login({ identifier: 'sdk-gone.test', password: PASSWORD }), { status: 401 })
    await assert.rejects(agent.com.atproto.sync.getRepo({ did: data.did }), { error: 'RepoNotFound' })
  },
}

/** Plays all; `note(name, error)` hears of each failure. `packages` is the folder with the SDK. */
export const playSdk = async (packages, world, note) => {
  const here = createRequire(path.join(path.resolve(packages), 'package.json'))
  const { AtpAgent } = await import(pathToFileURL(here.resolve('@atproto/api')))
  for (const [name, story] of Object.entries(stories)) {
    try {
      await story(AtpAgent, world)
    } catch (error) {
      note(name, error)
    }
  }
  return Object.keys(stories).length
}
