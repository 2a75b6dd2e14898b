// The reference PDS from npm as a process of its own, on loopback, with settings for measurements.
//   PDS_PORT=2583 PDS_DID_PLC_URL=http://localhost:2582 PDS_DATA_DIRECTORY=DIR RATE_LIMIT_MULTIPLIER=10000 node pds.mjs
// Everything else is the package's default. Prints READY and its address when it serves; ends on SIGTERM.
//
// The rate limiters stay on, as on Perch: every request is counted, only the thresholds are higher.
import './loopback.mjs'
import { randomBytes } from 'node:crypto'
import { mkdirSync } from 'node:fs'
import { createRequire } from 'node:module'
import path from 'node:path'

const settings = process.env
const secret = () => randomBytes(32).toString('hex')
const defaults = {
  PDS_HOSTNAME: 'localhost',
  PDS_DEV_MODE: 'true',
  PDS_BLOBSTORE_DISK_LOCATION: path.join(settings.PDS_DATA_DIRECTORY, 'blobs'),
  PDS_SERVICE_HANDLE_DOMAINS: '.test',
  PDS_INVITE_REQUIRED: 'false',
  PDS_JWT_SECRET: 'a-secret-for-measurements',
  PDS_ADMIN_PASSWORD: 'a-password-for-measurements',
  PDS_DPOP_SECRET: secret(),
  // The same key after a restart: the directory knows accounts by it.
  PDS_PLC_ROTATION_KEY_K256_PRIVATE_KEY_HEX: '11'.repeat(32),
  PDS_BSKY_APP_VIEW_URL: 'https://appview.invalid',
  PDS_BSKY_APP_VIEW_DID: 'did:example:invalid',
  PDS_RATE_LIMITS_ENABLED: 'true',
  LOG_ENABLED: 'false',
}
for (const [name, value] of Object.entries(defaults)) settings[name] ??= value
mkdirSync(settings.PDS_BLOBSTORE_DISK_LOCATION, { recursive: true })

const multiplier = Number(settings.RATE_LIMIT_MULTIPLIER ?? 1)
const here = createRequire(import.meta.url)
const fromServer = createRequire(here.resolve('@atproto/xrpc-server'))
const { RateLimiterMemory } = fromServer('rate-limiter-flexible')
const { consume } = RateLimiterMemory.prototype
const raised = new WeakSet()
RateLimiterMemory.prototype.consume = function (...request) {
  if (!raised.has(this)) {
    raised.add(this)
    this.points *= multiplier
  }
  return consume.apply(this, request)
}

const { PDS, envToCfg, envToSecrets, readEnv } = await import('@atproto/pds')
const env = readEnv()
const pds = PDS.fromEnv ? await PDS.fromEnv(env) : await PDS.create(envToCfg(env), envToSecrets(env))
await pds.start()
console.log(`READY pds=http://localhost:${settings.PDS_PORT}`)
const stop = async () => {
  await pds.destroy()
  process.exit(0)
}
process.on('SIGTERM', stop)
process.on('SIGINT', stop)
