// What the operator and the moderation service do, and how it shows.
import { PASSWORD, account, login, png, post, space, text } from './make.mjs'

const admin = (method, name, more = {}) => ({ call: `com.atproto.admin.${method}`, name, as: 'admin', ...more })
const server = space('com.atproto.server')
const repo = space('com.atproto.repo')
const sync = space('com.atproto.sync')
const did = '{alice.did}'
const NOBODY = 'did:plc:aaaaaaaaaaaaaaaaaaaaaaaa'
const key = (n) => `3mvfsmbk2zk2${n}`
const account_ = { $type: 'com.atproto.admin.defs#repoRef', did }
const record = (vars) => ({ $type: 'com.atproto.repo.strongRef', uri: `at://${vars.alice.did}/${post}/${key('a')}`, cid: vars.one?.cid })
const blob = (vars) => ({ $type: 'com.atproto.admin.defs#repoBlobRef', did: vars.alice.did, cid: vars.picture?.blob?.ref?.$link })
const on = { applied: true, ref: 'case-1' }

const looks = (state) => [
  ...['getRepo', 'getLatestCommit', 'getRepoStatus', 'listBlobs'].flatMap((method) => [
    sync(method, state, { params: { did } }),
    sync(method, `${state}, by the owner`, { params: { did }, as: 'alice' }),
    sync(method, `${state}, by the admin`, { params: { did }, as: 'admin' }),
  ]),
  sync('getRecord', state, { params: { did, collection: post, rkey: key('a') } }),
  sync('getBlocks', state, { params: { did, cids: ['{one.cid}'] } }),
  sync('getBlob', state, { params: (vars) => ({ did: vars.alice.did, cid: vars.picture?.blob?.ref?.$link }) }),
  repo('getRecord', state, { params: { repo: did, collection: post, rkey: key('a') } }),
  repo('listRecords', state, { params: { repo: did, collection: post } }),
  repo('describeRepo', state, { params: { repo: did } }),
  server('getSession', state, { as: 'alice' }),
  server('refreshSession', state, { as: 'alice:refresh' }),
  repo('createRecord', state, { as: 'alice', body: { repo: did, collection: post, record: text('more') } }),
  { call: 'com.atproto.identity.resolveHandle', name: state, params: { handle: 'op-alice.test' } },
  admin('getSubjectStatus', state, { params: { did } }),
  admin('getAccountInfo', state, { params: { did } }),
]

export const operator = {
  name: 'operator',
  steps: [
    account('alice', 'op-alice.test'),
    account('bob', 'op-bob.test'),
    server('createAppPassword', 'for the app', { as: 'alice', body: { name: 'app' }, keep: 'appPassword' }),
    login('app', 'op-alice.test', '{appPassword.password}'),
    repo('createRecord', 'a post', { as: 'alice', keep: 'one', body: { repo: did, collection: post, rkey: key('a'), record: text('one') } }),
    repo('uploadBlob', 'a picture', { as: 'alice', type: 'image/png', body: png, keep: 'picture' }),
    repo('createRecord', 'a picture', { as: 'alice', body: (vars) => ({ repo: vars.alice.did, collection: post, rkey: key('b'), record: text('p', { embed: { $type: 'app.bsky.embed.images', images: [{ alt: '', image: vars.picture?.blob }] } }) }) }),
    admin('getAccountInfo', 'there', { params: { did } }),
    admin('getAccountInfo', 'nobody', { params: { did: NOBODY } }),
    admin('getAccountInfos', 'both', { params: { dids: [did, '{bob.did}'] }, unordered: 'body.infos' }),
    admin('getAccountInfos', 'one of nobody', { params: { dids: [did, NOBODY] } }),
    admin('getSubjectStatus', 'account', { params: { did } }),
    admin('getSubjectStatus', 'record', { params: { uri: `at://{alice.did}/${post}/${key('a')}` } }),
    admin('getSubjectStatus', 'blob', { params: (vars) => ({ did: vars.alice.did, blob: vars.picture?.blob?.ref?.$link }) }),
    admin('getSubjectStatus', 'nothing', { params: {} }),
    admin('getSubjectStatus', 'nobody', { params: { did: NOBODY } }),
    admin('getSubjectStatus', 'record absent', { params: { uri: `at://{alice.did}/${post}/${key('z')}` } }),
    // A record.
    admin('updateSubjectStatus', 'record down', { body: (vars) => ({ subject: record(vars), takedown: on }) }),
    repo('getRecord', 'record down', { params: { repo: did, collection: post, rkey: key('a') } }),
    repo('listRecords', 'record down', { params: { repo: did, collection: post } }),
    sync('getRecord', 'record down', { params: { did, collection: post, rkey: key('a') } }),
    admin('getSubjectStatus', 'record down', { params: { uri: `at://{alice.did}/${post}/${key('a')}` } }),
    admin('updateSubjectStatus', 'record up', { body: (vars) => ({ subject: record(vars), takedown: { applied: false } }) }),
    repo('getRecord', 'record up', { params: { repo: did, collection: post, rkey: key('a') } }),
    // A blob.
    admin('updateSubjectStatus', 'blob down', { body: (vars) => ({ subject: blob(vars), takedown: on }) }),
    sync('getBlob', 'blob down', { params: (vars) => ({ did: vars.alice.did, cid: vars.picture?.blob?.ref?.$link }) }),
    sync('listBlobs', 'blob down', { params: { did } }),
    repo('uploadBlob', 'blob down', { as: 'alice', type: 'image/png', body: png }),
    admin('getSubjectStatus', 'blob down', { params: (vars) => ({ did: vars.alice.did, blob: vars.picture?.blob?.ref?.$link }) }),
    admin('updateSubjectStatus', 'blob up', { body: (vars) => ({ subject: blob(vars), takedown: { applied: false } }) }),
    sync('getBlob', 'blob up', { params: (vars) => ({ did: vars.alice.did, cid: vars.picture?.blob?.ref?.$link }) }),
    // The account.
    admin('updateSubjectStatus', 'account down', { body: { subject: account_, takedown: on } }),
    ...looks('taken down'),
    login('nobody', 'op-alice.test'),
    login('nobody', 'op-alice.test', '{appPassword.password}'),
    login('down', 'op-alice.test', PASSWORD, { allowTakendown: true }),
    server('getSession', 'taken down, allowed', { as: 'down' }),
    server('refreshSession', 'taken down, allowed', { as: 'down:refresh' }),
    server('getServiceAuth', 'taken down, another method', { as: 'down', params: { aud: 'did:web:example.org', lxm: 'app.bsky.feed.getFeed' } }),
    server('getServiceAuth', 'taken down, createAccount', { as: 'down', params: { aud: 'did:web:example.org', lxm: 'com.atproto.server.createAccount' } }),
    server('checkAccountStatus', 'taken down, allowed', { as: 'down' }),
    sync('getRepo', 'taken down, allowed', { as: 'down', params: { did } }),
    repo('createRecord', 'taken down, allowed', { as: 'down', body: { repo: did, collection: post, record: text('more') } }),
    server('deactivateAccount', 'taken down, allowed', { as: 'down', body: {} }),
    server('activateAccount', 'taken down, allowed', { as: 'down' }),
    admin('updateSubjectStatus', 'account up', { body: { subject: account_, takedown: { applied: false } } }),
    admin('getSubjectStatus', 'account up', { params: { did } }),
    login('alice', 'op-alice.test'),
    server('activateAccount', 'up again', { as: 'alice' }),
    ...looks('up again'),
    admin('updateSubjectStatus', 'deactivated', { body: { subject: account_, deactivated: { applied: true } } }),
    ...looks('deactivated by the operator'),
    admin('updateSubjectStatus', 'activated', { body: { subject: account_, deactivated: { applied: false } } }),
    admin('updateSubjectStatus', 'of nobody', { body: { subject: { $type: 'com.atproto.admin.defs#repoRef', did: NOBODY }, takedown: on } }),
    // Invites.
    server('createInviteCode', 'one', { as: 'admin', body: { useCount: 2 }, keep: 'code' }),
    server('createInviteCode', 'for bob', { as: 'admin', body: { useCount: 1, forAccount: '{bob.did}' } }),
    server('createInviteCodes', 'two for two', { as: 'admin', body: { codeCount: 2, useCount: 1, forAccounts: ['{bob.did}', did] } }),
    server('getAccountInviteCodes', 'of bob', { as: 'bob' }),
    admin('getInviteCodes', 'newest', { params: { limit: 3 }, keep: 'page' }),
    admin('getInviteCodes', 'next', { params: (vars) => ({ limit: 3, cursor: vars.page?.cursor }) }),
    admin('getInviteCodes', 'by use', { params: { sort: 'usage', limit: 2 } }),
    account('carol', 'op-carol.test', { inviteCode: '{code.code}' }),
    admin('getAccountInfo', 'invited', { params: { did: '{carol.did}' } }),
    admin('disableInviteCodes', 'one', { body: { codes: ['{code.code}'] } }),
    admin('disableInviteCodes', 'of bob', { body: { accounts: ['{bob.did}'] } }),
    admin('disableInviteCodes', 'of the admin', { body: { accounts: ['admin'] } }),
    admin('disableAccountInvites', 'bob', { body: { account: '{bob.did}', note: 'no' } }),
    server('getAccountInviteCodes', 'disabled', { as: 'bob' }),
    admin('getAccountInfo', 'disabled', { params: { did: '{bob.did}' } }),
    admin('enableAccountInvites', 'bob', { body: { account: '{bob.did}' } }),
    admin('enableAccountInvites', 'nobody', { body: { account: NOBODY } }),
    // Mail and changes.
    admin('sendEmail', 'to bob', { body: { recipientDid: '{bob.did}', senderDid: NOBODY, content: 'hello', subject: 'hello' } }),
    admin('sendEmail', 'to nobody', { body: { recipientDid: NOBODY, senderDid: NOBODY, content: 'hello' } }),
    admin('updateAccountEmail', 'by did', { body: { account: '{bob.did}', email: 'op-bob-2@example.org' } }),
    admin('updateAccountEmail', 'by handle', { body: { account: 'op-bob.test', email: 'op-bob-3@example.org' } }),
    admin('updateAccountEmail', 'taken', { body: { account: '{bob.did}', email: 'op-alice.test@example.org' } }),
    admin('updateAccountEmail', 'nobody', { body: { account: NOBODY, email: 'op-nobody@example.org' } }),
    admin('updateAccountHandle', 'another', { body: { did: '{bob.did}', handle: 'op-bob-2.test' } }),
    admin('updateAccountHandle', 'reserved', { body: { did: '{bob.did}', handle: 'admin.test' } }),
    admin('updateAccountHandle', 'taken', { body: { did: '{bob.did}', handle: 'op-alice.test' } }),
    admin('updateAccountHandle', 'nobody', { body: { did: NOBODY, handle: 'op-none.test' } }),
    admin('updateAccountPassword', 'another', { body: { did: '{bob.did}', password: 'another-password' } }),
    login('nobody', 'op-bob-2.test'),
    login('bob', 'op-bob-2.test', 'another-password'),
    admin('updateAccountPassword', 'nobody', { body: { did: NOBODY, password: 'another-password' } }),
    admin('deleteAccount', 'carol', { body: { did: '{carol.did}' } }),
    admin('deleteAccount', 'twice', { body: { did: '{carol.did}' } }),
    admin('getAccountInfo', 'deleted', { params: { did: '{carol.did}' } }),
    { call: 'com.atproto.admin.searchAccounts', name: 'not served', as: 'admin' },
  ],
}
