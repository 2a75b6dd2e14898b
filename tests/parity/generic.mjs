// The calls that every method must refuse alike: made from the table of methods, not written by hand.
import { methods } from './methods.mjs'

/** Names whose text has a form that the schema checks. */
const FORMS = new Set([
  'did', 'repo', 'collection', 'rkey', 'cid', 'handle', 'aud', 'lxm', 'actor', 'uri', 'feed', 'account', 'subject', 'swapCommit',
  'swapRecord', 'since', 'dids', 'actors', 'cids', 'recipientDid', 'senderDid', 'serviceDid', 'deleteAfter', 'forAccount', 'blob',
])

/** A session that suits each way of authorisation. */
const SUITS = { none: undefined, optional: undefined, access: 'g', full: 'g', refresh: 'g:refresh', admin: 'admin' }

/** Bodies that are not JSON by nature. */
const OPAQUE = new Set(['com.atproto.repo.uploadBlob', 'com.atproto.repo.importRepo'])

const SUBSCRIPTION = 'com.atproto.sync.subscribeRepos'

/** Longer than the 150 KiB of ordinary JSON, and than the 1,000,000 bytes of records. */
const LONG = { ordinary: 'x'.repeat(160 * 1024), record: 'x'.repeat(1_000_001) }
const RECORDS = new Set(['createRecord', 'putRecord', 'applyWrites'].map((name) => `com.atproto.repo.${name}`))

const without = (sample, name) => Object.fromEntries(Object.entries(sample).filter(([key]) => key !== name))

const wrongType = (value) => (typeof value === 'string' ? 7 : 'text')

const queries = ({ nsid, auth, sample = {}, need }) => {
  const as = SUITS[auth]
  const given = Object.fromEntries(need.map((name) => [name, sample[name]]))
  const steps = []
  const add = (name, params) => steps.push({ call: nsid, name, as, params })
  for (const name of need) add(`without ${name}`, without(given, name))
  for (const [name, value] of Object.entries(sample)) {
    if (FORMS.has(name)) add(`malformed ${name}`, { ...given, [name]: 'not a form!' })
    if (FORMS.has(name)) add(`empty ${name}`, { ...given, [name]: '' })
    if (typeof value === 'number') {
      for (const bad of ['0', '-1', '101', '1001', '1.5', 'text', '']) add(`${name}=${bad}`, { ...given, [name]: bad })
    }
    if (typeof value === 'boolean') {
      for (const bad of ['yes', '1', '']) add(`${name}=${bad}`, { ...given, [name]: bad })
    }
    if (Array.isArray(value)) add(`many ${name}`, { ...given, [name]: [value[0], value[0]] })
    else if (need.includes(name)) add(`twice ${name}`, { ...given, [name]: [value, value] })
  }
  return steps
}

const procedures = ({ nsid, auth, sample, need }) => {
  const as = SUITS[auth]
  const steps = []
  const add = (name, body, more = {}) => steps.push({ call: nsid, name, as, body, ...more })
  if (OPAQUE.has(nsid)) {
    add('no body', undefined)
    add('no content type', Buffer.from('x'), { type: null })
    add('json', '{}', { type: 'application/json' })
    return steps
  }
  if (sample === undefined) {
    // What such a method does by itself is for the stories; here only that its body does not matter.
    if (auth === 'admin') add('a body that is not asked for', '{}', { type: 'application/json' })
    return steps
  }
  add('no body', undefined)
  add('no content type', '{}', { type: null })
  add('text/plain', 'text', { type: 'text/plain' })
  add('form', 'a=b', { type: 'application/x-www-form-urlencoded' })
  add('broken JSON', '{"a":', { type: 'application/json' })
  add('a list', [])
  add('a text', '"text"', { type: 'application/json' })
  add('null', 'null', { type: 'application/json' })
  add('charset', '{"a":', { type: 'application/json; charset=utf-8' })
  if (need.length > 0) add('empty object', {})
  const given = Object.fromEntries(need.map((name) => [name, sample[name]]))
  for (const name of need) {
    add(`without ${name}`, without(given, name))
    add(`null ${name}`, { ...given, [name]: null })
  }
  for (const [name, value] of Object.entries(sample)) {
    add(`wrong type of ${name}`, { ...given, [name]: wrongType(value) })
    if (FORMS.has(name) && typeof value === 'string') add(`malformed ${name}`, { ...given, [name]: 'not a form!' })
    if (FORMS.has(name) && typeof value === 'string') add(`empty ${name}`, { ...given, [name]: '' })
  }
  const long = RECORDS.has(nsid) ? LONG.record : LONG.ordinary
  add('too large', JSON.stringify({ ...sample, padding: long }), { type: 'application/json' })
  return steps
}

const authorisations = ({ nsid, http, auth, sample = {}, need }) => {
  const steps = []
  const input = http === 'GET' ? { params: Object.fromEntries(need.map((name) => [name, sample[name]])) }
    : sample && need.length > 0 ? { body: Object.fromEntries(need.map((name) => [name, sample[name]])) } : {}
  const add = (name, as) => steps.push({ call: nsid, name, as, ...input })
  if (auth === 'none') return steps
  if (auth !== 'optional') {
    add('no authorisation', undefined)
    add('empty bearer', 'raw Bearer ')
    add('unknown scheme', 'raw Digest abc')
  }
  add('a bearer that is no token', 'raw Bearer not-a-token')
  add('a forged token', 'raw Bearer eyJhbGciOiJIUzI1NiIsInR5cCI6ImF0K2p3dCJ9.eyJzY29wZSI6ImNvbS5hdHByb3RvLmFjY2VzcyIsInN1YiI6ImRpZDpwbGM6YWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhIiwiaWF0IjoxLCJleHAiOjk5OTk5OTk5OTksImF1ZCI6ImRpZDp3ZWI6bG9jYWxob3N0In0.c2lnbmF0dXJlc2lnbmF0dXJlc2lnbmF0dXJlc2lnbmF0dXI')
  add('DPoP without a proof', 'raw DPoP not-a-token')
  if (auth !== 'refresh' && auth !== 'admin') add('a refresh token', 'g:refresh')
  if (auth === 'refresh') add('an access token', 'g')
  if (auth === 'admin') {
    add('an account', 'g')
    add('a wrong password', `raw Basic ${Buffer.from('admin:wrong').toString('base64')}`)
    add('a wrong name', `raw Basic ${Buffer.from('root:wrong').toString('base64')}`)
    add('Basic that is no base64', 'raw Basic !!!')
    add('bearer in lower case', 'raw bearer x')
  } else add('the admin', 'admin')
  if (auth === 'full') {
    add('an app password', 'app')
    add('a privileged app password', 'privileged')
  }
  return steps
}

const verbs = ({ nsid, http, auth }) => {
  const as = SUITS[auth]
  const path = `/xrpc/${nsid}`
  const other = http === 'GET' ? 'POST' : 'GET'
  return [
    { call: nsid, name: `by ${other}`, send: `${other} ${path}`, as },
    { call: nsid, name: 'by PUT', send: `PUT ${path}`, as },
    { call: nsid, name: 'by DELETE without authorisation', send: `DELETE ${path}` },
    { call: nsid, name: 'by OPTIONS', send: `OPTIONS ${path}`, headers: { origin: 'https://app.example', 'access-control-request-method': http, 'access-control-request-headers': 'authorization,content-type' } },
  ]
}

/** One story per namespace, each with accounts of its own. */
export const generic = () => {
  const groups = Map.groupBy(methods, ({ nsid }) => nsid.split('.').slice(0, 3).join('.'))
  return [...groups].map(([space, list]) => {
    const handle = `g-${space.split('.').at(-1)}.test`
    const login = { call: 'com.atproto.server.createSession' }
    const steps = [
      { call: 'com.atproto.server.createAccount', name: 'success', keep: 'g', body: { handle, email: `${handle}@example.org`, password: 'a-long-enough-password' } },
      { call: 'com.atproto.server.createAppPassword', name: 'for the app', as: 'g', keep: 'plainPassword', body: { name: 'plain' } },
      { call: 'com.atproto.server.createAppPassword', name: 'privileged', as: 'g', keep: 'privilegedPassword', body: { name: 'privileged', privileged: true } },
      { ...login, name: 'app password', keep: 'app', body: { identifier: handle, password: '{plainPassword.password}' } },
      { ...login, name: 'privileged app password', keep: 'privileged', body: { identifier: handle, password: '{privilegedPassword.password}' } },
    ]
    for (const method of list) {
      steps.push(...verbs(method), ...authorisations(method))
      if (method.nsid === SUBSCRIPTION) continue
      steps.push(...(method.http === 'GET' ? queries(method) : procedures(method)))
    }
    return { name: `generic ${space}`, steps, events: false }
  })
}
