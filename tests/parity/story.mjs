// Plays a story: the same calls, one after the other, on both servers, and collects what differs.
import { answers, values } from './compare.mjs'
import { json, query, request, until } from './http.mjs'
import { kinds } from './methods.mjs'
import { ADMIN_PASSWORD } from './world.mjs'

/** Looks `a.b.0` up. */
const lookUp = (vars, name) => {
  const found = name.split('.').reduce((value, part) => value?.[part], vars)
  if (found === undefined) throw new Missing(name)
  return found
}

/** A value that an earlier call should have given. */
export class Missing extends Error {}

/** Fills `{name}` in all texts of a value; a text that is nothing else becomes the value itself. */
const fill = (value, vars) => {
  if (typeof value === 'function') return value(vars)
  if (typeof value === 'string') {
    const whole = /^\{([\w.$]+)\}$/.exec(value)
    if (whole) return lookUp(vars, whole[1])
    return value.replace(/\{([\w.$]+)\}/g, (_, name) => lookUp(vars, name))
  }
  if (Buffer.isBuffer(value) || value === null || typeof value !== 'object') return value
  if (Array.isArray(value)) return value.map((one) => fill(one, vars))
  return Object.fromEntries(Object.entries(value).map(([name, one]) => [name, fill(one, vars)]))
}

/** The Authorization header of `as`: a kept session, `name:refresh`, `admin`, or the header itself after `raw `. */
const authorization = (as, vars) => {
  if (as === undefined) return {}
  if (as.startsWith('raw ')) return { authorization: fill(as.slice(4), vars) }
  if (as === 'admin') return { authorization: `Basic ${Buffer.from(`admin:${ADMIN_PASSWORD}`).toString('base64')}` }
  const [name, which] = as.split(':')
  return { authorization: `Bearer ${lookUp(vars, `${name}.${which === 'refresh' ? 'refreshJwt' : 'accessJwt'}`)}` }
}

/** The call that a case makes on one server. */
const made = (step, vars) => {
  const [verb, where] = step.get ? ['GET', step.get] : step.send ? step.send.split(' ') : [
    step.http ?? kinds.get(step.call) ?? 'GET', `/xrpc/${step.call}`,
  ]
  const body = fill(step.body, vars)
  const isRaw = body === undefined || typeof body === 'string' || Buffer.isBuffer(body)
  const type = step.type === undefined ? (isRaw ? undefined : 'application/json') : step.type
  return {
    method: verb,
    path: `${fill(where, vars)}${query(fill(step.params ?? {}, vars))}`,
    headers: {
      ...(type ? { 'content-type': type } : {}),
      ...authorization(step.as, vars),
      ...fill(step.headers ?? {}, vars),
    },
    body: isRaw ? body : JSON.stringify(body),
  }
}

/** Texts of one server with the word that stands for them, longest first. */
const known = (server, world, vars) => {
  const list = [
    [server.url, '<pds>'], [`localhost:${server.port}`, '<pds host>'], [`localhost%3A${server.port}`, '<pds host>'],
    [world.appview.did, '<appview>'],
  ]
  for (const [name, value] of Object.entries(vars)) if (value?.did) list.push([value.did, `<${name}>`])
  return list.sort(([a], [b]) => b.length - a.length)
}

const one = async (step, server, vars) => {
  const address = step.mail === undefined ? undefined : fill(step.mail, vars)
  const letters = address === undefined ? 0 : server.mail.count(address)
  const answer = await request(server.url, made(step, vars))
  if (step.keep) {
    const given = json(answer)
    const old = vars[step.keep] ?? {}
    if (answer.status < 300) vars[step.keep] = { ...old, ...(given ?? {}), ...fill(step.with ?? {}, vars) }
  }
  if (address !== undefined && answer.status < 300) {
    try {
      vars.mail = await server.mail.next(address, letters)
    } catch {
      vars.mail = { subject: 'no letter' }
    }
  }
  return answer
}

/** Plays one step on both; gives what differs. */
const play = async (step, world, vars) => {
  const done = await Promise.allSettled([
    one(step, world.reference, vars.reference), one(step, world.perch, vars.perch),
  ])
  const [reference, perch] = done.map(({ status, value, reason }) => (status === 'fulfilled' ? value : reason))
  if (reference instanceof Error) throw new Error(`the reference cannot play this: ${reference.message}`)
  if (perch instanceof Missing) return [{ field: 'not played', reference: 'played', perch: `needs ${perch.message}` }]
  if (perch instanceof Error) return [{ field: 'connection', reference: String(reference.status), perch: perch.message }]
  const side = {
    reference: known(world.reference, world, vars.reference),
    perch: known(world.perch, world, vars.perch),
    cids: step.cids, bytes: step.bytes, unordered: step.unordered,
  }
  const found = answers(reference, perch, side)
  if (step.mail && reference.status < 300 && perch.status < 300) {
    const code = ({ mail }) => (mail?.code ? 'a code' : mail?.subject === 'no letter' ? 'no letter' : 'no code')
    values('mail', code(vars.reference), code(vars.perch), side, found)
  }
  if (step.status !== undefined && reference.status !== step.status) {
    found.push({ field: 'case', reference: `${reference.status} ${reference.bytes.toString().slice(0, 200)}`, perch: `the case expects ${step.status}` })
  }
  return found
}

/** Plays a story; `note(step, differences)` is called after each step. */
export const playStory = async (story, world, note) => {
  const base = (server) => ({ pds: { url: server.url, host: `localhost:${server.port}` }, appview: world.appview, plc: { url: world.plcUrl } })
  const vars = { reference: base(world.reference), perch: base(world.perch) }
  for (const step of story.steps) {
    try {
      note(step, await play(step, world, vars))
    } catch (error) {
      note(step, [{ field: 'case', reference: error.message, perch: '' }])
    }
  }
  return vars
}

/** Compares the events of a story's accounts. Both firehoses must have settled. */
export const compareEvents = (vars, world, hoses) => {
  const found = []
  for (const [name, value] of Object.entries(vars.reference)) {
    const ours = vars.perch[name]
    if (!value?.did || !ours?.did || value.did === ours.did) continue
    const [theirs, mine] = [[hoses.reference, value], [hoses.perch, ours]].map(
      ([hose, { did }]) => hose.events.filter((event) => event.did === did).map(({ event }) => event))
    const side = { reference: known(world.reference, world, vars.reference), perch: known(world.perch, world, vars.perch) }
    const seen = { reference: theirs.map(({ kind }) => kind).join(' '), perch: mine.map(({ kind }) => kind).join(' ') }
    if (seen.reference !== seen.perch) {
      found.push({ field: `events of ${name}`, ...seen })
      continue
    }
    theirs.forEach((event, i) => {
      for (const difference of values(`event ${i} ${event.kind}`, event, mine[i], side)) found.push({ ...difference, account: name })
    })
  }
  return found
}

/** Waits until both firehoses have told what was done last: each gets a new account, whose events come after all. */
export const settle = async (world, hoses) => {
  const last = async (server, hose) => {
    const answer = await request(server.url, {
      method: 'POST', path: '/xrpc/com.atproto.server.createAccount', headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ handle: `last-${Date.now().toString(36)}.test`, email: `${Date.now()}@last.test`, password: 'a-long-enough-password' }),
    })
    const { did } = json(answer)
    await until('the last events', () => hose.events.some((event) => event.did === did && event.event.kind === '#sync'), 10_000)
    await hose.settled()
  }
  await Promise.all([last(world.reference, hoses.reference), last(world.perch, hoses.perch)])
}
