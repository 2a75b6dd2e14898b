// What apps ask: preferences, read-after-write, and everything that is passed on to other services.
import { account, at, login, post, space, text } from './make.mjs'

const actor = space('app.bsky.actor')
const feed = space('app.bsky.feed')
const server = space('com.atproto.server')
const did = '{alice.did}'
const put = (name, preferences, more = {}) => actor('putPreferences', name, { as: 'alice', body: { preferences }, ...more })
const read = (name, as = 'alice') => actor('getPreferences', name, { as })
const pref = (name, more = {}) => ({ $type: `app.bsky.actor.defs#${name}`, ...more })
const birth = (date) => pref('personalDetailsPref', { birthDate: date })

const signIn = (name, handle) => [
  account('alice', handle),
  server('createAppPassword', 'plain', { as: 'alice', body: { name: 'app' }, keep: 'plain' }),
  server('createAppPassword', 'privileged', { as: 'alice', body: { name: 'strong', privileged: true }, keep: 'strong' }),
  login('app', handle, '{plain.password}'),
  login('priv', handle, '{strong.password}'),
]

export const preferences = {
  name: 'preferences',
  steps: [
    ...signIn('preferences', 'pr-alice.test'),
    read('none'),
    put('two', [pref('adultContentPref', { enabled: true }), pref('threadViewPref', { sort: 'oldest' })]),
    read('two'),
    put('others', [pref('feedViewPref', { feed: 'home', hideReplies: true })]),
    read('replaced'),
    put('birth date', [birth('1990-01-01T00:00:00.000Z')]), read('adult'), read('by app password', 'app'), read('by privileged app password', 'priv'),
    put('child', [birth('2015-01-01T00:00:00.000Z')]), read('child'),
    put('fourteen', [birth('2012-06-01T00:00:00.000Z')]), read('fourteen'),
    put('seventeen', [birth('2009-06-01T00:00:00.000Z')]), read('seventeen'),
    put('declared age', [pref('declaredAgePref', { isOverAge13: true })]), read('declared age'),
    put('birth date by app password', [birth('1990-01-01T00:00:00.000Z')], { as: 'app' }),
    put('others by app password', [pref('adultContentPref', { enabled: false })], { as: 'app' }),
    read('after the app password'),
    put('no $type', [{ enabled: true }]),
    put('unknown of the app', [pref('notKnown', { a: 1 })]), read('unknown of the app'),
    put('of another namespace', [{ $type: 'com.example.pref', a: 1 }]),
    put('none', []), read('none again'),
    put('a birth date that is none', [birth('yesterday')]),
    put('not a list', 'text'),
    put('many', Array.from({ length: 100 }, (_, i) => pref('savedFeedsPref', { pinned: [`at://x/${i}`], saved: [] }))), read('many'),
  ],
}

export const fresh = {
  name: 'read after write',
  steps: [
    ...signIn('fresh', 'fr-alice.test'),
    actor('getProfile', 'nothing written', { as: 'alice', params: { actor: did } }),
    { call: 'com.atproto.repo.createRecord', name: 'what the AppView knows', as: 'alice', keep: 'known', body: { repo: did, collection: post, rkey: '3mvfsmbk2zk22', record: text('known') } },
    { call: 'app.bsky.test.rev', name: 'up to here', as: 'alice', params: { rev: '{known.commit.rev}' } },
    { call: 'com.atproto.repo.putRecord', name: 'a profile', as: 'alice', body: { repo: did, collection: 'app.bsky.actor.profile', rkey: 'self', record: { $type: 'app.bsky.actor.profile', displayName: 'new name', description: 'new' } } },
    { call: 'com.atproto.repo.createRecord', name: 'a post', as: 'alice', keep: 'post', body: { repo: did, collection: post, rkey: '3mvfsmbk2zk2a', record: text('hello') } },
    { call: 'com.atproto.repo.createRecord', name: 'a reply', as: 'alice', body: (vars) => ({ repo: vars.alice.did, collection: post, rkey: '3mvfsmbk2zk2b', record: text('reply', { reply: { root: { uri: vars.post?.uri, cid: vars.post?.cid }, parent: { uri: vars.post?.uri, cid: vars.post?.cid } } }) }) },
    actor('getProfile', 'own', { as: 'alice', params: { actor: did } }),
    actor('getProfile', 'by app password', { as: 'app', params: { actor: did } }),
    actor('getProfile', 'by handle', { as: 'alice', params: { actor: 'fr-alice.test' } }),
    actor('getProfile', 'another', { as: 'alice', params: { actor: 'did:plc:aaaaaaaaaaaaaaaaaaaaaaaa' } }),
    actor('getProfiles', 'own and another', { as: 'alice', params: { actors: [did, 'did:plc:aaaaaaaaaaaaaaaaaaaaaaaa'] } }),
    feed('getTimeline', 'own posts', { as: 'alice' }),
    feed('getTimeline', 'with a limit', { as: 'alice', params: { limit: 1 } }),
    feed('getAuthorFeed', 'own', { as: 'alice', params: { actor: did } }),
    feed('getAuthorFeed', 'own, media', { as: 'alice', params: { actor: did, filter: 'posts_with_media' } }),
    feed('getAuthorFeed', 'another', { as: 'alice', params: { actor: 'did:plc:aaaaaaaaaaaaaaaaaaaaaaaa' } }),
    feed('getActorLikes', 'own', { as: 'alice', params: { actor: did } }),
    feed('getPostThread', 'own post', { as: 'alice', params: { uri: `at://{alice.did}/${post}/3mvfsmbk2zk2a` } }),
    feed('getPostThread', 'another', { as: 'alice', params: { uri: `at://did:plc:aaaaaaaaaaaaaaaaaaaaaaaa/${post}/3mvfsmbk2zk2a` } }),
    feed('getFeed', 'a feed', { as: 'alice', params: { feed: 'at://{appview.did}/app.bsky.feed.generator/x' } }),
    { call: 'com.atproto.moderation.createReport', name: 'spam', as: 'alice', body: { reasonType: 'com.atproto.moderation.defs#reasonSpam', subject: { $type: 'com.atproto.admin.defs#repoRef', did } } },
    { call: 'com.atproto.moderation.createReport', name: 'by app password', as: 'app', body: { reasonType: 'com.atproto.moderation.defs#reasonSpam', subject: { $type: 'com.atproto.admin.defs#repoRef', did } } },
    ...['registerPush', 'unregisterPush'].flatMap((method) => [
      { call: `app.bsky.notification.${method}`, name: 'the AppView', as: 'alice', body: { serviceDid: '{appview.did}', token: 't', platform: 'ios', appId: 'a' } },
      { call: `app.bsky.notification.${method}`, name: 'a service without one', as: 'alice', body: { serviceDid: did, token: 't', platform: 'ios', appId: 'a' } },
      { call: `app.bsky.notification.${method}`, name: 'nobody', as: 'alice', body: { serviceDid: 'did:plc:aaaaaaaaaaaaaaaaaaaaaaaa', token: 't', platform: 'ios', appId: 'a' } },
      { call: `app.bsky.notification.${method}`, name: 'unknown platform', as: 'alice', body: { serviceDid: '{appview.did}', token: 't', platform: 'fridge', appId: 'a' } },
    ]),
    { call: 'com.atproto.repo.getRecord', name: 'of a repo that is not here', as: 'alice', params: { repo: '{appview.did}', collection: post, rkey: '3mvfsmbk2zk2a' } },
    { call: 'com.atproto.repo.getRecord', name: 'of a repo that is not here, nobody', params: { repo: '{appview.did}', collection: post, rkey: '3mvfsmbk2zk2a' } },
  ],
}

const test = (method, name, more = {}) => ({ call: `app.bsky.test.${method}`, name, as: 'alice', ...more })
const to = (proxy) => ({ headers: { 'atproto-proxy': proxy } })

export const passedOn = {
  name: 'passed on',
  steps: [
    ...signIn('passed on', 'po-alice.test'),
    test('echo', 'a query', { params: { a: 'b', list: ['1', '2'] } }),
    test('echo', 'a query with encoded text', { send: 'GET /xrpc/app.bsky.test.echo?a=%C3%A4+b%20c&d=%26' }),
    test('echo', 'a procedure', { http: 'POST', body: { a: 1 } }),
    test('echo', 'a procedure without a body', { http: 'POST' }),
    test('echo', 'bytes', { http: 'POST', type: 'video/mp4', body: Buffer.from([0, 1, 2, 255]) }),
    test('echo', 'by PUT', { http: 'PUT', body: {} }),
    test('echo', 'by HEAD', { http: 'HEAD' }),
    test('echo', 'nobody', { as: undefined }),
    test('echo', 'by app password', { as: 'app' }),
    test('echo', 'by refresh token', { as: 'alice:refresh' }),
    test('echo', 'by the admin', { as: 'admin' }),
    test('echo', 'headers', {
      headers: {
        'accept-language': 'de,en', 'atproto-accept-labelers': 'did:example:a;redact', 'x-bsky-topics': 'a,b', cookie: 'a=b', 'x-other': 'c',
        'user-agent': 'a client', accept: 'text/plain', 'accept-encoding': 'identity', origin: 'https://app.example', 'x-forwarded-for': '1.2.3.4', 'content-language': 'de',
      },
    }),
    test('echo', 'to the AppView', to('{appview.did}#bsky_appview')),
    test('echo', 'to the labeler', to('{appview.did}#atproto_labeler')),
    test('echo', 'to nobody', to('did:plc:aaaaaaaaaaaaaaaaaaaaaaaa#bsky_appview')),
    test('echo', 'to an unknown service', to('{appview.did}#nothing')),
    test('echo', 'to a did without a service', to('{appview.did}')),
    test('echo', 'to an empty service', to('{appview.did}#')),
    test('echo', 'to no did', to('#bsky_appview')),
    test('echo', 'to two services', to('{appview.did}#a#b')),
    test('echo', 'with a space', to('{appview.did} #bsky_appview')),
    test('echo', 'to nonsense', to('nonsense')),
    test('echo', 'to an account\'s own server', to('{alice.did}#atproto_pds')),
    ...['com.atproto.server.getSession', 'com.atproto.repo.getRecord'].map((call) => ({ call, name: 'to the AppView', as: 'alice', params: { repo: did, collection: post, rkey: 'x' }, ...to('{appview.did}#bsky_appview') })),
    ...[
      'com.atproto.server.createAppPassword', 'com.atproto.identity.updateHandle', 'com.atproto.server.activateAccount', 'com.atproto.identity.signPlcOperation',
      'com.atproto.server.updateEmail', 'com.atproto.server.deleteSession', 'com.atproto.repo.importRepo',
    ].map((call) => ({ call, name: 'protected, to the AppView', as: 'alice', body: {}, ...to('{appview.did}#bsky_appview') })),
    ...['chat.bsky.convo.getLog', 'chat.bsky.actor.exportAccountData'].flatMap((call) => ['alice', 'app', 'priv'].map((as) => ({ call, name: `chat as ${as}`, as, ...to('{appview.did}#bsky_appview') }))),
    { call: 'chat.bsky.convo.getLog', name: 'without a service', as: 'alice' },
    { call: 'tools.ozone.moderation.getRepo', name: 'ozone', as: 'alice', params: { did } },
    { call: 'app.bsky.ageassurance.getState', name: 'age', as: 'alice', params: { countryCode: 'DE' } },
    { call: 'app.bsky.feed.getLikes', name: 'signed in', as: 'alice', params: { uri: `at://{alice.did}/${post}/x` } },
    { call: 'app.bsky.feed.getLikes', name: 'malformed', as: 'alice' },
    { call: 'app.bsky.feed.getLikes', name: 'by POST', http: 'POST', as: 'alice', body: {} },
    ...[200, 201, 301, 304, 400, 401, 403, 404, 418, 429, 500, 501, 502, 503, 504].map((code) => test('status', `${code}`, { params: { code } })),
    test('status', 'a name of its own', { params: { code: 400, error: 'Custom' } }),
    test('text', 'not JSON', {}),
    test('text', 'an error that is not JSON', { params: { code: 400 } }),
    test('headers', 'down', {}),
    test('drop', 'broken off', {}),
    test('empty', 'nothing', {}),
    test('redirect', 'elsewhere', {}),
    test('head', 'no content', {}),
    { call: 'com.atproto.lexicon.resolveLexicon', name: 'not served', as: 'alice', params: { nsid: post } },
    { call: 'com.atproto.label.queryLabels', name: 'not served', as: 'alice', params: { uriPatterns: ['*'] } },
    { call: 'com.atproto.server.getAccount', name: 'not served', as: 'alice' },
    { call: 'com.atproto.repo.getRecord', name: 'at', as: 'alice', params: { repo: did, collection: post, rkey: at } },
  ],
}
