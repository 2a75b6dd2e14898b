// Decides whether two answers are the same to a client. Pure: it is given both and says what differs.

/** Parts of a text that no two servers share, each with the word that stands for it. */
const VOLATILE = [
  [/\beyJ[\w-]+\.[\w-]+\.[\w-]+/g, '<jwt>'],
  [/\b\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z/g, '<time>'],
  [/\bdid:plc:[a-z2-7]{24}\b/g, '<did:plc>'],
  [/\bdid:key:z[1-9A-HJ-NP-Za-km-z]{40,}/g, '<did:key>'],
  [/\bz[1-9A-HJ-NP-Za-km-z]{40,}\b/g, '<multikey>'],
  [/\b(bafyrei|bafkrei)[a-z2-7]{52}\b/g, '<cid>'],
  [/\b[2-7a-j][2-7a-z]{12}\b/g, '<tid>'],
  [/\blocalhost-[a-z2-7]{5}-[a-z2-7]{5}\b/g, '<invite>'],
  [/^[a-z2-7]{4}-[a-z2-7]{4}-[a-z2-7]{4}-[a-z2-7]{4}$/g, '<app password>'],
  [/^[\w-]{86}$/g, '<signature>'],
  [/^\d{13}::/g, '<ms>::'],
]

/** Numbers that no two servers share, by the name they go by. */
const VOLATILE_NUMBERS = new Set(['exp', 'iat', 'seq', 'nbf'])

/** A text with what is known of its server and what changes from run to run replaced by words. */
export const plain = (text, known, keepCids = false) => {
  let told = text
  for (const [value, word] of known) told = told.replaceAll(value, word)
  for (const [pattern, word] of VOLATILE) if (!(keepCids && word === '<cid>')) told = told.replace(pattern, word)
  return told
}

const kind = (value) => (value === null ? 'null' : Array.isArray(value) ? 'array' : typeof value)

const short = (value) => {
  const text = value === undefined ? 'absent' : JSON.stringify(value)
  return text.length > 160 ? `${text.slice(0, 157)}...` : text
}

/** What differs between two JSON values, as lines of field, reference's, Perch's. */
export const values = (field, reference, perch, side, found = []) => {
  const differ = () => found.push({ field, reference: short(reference), perch: short(perch) })
  if (kind(reference) !== kind(perch)) {
    differ()
  } else if (kind(reference) === 'array') {
    if (reference.length !== perch.length) differ()
    else if (side.unordered === field) unordered(field, reference, perch, side, found)
    else reference.forEach((value, i) => values(`${field}[]`, value, perch[i], side, found))
  } else if (kind(reference) === 'object') {
    for (const name of new Set([...Object.keys(reference), ...Object.keys(perch)])) {
      values(`${field}.${name}`, reference[name], perch[name], side, found)
    }
  } else if (kind(reference) === 'string') {
    const ours = plain(perch, side.perch, side.cids)
    const theirs = plain(reference, side.reference, side.cids)
    if (ours !== theirs) found.push({ field, reference: short(theirs), perch: short(ours) })
  } else if (reference !== perch && !VOLATILE_NUMBERS.has(field.split('.').at(-1))) {
    differ()
  }
  return found
}

/** Compares two lists of which no server promises an order: each sorted by what is the same on both. */
const unordered = (field, reference, perch, side, found) => {
  const sorted = (list, known) => list
    .map((value) => ({ value, by: plain(JSON.stringify(value), known) }))
    .sort((a, b) => (a.by < b.by ? -1 : 1)).map(({ value }) => value)
  const { unordered: _, ...inside } = side
  values(field, sorted(reference, side.reference), sorted(perch, side.perch), inside, found)
}

/** Headers whose value a client may act on. */
const HEADERS = [
  'content-type', 'cache-control', 'www-authenticate', 'content-disposition', 'content-security-policy',
  'x-content-type-options', 'ratelimit-limit', 'ratelimit-policy', 'access-control-allow-origin',
  'access-control-allow-methods', 'access-control-allow-headers', 'access-control-expose-headers',
  'access-control-max-age', 'atproto-repo-rev', 'atproto-content-labelers', 'content-encoding', 'content-language',
  'location', 'accept-ranges', 'x-test',
]

/** Headers of which only the presence can be compared. */
const PRESENT = ['ratelimit-remaining', 'ratelimit-reset', 'retry-after', 'etag', 'x-powered-by', 'atproto-upstream-lag']

/** Perch compresses nothing (see `deviations.json`), so that nothing depends on Accept-Encoding. */
const vary = (text = '') => [...new Set(text.toLowerCase().split(',').map((name) => name.trim()))]
  .filter((name) => name !== '' && name !== 'accept-encoding').sort().join(', ')

/** What differs between two header lists. */
export const headers = (reference, perch, side) => {
  const found = []
  const add = (name, theirs, ours) => {
    if (theirs !== ours) found.push({ field: `header ${name}`, reference: theirs ?? 'absent', perch: ours ?? 'absent' })
  }
  for (const name of HEADERS) {
    const [theirs, ours] = [[reference, side.reference], [perch, side.perch]].map(
      ([list, known]) => (list[name] === undefined ? undefined : plain(String(list[name]), known)))
    add(name, theirs, ours)
  }
  add('vary', vary(reference.vary), vary(perch.vary))
  for (const name of PRESENT) {
    const [theirs, ours] = [reference, perch].map((list) => (list[name] === undefined ? undefined : 'present'))
    add(name, theirs, ours)
  }
  return found
}

const isJson = (answer) => (answer.headers['content-type'] ?? '').startsWith('application/json')

/** What differs between two answers to one call. */
export const answers = (reference, perch, side) => {
  const found = []
  if (reference.status !== perch.status) {
    const told = ({ status, bytes }) => `${status}${status < 400 ? '' : ` ${/"error":"(\w+)"/.exec(bytes.toString('utf8'))?.[1] ?? ''}`}`
    found.push({ field: 'status', reference: told(reference), perch: told(perch) })
  }
  found.push(...headers(reference.headers, perch.headers, side))
  const [theirs, ours] = [reference, perch].map((answer) => {
    if (!isJson(answer)) return undefined
    try {
      return JSON.parse(answer.bytes.toString('utf8'))
    } catch {
      return { notJson: answer.bytes.toString('utf8') }
    }
  })
  if (theirs === undefined || ours === undefined) {
    if (theirs === undefined && ours === undefined) found.push(...raw(reference, perch, side))
    return found
  }
  const failed = reference.status >= 400 && perch.status >= 400
  if (!failed) return reference.status === perch.status ? values('body', theirs, ours, side, found) : found
  const { error, message, ...rest } = theirs
  const { error: ourError, message: ourMessage, ...ourRest } = ours
  if (error !== ourError) found.push({ field: 'error', reference: short(error), perch: short(ourError) })
  if (typeof message !== typeof ourMessage) {
    found.push({ field: 'message presence', reference: short(message), perch: short(ourMessage) })
  } else if (typeof message === 'string') {
    values('message', message, ourMessage, side, found)
  }
  return values('body', rest, ourRest, side, found)
}

/** Bodies that are not JSON: text must be the same, anything else must be there or not. */
const raw = (reference, perch, side) => {
  const isText = [reference, perch].every(({ headers: list }) => (list['content-type'] ?? '').startsWith('text/'))
  if (isText || side.bytes) {
    const [theirs, ours] = [reference, perch].map(({ bytes }) => bytes.toString('latin1'))
    return values('bytes', theirs, ours, side)
  }
  const [theirs, ours] = [reference, perch].map(({ bytes }) => (bytes.length > 0 ? 'bytes' : 'nothing'))
  return theirs === ours ? [] : [{ field: 'bytes', reference: theirs, perch: ours }]
}
