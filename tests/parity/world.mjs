// Starts everything that a run needs, on loopback: a PLC directory, the reference PDS, Perch, mail sinks, an AppView.
import { spawn } from 'node:child_process'
import { mkdirSync, openSync, rmSync } from 'node:fs'
import net from 'node:net'
import path from 'node:path'
import { Secp256k1Keypair } from '@atproto/crypto'
import plc from '@did-plc/lib'
import { startAppview } from './appview.mjs'
import { request, until } from './http.mjs'
import { startMail } from './mail.mjs'

/** Raises both servers' rate limits equally: every call is counted, none of these runs into them. */
const RATE_LIMIT_MULTIPLIER = '1000'

export const ADMIN_PASSWORD = 'a-password-for-comparisons'

const freePort = () => new Promise((resolve, reject) => {
  const server = net.createServer().on('error', reject)
  server.listen(0, '127.0.0.1', () => {
    const { port } = server.address()
    server.close(() => resolve(port))
  })
})

/** Starts a program and waits for its READY line. */
const start = async (name, folder, program, args, env) => {
  const log = path.join(folder, `${name}.log`)
  const file = openSync(log, 'w')
  const child = spawn(program, args, { env: { ...process.env, ...env }, stdio: ['pipe', 'pipe', file] })
  let ready = false
  let ended = null
  child.stdout.on('data', (data) => { ready ||= /^READY /m.test(String(data)) })
  child.on('exit', (code, signal) => { ended = `${name} ended with ${code ?? signal}; its log is ${log}` })
  child.on('error', (error) => { ended = `${name} cannot be started: ${error.message}` })
  await until(`${name} to be ready (its log is ${log})`, () => {
    if (ended) throw new Error(ended)
    return ready
  }, 60_000)
  return {
    stop: async () => {
      child.kill('SIGTERM')
      await until(`the end of ${name}`, () => ended, 20_000).catch(() => child.kill('SIGKILL'))
    },
  }
}

/** Registers a DID whose document points all of an AppView's services at `url`. */
const register = async (plcUrl, url) => {
  const key = await Secp256k1Keypair.create()
  const service = (type) => ({ type, endpoint: url })
  const { did, op } = await plc.createOp({
    signingKey: key.did(), rotationKeys: [key.did()], handle: 'appview.test', pds: 'https://nowhere.invalid', signer: key,
  })
  const client = new plc.Client(plcUrl)
  await client.sendOperation(did, op)
  await client.updateData(did, key, (last) => ({
    ...last,
    services: {
      ...last.services,
      bsky_appview: service('BskyAppView'),
      bsky_fg: service('BskyFeedGenerator'),
      bsky_notif: service('BskyNotificationService'),
      atproto_labeler: service('AtprotoLabeler'),
    },
  }))
  return { did, key }
}

/** What both servers get, in the words of each. */
const settings = ({ appview, did, mail }) => ({
  reference: {
    PDS_SERVICE_DID: 'did:web:localhost',
    PDS_ADMIN_PASSWORD: ADMIN_PASSWORD,
    PDS_BSKY_APP_VIEW_URL: appview.url,
    PDS_BSKY_APP_VIEW_DID: did,
    PDS_REPORT_SERVICE_URL: appview.url,
    PDS_REPORT_SERVICE_DID: did,
    PDS_MOD_SERVICE_URL: appview.url,
    PDS_MOD_SERVICE_DID: did,
    PDS_EMAIL_SMTP_URL: mail.reference.url,
    PDS_EMAIL_FROM_ADDRESS: 'pds@localhost',
    PDS_BLOB_UPLOAD_LIMIT: '104857600',
    PDS_DISABLE_SSRF_PROTECTION: 'true',
    RATE_LIMIT_MULTIPLIER,
  },
  perch: {
    PERCH_PDS_ADMIN_PASSWORD: ADMIN_PASSWORD,
    PERCH_PDS_APPVIEW_URL: appview.url,
    PERCH_PDS_APPVIEW_DID: did,
    PERCH_PDS_REPORT_SERVICE_URL: appview.url,
    PERCH_PDS_REPORT_SERVICE_DID: did,
    PERCH_PDS_MODERATION_SERVICE_URL: appview.url,
    PERCH_PDS_MODERATION_SERVICE_DID: did,
    PERCH_PDS_SMTP_URL: mail.perch.url,
    PERCH_PDS_EMAIL_FROM: 'pds@localhost',
    PERCH_RATE_LIMIT_MULTIPLIER: RATE_LIMIT_MULTIPLIER,
  },
})

/** Starts the world below `folder`; `perch` is the program, `reference` the folder of the reference's start scripts. */
export const startWorld = async ({ folder, perch, reference }) => {
  rmSync(folder, { recursive: true, force: true })
  mkdirSync(folder, { recursive: true })
  const running = []
  const stop = async () => { for (const part of running.reverse()) await part.stop() }
  try {
    const [plcPort, referencePort, perchPort, panelPort] = await Promise.all([freePort(), freePort(), freePort(), freePort()])
    const plcUrl = `http://localhost:${plcPort}`
    const script = (name) => path.join(reference, name)
    const appview = await startAppview()
    const mail = { reference: await startMail(), perch: await startMail() }
    running.push(appview, mail.reference, mail.perch)
    running.push(await start('plc', folder, process.execPath, [script('plc.mjs')], { PLC_PORT: String(plcPort) }))
    const { did, key } = await register(plcUrl, appview.url)
    appview.own.did = did
    const chosen = settings({ appview, did, mail })
    const starting = await Promise.allSettled([
      start('reference', folder, process.execPath, [script('pds.mjs')], {
        PDS_PORT: String(referencePort),
        PDS_DID_PLC_URL: plcUrl,
        PDS_DATA_DIRECTORY: path.join(folder, 'reference'),
        ...chosen.reference,
      }),
      start('perch', folder, perch, [
        '--headless', '--data', path.join(folder, 'perch'), '--pds-port', String(perchPort),
        '--panel-port', String(panelPort), '--plc', plcUrl,
      ], chosen.perch),
    ])
    running.push(...starting.filter(({ status }) => status === 'fulfilled').map(({ value }) => value))
    const failed = starting.find(({ status }) => status === 'rejected')
    if (failed) throw failed.reason
    const side = (port, sink) => ({ url: `http://localhost:${port}`, port, mail: sink })
    return {
      plcUrl,
      appview: { did, key, url: appview.url },
      reference: side(referencePort, mail.reference),
      perch: side(perchPort, mail.perch),
      stop,
    }
  } catch (error) {
    await stop()
    throw error
  }
}

/** Asks a server for JSON and fails unless it answers 200; for steps that are not themselves compared. */
export const ask = async (base, method, path_, { token, body, headers = {} } = {}) => {
  const answer = await request(base, {
    method, path: path_,
    headers: {
      ...(token ? { authorization: `Bearer ${token}` } : {}),
      ...(body === undefined || Buffer.isBuffer(body) ? {} : { 'content-type': 'application/json' }),
      ...headers,
    },
    body: body === undefined || Buffer.isBuffer(body) ? body : JSON.stringify(body),
  })
  if (answer.status !== 200) throw new Error(`${base} ${path_}: ${answer.status} ${answer.bytes.toString().slice(0, 300)}`)
  const type = answer.headers['content-type'] ?? ''
  return type.startsWith('application/json') ? JSON.parse(answer.bytes) : answer.bytes
}
