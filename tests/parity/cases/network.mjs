// What relays and other servers ask: sync, identity, and the addresses that are no methods.
import { PASSWORD, account, login, post, space, text } from './make.mjs'

const sync = space('com.atproto.sync')
const repo = space('com.atproto.repo')
const identity = space('com.atproto.identity')
const server = space('com.atproto.server')
const did = '{alice.did}'
const NOBODY = 'did:plc:aaaaaaaaaaaaaaaaaaaaaaaa'
const ZERO = 'bafyreidfayvfuwqa7qlnopdjiqrxzs6blmoeu4rujcjtnci5beludirz2a'
const key = (n) => `3mvfsmbk2zk2${n}`

export const mirrors = {
  name: 'mirrors',
  steps: [
    account('alice', 'mi-alice.test'),
    ...['a', 'b', 'c'].map((n) => repo('createRecord', `post ${n}`, { as: 'alice', keep: n, body: { repo: did, collection: post, rkey: key(n), record: text(n) } })),
    ...['getRepo', 'getLatestCommit', 'getRepoStatus', 'listBlobs', 'getHead', 'getCheckout'].flatMap((method) => [
      sync(method, 'there', { params: { did }, keep: method }),
      sync(method, 'of nobody', { params: { did: NOBODY } }),
      sync(method, 'of another kind of did', { params: { did: 'did:web:nowhere.invalid' } }),
      sync(method, 'with an unknown token', { params: { did }, as: 'raw Bearer nonsense' }),
      sync(method, 'by the admin', { params: { did }, as: 'admin' }),
    ]),
    sync('getRepo', 'since', { params: { did, since: '{b.commit.rev}' } }),
    sync('getRepo', 'since the newest', { params: { did, since: '{c.commit.rev}' } }),
    sync('getRepo', 'since the future', { params: { did, since: '3zzzzzzzzzzzz' } }),
    sync('getRecord', 'there', { params: { did, collection: post, rkey: key('a') } }),
    sync('getRecord', 'absent', { params: { did, collection: post, rkey: key('z') } }),
    sync('getRecord', 'of nobody', { params: { did: NOBODY, collection: post, rkey: key('a') } }),
    sync('getRecord', 'at a commit', { params: { did, collection: post, rkey: key('a'), commit: '{a.commit.cid}' } }),
    sync('getBlocks', 'a record', { params: { did, cids: ['{a.cid}'] } }),
    sync('getBlocks', 'two', { params: { did, cids: ['{a.cid}', '{b.cid}'] } }),
    sync('getBlocks', 'one absent', { params: { did, cids: ['{a.cid}', ZERO] } }),
    sync('getBlocks', 'of nobody', { params: { did: NOBODY, cids: [ZERO] } }),
    ...['requestCrawl', 'notifyOfUpdate'].map((method) => sync(method, 'a relay\'s', { http: 'POST', body: { hostname: 'x.test' } })),
    ...['listHosts', 'getHostStatus', 'listReposByCollection'].map((method) => sync(method, 'a relay\'s', { params: { collection: post, hostname: 'x' } })),
  ],
}

const request = (name, more) => ({ name, ...more })

export const addresses = {
  name: 'addresses',
  steps: [
    account('alice', 'ad-alice.test'),
    request('health', { get: '/xrpc/_health' }),
    request('health by HEAD', { send: 'HEAD /xrpc/_health' }),
    request('front page', { get: '/' }),
    request('robots', { get: '/robots.txt' }),
    request('nothing', { get: '/nothing' }),
    request('nothing by POST', { send: 'POST /nothing' }),
    request('xrpc alone', { get: '/xrpc/' }),
    request('xrpc without slash', { get: '/xrpc' }),
    request('no method', { get: '/xrpc/nonsense' }),
    request('a method below a method', { get: '/xrpc/com.atproto.server.describeServer/more' }),
    request('a method with a slash', { get: '/xrpc/com.atproto.server.describeServer/' }),
    request('a method in capitals', { get: '/xrpc/COM.atproto.server.describeServer' }),
    request('unknown method', { get: '/xrpc/com.example.unknown' }),
    request('unknown method, signed in', { get: '/xrpc/com.example.unknown', as: 'alice' }),
    request('handle of an account', { get: '/.well-known/atproto-did', headers: { host: 'ad-alice.test' } }),
    request('handle of an account with a port', { get: '/.well-known/atproto-did', headers: { host: 'ad-alice.test:443' } }),
    request('handle in capitals', { get: '/.well-known/atproto-did', headers: { host: 'AD-ALICE.test' } }),
    request('handle of nobody', { get: '/.well-known/atproto-did', headers: { host: 'ad-nobody.test' } }),
    request('another domain', { get: '/.well-known/atproto-did', headers: { host: 'example.org' } }),
    request('the server itself', { get: '/.well-known/atproto-did' }),
    request('change password', { get: '/.well-known/change-password' }),
    request('own DID document', { get: '/.well-known/did.json' }),
    request('protected resource', { get: '/.well-known/oauth-protected-resource' }),
    request('authorization server', { get: '/.well-known/oauth-authorization-server' }),
    request('from another origin', { get: '/xrpc/com.atproto.server.describeServer', headers: { origin: 'https://app.example' } }),
    request('compressed', { get: '/xrpc/com.atproto.repo.describeRepo?repo=ad-alice.test', headers: { 'accept-encoding': 'gzip' } }),
    request('HEAD of a method', { send: 'HEAD /xrpc/com.atproto.server.describeServer' }),
    request('a parameter that is not asked for', { get: '/xrpc/com.atproto.server.describeServer?more=1' }),
  ],
}

export const identities = {
  name: 'identities',
  steps: [
    account('alice', 'id-alice.test'),
    account('bob', 'id-bob.test'),
    identity('resolveHandle', 'own', { params: { handle: 'id-alice.test' } }),
    identity('resolveHandle', 'own in capitals', { params: { handle: 'ID-Alice.test' } }),
    identity('resolveHandle', 'own, nobody', { params: { handle: 'id-nobody.test' } }),
    identity('resolveHandle', 'the server', { params: { handle: 'localhost.test' } }),
    identity('updateHandle', 'to another', { as: 'alice', body: { handle: 'id-alice-2.test' } }),
    { call: 'com.atproto.server.getSession', name: 'new handle', as: 'alice' },
    identity('resolveHandle', 'new', { params: { handle: 'id-alice-2.test' } }),
    identity('resolveHandle', 'old', { params: { handle: 'id-alice.test' } }),
    identity('updateHandle', 'to the same', { as: 'alice', body: { handle: 'id-alice-2.test' } }),
    identity('updateHandle', 'to a taken one', { as: 'alice', body: { handle: 'id-bob.test' } }),
    identity('updateHandle', 'in capitals', { as: 'alice', body: { handle: 'ID-Alice-3.test' } }),
    ...['ab.test', 'admin.test', 'id.more.test', 'x'.repeat(30) + '.test', 'id-alice.invalid'].map((handle) => identity('updateHandle', `to ${handle}`, { as: 'alice', body: { handle } })),
    repo('describeRepo', 'new handle', { params: { repo: did } }),
    identity('getRecommendedDidCredentials', 'read', { as: 'alice', keep: 'recommended' }),
    server('createAppPassword', 'for the app', { as: 'alice', body: { name: 'app' }, keep: 'appPassword' }),
    login('app', '{alice.did}', '{appPassword.password}'),
    identity('getRecommendedDidCredentials', 'by app password', { as: 'app' }),
    identity('signPlcOperation', 'without a code', { as: 'alice', body: {} }),
    identity('signPlcOperation', 'wrong code', { as: 'alice', body: { token: 'AAAAA-BBBBB' } }),
    identity('requestPlcOperationSignature', 'asked', { as: 'alice', mail: '{alice.email}' }),
    identity('signPlcOperation', 'right code', { as: 'alice', body: { token: '{mail.code}', alsoKnownAs: ['at://id-alice-4.test'] }, keep: 'signed' }),
    identity('signPlcOperation', 'used code', { as: 'alice', body: { token: '{mail.code}' } }),
    identity('submitPlcOperation', 'another handle first', { as: 'alice', body: { operation: '{signed.operation}' } }),
    identity('submitPlcOperation', 'no operation', { as: 'alice', body: { operation: { type: 'x' } } }),
    identity('submitPlcOperation', 'of another', { as: 'bob', body: { operation: '{signed.operation}' } }),
    identity('requestPlcOperationSignature', 'asked again', { as: 'alice', mail: '{alice.email}' }),
    identity('signPlcOperation', 'nothing changed', { as: 'alice', body: { token: '{mail.code}' }, keep: 'signed' }),
    identity('submitPlcOperation', 'nothing changed', { as: 'alice', body: { operation: '{signed.operation}' } }),
    identity('submitPlcOperation', 'twice', { as: 'alice', body: { operation: '{signed.operation}' } }),
    identity('submitPlcOperation', 'without the server\'s key', { as: 'alice', body: (vars) => ({ operation: { ...vars.signed?.operation, rotationKeys: ['did:key:zQ3shokFTS3brHcDQrn82RUDfCZESWL1ZdCEJwekUDPQiYBme'] } }) }),
    identity('submitPlcOperation', 'without the server', { as: 'alice', body: (vars) => ({ operation: { ...vars.signed?.operation, services: {} } }) }),
    identity('submitPlcOperation', 'without the signing key', { as: 'alice', body: (vars) => ({ operation: { ...vars.signed?.operation, verificationMethods: {} } }) }),
    identity('requestPlcOperationSignature', 'a third time', { as: 'alice', mail: '{alice.email}' }),
    identity('signPlcOperation', 'another key', { as: 'alice', keep: 'signed', body: (vars) => ({ token: vars.mail?.code, rotationKeys: ['did:key:zQ3shokFTS3brHcDQrn82RUDfCZESWL1ZdCEJwekUDPQiYBme', ...(vars.recommended?.rotationKeys ?? [])] }) }),
    identity('submitPlcOperation', 'another key', { as: 'alice', body: { operation: '{signed.operation}' } }),
    identity('updateHandle', 'to niggers.test', { as: 'bob', body: { handle: 'niggers.test' } }),
    identity('resolveDid', 'not served', { params: { did } }),
    identity('resolveIdentity', 'not served', { params: { identifier: did } }),
    server('createAccount', 'a brought did of nobody', { body: { did: NOBODY, handle: 'id-nobody.test', email: 'nobody@example.org', password: PASSWORD }, as: 'alice' }),
  ],
}
