// Follows a firehose and tells each event in a form in which two servers' events can be compared.
import { cborDecodeMulti } from '@atproto/common'
import { readCarWithRoot } from '@atproto/repo'

const link = (cid) => (cid === null || cid === undefined ? cid : cid.toString())

/** A commit's parts that do not depend on the moment: blocks are opened and checked against the operations. */
const commit = async (body) => {
  const { root, blocks } = await readCarWithRoot(body.blocks)
  const missing = body.ops.filter(({ action, cid }) => action !== 'delete' && !blocks.has(cid)).length
  return {
    ops: body.ops.map(({ action, path, cid, prev, ...more }) => ({
      action, path, cid: link(cid), ...(prev === undefined ? {} : { prev: link(prev) }), ...more,
    })),
    rootIsCommit: root.equals(body.commit),
    missingBlocks: missing,
    blobs: body.blobs.map(link),
    since: body.since === null ? null : typeof body.since,
    prevData: body.prevData === undefined ? 'absent' : 'present',
    rebase: body.rebase,
    tooBig: body.tooBig,
  }
}

const told = async (kind, body) => {
  const keys = Object.keys(body).sort().join(' ')
  if (kind === '#commit') return { kind, keys, ...(await commit(body)) }
  if (kind === '#sync') {
    const { blocks } = await readCarWithRoot(body.blocks)
    return { kind, keys, blocks: blocks.size, rev: typeof body.rev }
  }
  const { seq, time, did, ...rest } = body
  return { kind, keys, ...rest }
}

/** Opens the firehose at `url` from `cursor`; gives its frames as they come. */
export const follow = (url, cursor) => {
  const events = []
  const errors = []
  const address = new URL('/xrpc/com.atproto.sync.subscribeRepos', url.replace(/^http/, 'ws'))
  if (cursor !== undefined) address.searchParams.set('cursor', String(cursor))
  const socket = new WebSocket(address)
  socket.binaryType = 'arraybuffer'
  let closed = null
  let turn = Promise.resolve()
  const take = async (bytes) => {
    const [header, body] = cborDecodeMulti(bytes)
    if (header.op !== 1) {
      errors.push({ op: header.op, t: header.t, error: body.error })
      return
    }
    const last = events.at(-1)
    if (last && body.seq !== undefined && body.seq <= last.seq) errors.push({ error: `seq ${body.seq} after ${last.seq}` })
    events.push({ seq: body.seq, did: body.repo ?? body.did, event: await told(header.t, body), raw: body })
  }
  // One after the other: opening a commit takes a moment, and the order is part of what is compared.
  socket.onmessage = ({ data }) => {
    turn = turn.then(() => take(new Uint8Array(data))).catch((error) => { errors.push({ error: String(error) }) })
  }
  socket.onclose = ({ code }) => { closed = code }
  socket.onerror = () => {}
  return {
    events,
    errors,
    get closed() { return closed },
    opened: new Promise((resolve) => { socket.onopen = () => resolve() }),
    settled: () => turn,
    stop: () => socket.close(),
  }
}
