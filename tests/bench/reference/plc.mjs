// A did:plc directory in memory for the reference PDS, from npm's @did-plc/server. Its state is lost at exit.
//   PLC_PORT=2582 node plc.mjs
// Prints READY and its address when it serves; ends on SIGTERM.
import './loopback.mjs'
import plcLib from '@did-plc/lib'
import plcServer from '@did-plc/server'

const port = Number(process.env.PLC_PORT ?? 2582)
const db = plcServer.Database.mock()
const server = plcServer.PlcServer.create({ db, port })

// The package answers with the key types of 2023; today's directory publishes Multikey, so we answer that first.
const document = async (did) => {
  const log = await db.opsForDid(did)
  const data = log.length > 0 ? await plcLib.validateOperationLog(did, log) : null
  if (!data) return null
  const methods = Object.entries(data.verificationMethods)
  const services = Object.entries(data.services)
  return {
    '@context': ['https://www.w3.org/ns/did/v1', 'https://w3id.org/security/multikey/v1'],
    id: did,
    alsoKnownAs: data.alsoKnownAs,
    verificationMethod: methods.map(([id, key]) => ({
      id: `${did}#${id}`,
      type: 'Multikey',
      controller: did,
      publicKeyMultibase: key.replace('did:key:', ''),
    })),
    service: services.map(([id, { type, endpoint }]) => ({ id: `#${id}`, type, serviceEndpoint: endpoint })),
  }
}
// Clients ask with the colons as they are or encoded.
server.app.get(/^\/(did(?::|%3A)plc(?::|%3A)[a-z2-7]{24})$/i, async (request, response, next) => {
  try {
    const found = await document(decodeURIComponent(request.params[0]))
    if (!found) return next()
    response.type('application/did+ld+json').send(JSON.stringify(found))
  } catch (error) {
    next(error)
  }
})
// Express asks routes in the order of their making: move ours before the package's own.
const layers = server.app._router.stack
const ours = layers.pop()
layers.splice(layers.findIndex((layer) => layer.name === 'router'), 0, ours)

await server.start()
console.log(`READY plc=http://localhost:${port}`)
const stop = async () => {
  await server.destroy()
  process.exit(0)
}
process.on('SIGTERM', stop)
process.on('SIGINT', stop)
