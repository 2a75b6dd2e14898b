// What the tests share: where the servers are, and new names for accounts.
import assert from 'node:assert/strict'

/** The PDS under test and its PLC directory; set by the test command. */
export const pdsUrl = process.env.PERCH_PDS_URL ?? 'http://localhost:2583'
export const plcUrl = process.env.PERCH_PLC_URL ?? 'http://localhost:2582'

export const password = 'a-long-enough-password'

let made = 0
/** A handle that no earlier run on the same data folder has taken. */
export const newHandle = () => `js${Date.now().toString(36)}${(made++).toString(36)}.test`

/** One white pixel. */
export const png = Buffer.from(
  'iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==',
  'base64',
)

/** The signing key that the DID document in the directory names, as a did:key. */
export const signingKey = async (did) => {
  const response = await fetch(`${plcUrl}/${did}`)
  assert.equal(response.status, 200, `the directory does not know ${did}`)
  const { verificationMethod } = await response.json()
  const method = verificationMethod.find(({ id }) => id.endsWith('#atproto'))
  assert.equal(method?.type, 'Multikey')
  return `did:key:${method.publicKeyMultibase}`
}

/** Waits until `condition` gives something, at most `limitMs`; fails with `what` after that. */
export const until = async (what, condition, limitMs = 20_000) => {
  const end = performance.now() + limitMs
  for (;;) {
    const found = await condition()
    if (found) return found
    assert.ok(performance.now() < end, `waited ${limitMs} ms for ${what}`)
    await new Promise((resolve) => setTimeout(resolve, 20))
  }
}
