// The methods of the reference PDS: how each is called, who may call it, and an input that fits its schema. From these
// `generic.mjs` makes the calls that every method must refuse alike.
//
// `auth`: none, optional, access (an app password may too), full (it may not), refresh, admin, service.
// `need`: the names that must be there; every name of the sample is given wrong types.

const did = '{g.did}'
const post = 'app.bsky.feed.post'
const record = { $type: post, text: 'hello', createdAt: '2026-01-01T00:00:00.000Z' }
const cid = 'bafyreidfayvfuwqa7qlnopdjiqrxzs6blmoeu4rujcjtnci5beludirz2a'
const uri = `at://{g.did}/${post}/generic`
const push = { serviceDid: 'did:web:push.invalid', token: 'token', platform: 'ios', appId: 'xyz.blueskyweb.app' }

const server = (name, verb, auth, input, need) => [`com.atproto.server.${name}`, verb, auth, input, need]
const repo = (name, verb, auth, input, need) => [`com.atproto.repo.${name}`, verb, auth, input, need]
const sync = (name, input, need) => [`com.atproto.sync.${name}`, 'GET', 'none', input, need]
const identity = (name, verb, auth, input, need) => [`com.atproto.identity.${name}`, verb, auth, input, need]
const admin = (name, verb, input, need) => [`com.atproto.admin.${name}`, verb, 'admin', input, need]
const bsky = (name, verb, auth, input, need) => [`app.bsky.${name}`, verb, auth, input, need]

const table = [
  server('describeServer', 'GET', 'none'),
  server('createAccount', 'POST', 'optional', { handle: 'generic-2.test', email: 'g2@example.org', password: 'pass', did: 'did:plc:aaaaaaaaaaaaaaaaaaaaaaaa', inviteCode: 'code', recoveryKey: 'key', plcOp: {} }, ['handle']),
  server('createSession', 'POST', 'none', { identifier: 'nobody.test', password: 'pass', authFactorToken: 'x', allowTakendown: false }, ['identifier', 'password']),
  server('refreshSession', 'POST', 'refresh'),
  server('deleteSession', 'POST', 'refresh'),
  server('getSession', 'GET', 'access'),
  server('getServiceAuth', 'GET', 'access', { aud: 'did:web:example.org', lxm: 'app.bsky.feed.getFeed', exp: 1 }, ['aud']),
  server('createAppPassword', 'POST', 'full', { name: 'generic', privileged: false }, ['name']),
  server('listAppPasswords', 'GET', 'access'),
  server('revokeAppPassword', 'POST', 'access', { name: 'generic' }, ['name']),
  server('createInviteCode', 'POST', 'admin', { useCount: 1, forAccount: did }, ['useCount']),
  server('createInviteCodes', 'POST', 'admin', { codeCount: 1, useCount: 1, forAccounts: [did] }, ['codeCount', 'useCount']),
  server('getAccountInviteCodes', 'GET', 'full', { includeUsed: true, createAvailable: true }, []),
  server('reserveSigningKey', 'POST', 'none', { did }, []),
  server('requestEmailConfirmation', 'POST', 'access'),
  server('confirmEmail', 'POST', 'access', { email: 'g@example.org', token: 'AAAAA-BBBBB' }, ['email', 'token']),
  server('requestEmailUpdate', 'POST', 'full'),
  server('updateEmail', 'POST', 'full', { email: 'g@example.org', emailAuthFactor: false, token: 'AAAAA-BBBBB' }, ['email']),
  server('requestPasswordReset', 'POST', 'none', { email: 'nobody@example.org' }, ['email']),
  server('resetPassword', 'POST', 'none', { token: 'AAAAA-BBBBB', password: 'new password' }, ['token', 'password']),
  server('requestAccountDelete', 'POST', 'full'),
  server('deleteAccount', 'POST', 'none', { did, password: 'wrong', token: 'AAAAA-BBBBB' }, ['did', 'password', 'token']),
  server('activateAccount', 'POST', 'full'),
  server('deactivateAccount', 'POST', 'full', { deleteAfter: '2030-01-01T00:00:00.000Z' }, []),
  server('checkAccountStatus', 'GET', 'access'),

  repo('createRecord', 'POST', 'access', { repo: did, collection: post, rkey: 'generic', validate: false, record, swapCommit: cid }, ['repo', 'collection', 'record']),
  repo('putRecord', 'POST', 'access', { repo: did, collection: post, rkey: 'generic', validate: false, record, swapRecord: cid, swapCommit: cid }, ['repo', 'collection', 'rkey', 'record']),
  repo('deleteRecord', 'POST', 'access', { repo: did, collection: post, rkey: 'generic', swapRecord: cid, swapCommit: cid }, ['repo', 'collection', 'rkey']),
  repo('applyWrites', 'POST', 'access', { repo: did, validate: false, writes: [{ $type: 'com.atproto.repo.applyWrites#create', collection: post, value: record }], swapCommit: cid }, ['repo', 'writes']),
  repo('getRecord', 'GET', 'none', { repo: did, collection: post, rkey: 'generic', cid }, ['repo', 'collection', 'rkey']),
  repo('listRecords', 'GET', 'none', { repo: did, collection: post, limit: 50, cursor: 'x', reverse: false }, ['repo', 'collection']),
  repo('describeRepo', 'GET', 'none', { repo: did }, ['repo']),
  repo('uploadBlob', 'POST', 'access'),
  repo('listMissingBlobs', 'GET', 'access', { limit: 500, cursor: 'x' }, []),
  repo('importRepo', 'POST', 'access'),

  sync('getRepo', { did, since: '3jzfcijpj2z2a' }, ['did']),
  sync('getRecord', { did, collection: post, rkey: 'generic' }, ['did', 'collection', 'rkey']),
  sync('getBlocks', { did, cids: [cid] }, ['did', 'cids']),
  sync('getBlob', { did, cid }, ['did', 'cid']),
  sync('getLatestCommit', { did }, ['did']),
  sync('getRepoStatus', { did }, ['did']),
  sync('listBlobs', { did, since: '3jzfcijpj2z2a', limit: 500, cursor: cid }, ['did']),
  sync('listRepos', { limit: 500, cursor: '1700000000000::did:plc:aaaaaaaaaaaaaaaaaaaaaaaa' }, []),
  sync('getCheckout', { did }, ['did']),
  sync('getHead', { did }, ['did']),
  sync('subscribeRepos', { cursor: 0 }, []),

  identity('resolveHandle', 'GET', 'none', { handle: 'generic.test' }, ['handle']),
  identity('updateHandle', 'POST', 'full', { handle: 'generic-new.test' }, ['handle']),
  identity('getRecommendedDidCredentials', 'GET', 'access'),
  identity('requestPlcOperationSignature', 'POST', 'full'),
  identity('signPlcOperation', 'POST', 'full', { token: 'AAAAA-BBBBB', rotationKeys: ['did:key:x'], alsoKnownAs: ['at://x.test'], verificationMethods: {}, services: {} }, []),
  identity('submitPlcOperation', 'POST', 'full', { operation: {} }, ['operation']),

  ['com.atproto.moderation.createReport', 'POST', 'access', { reasonType: 'com.atproto.moderation.defs#reasonSpam', reason: 'spam', subject: { $type: 'com.atproto.admin.defs#repoRef', did } }, ['reasonType', 'subject']],
  ['com.atproto.temp.checkSignupQueue', 'GET', 'access'],

  admin('updateSubjectStatus', 'POST', { subject: { $type: 'com.atproto.admin.defs#repoRef', did }, takedown: { applied: false }, deactivated: { applied: false } }, ['subject']),
  admin('getSubjectStatus', 'GET', { did, uri, blob: cid }, []),
  admin('getAccountInfo', 'GET', { did }, ['did']),
  admin('getAccountInfos', 'GET', { dids: [did] }, ['dids']),
  admin('enableAccountInvites', 'POST', { account: did, note: 'x' }, ['account']),
  admin('disableAccountInvites', 'POST', { account: did, note: 'x' }, ['account']),
  admin('disableInviteCodes', 'POST', { codes: ['none'], accounts: ['admin'] }, []),
  admin('getInviteCodes', 'GET', { sort: 'recent', limit: 100, cursor: 'x' }, []),
  admin('sendEmail', 'POST', { recipientDid: did, content: 'hello', subject: 'hello', senderDid: did, comment: 'x' }, ['recipientDid', 'content', 'senderDid']),
  admin('updateAccountHandle', 'POST', { did, handle: 'generic-new.test' }, ['did', 'handle']),
  admin('updateAccountEmail', 'POST', { account: did, email: 'g@example.org' }, ['account', 'email']),
  admin('updateAccountPassword', 'POST', { did, password: 'another password' }, ['did', 'password']),
  admin('deleteAccount', 'POST', { did }, ['did']),

  bsky('actor.getPreferences', 'GET', 'access'),
  bsky('actor.putPreferences', 'POST', 'access', { preferences: [] }, ['preferences']),
  bsky('actor.getProfile', 'GET', 'access', { actor: did }, ['actor']),
  bsky('actor.getProfiles', 'GET', 'access', { actors: [did] }, ['actors']),
  bsky('feed.getTimeline', 'GET', 'access', { algorithm: 'x', limit: 50, cursor: 'x' }, []),
  bsky('feed.getAuthorFeed', 'GET', 'access', { actor: did, limit: 50, cursor: 'x', filter: 'posts_no_replies', includePins: false }, ['actor']),
  bsky('feed.getActorLikes', 'GET', 'access', { actor: did, limit: 50, cursor: 'x' }, ['actor']),
  bsky('feed.getPostThread', 'GET', 'access', { uri, depth: 6, parentHeight: 80 }, ['uri']),
  bsky('feed.getFeed', 'GET', 'access', { feed: 'at://{appview.did}/app.bsky.feed.generator/x', limit: 50, cursor: 'x' }, ['feed']),
  bsky('notification.registerPush', 'POST', 'access', push, Object.keys(push)),
  bsky('notification.unregisterPush', 'POST', 'access', push, Object.keys(push)),
]

/** All of them, as objects. */
export const methods = table.map(([nsid, http, auth, sample, need = []]) => ({ nsid, http, auth, sample, need }))

/** By which HTTP method each is called. */
export const kinds = new Map(methods.map(({ nsid, http }) => [nsid, http]))
