// Makes the same calls on the reference PDS and on Perch, and says where they differ.
//   node run.mjs --perch PROGRAM --reference FOLDER --clients FOLDER --folder FOLDER [--only WORD]... [--all]
// The reference's folder holds its packages and start scripts, that of the clients the SDK. `--only` plays the stories whose name has the word;
// `--all` tells the deviations too that `deviations.json` excuses. Ends with 1 when something differs that is not excused.
import { readFileSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { parseArgs } from 'node:util'
import { Deviations } from './deviations.mjs'
import { follow } from './firehose.mjs'
import { generic } from './generic.mjs'
import { methods } from './methods.mjs'
import { migrations } from './migration.mjs'
import { playSdk } from './sdk.mjs'
import { compareEvents, playStory, settle } from './story.mjs'
import { stories } from './cases/index.mjs'
import { startWorld } from './world.mjs'

const { values: options } = parseArgs({
  options: {
    perch: { type: 'string' },
    clients: { type: 'string' },
    reference: { type: 'string' },
    folder: { type: 'string' },
    only: { type: 'string', multiple: true },
    all: { type: 'boolean', default: false },
  },
})

const say = (line) => process.stdout.write(`${line}\n`)
const table = JSON.parse(readFileSync(new URL('deviations.json', import.meta.url)))
const deviations = new Deviations(table)
const wanted = ({ name }) => options.only === undefined || options.only.some((word) => name.includes(word))
const chosen = [...generic(), ...stories].filter(wanted)

const began = performance.now()
const world = await startWorld({
  folder: path.resolve(options.folder), perch: path.resolve(options.perch), reference: path.resolve(options.reference),
})
say(`all servers run after ${((performance.now() - began) / 1000).toFixed(1)} s`)

const report = []
const played = new Map()
let steps = 0
try {
  const hoses = { reference: follow(world.reference.url), perch: follow(world.perch.url) }
  await Promise.all([hoses.reference.opened, hoses.perch.opened])
  const told = []
  for (const story of chosen) {
    const from = performance.now()
    const vars = await playStory(story, world, (step, differences) => {
      steps += 1
      if (step.call) played.set(step.call, (played.get(step.call) ?? 0) + 1)
      for (const difference of differences) {
        report.push({ story: story.name, case: step.name, method: step.call ?? step.get ?? step.send, ...difference })
      }
    })
    told.push({ story, vars })
    say(`${story.name}: ${story.steps.length} calls, ${((performance.now() - from) / 1000).toFixed(1)} s`)
  }
  if (wanted({ name: 'migration' })) {
    const from = performance.now()
    steps += await migrations(world, hoses, (where, difference) => report.push({ story: 'migration', case: where, ...difference }))
    say(`migration both ways: ${((performance.now() - from) / 1000).toFixed(1)} s`)
  }
  if (wanted({ name: 'sdk' })) {
    const from = performance.now()
    steps += await playSdk(options.clients, world, (name, error) => report.push({
      story: 'sdk', case: name, method: '@atproto/api', field: 'sdk', reference: 'works', perch: String(error.stack ?? error).slice(0, 500),
    }))
    say(`the SDK on Perch: ${((performance.now() - from) / 1000).toFixed(1)} s`)
  }
  await settle(world, hoses)
  for (const { story, vars } of told) {
    if (story.events === false) continue
    for (const difference of compareEvents(vars, world, hoses)) {
      report.push({ story: story.name, case: 'firehose', method: 'com.atproto.sync.subscribeRepos', ...difference })
    }
  }
  for (const [name, hose] of Object.entries(hoses)) {
    for (const error of hose.errors) report.push({ story: 'firehose', case: name, method: 'com.atproto.sync.subscribeRepos', field: 'error', reference: '', perch: JSON.stringify(error) })
    hose.stop()
  }
} finally {
  await world.stop()
}

const { open, excused, unused } = deviations.sort(report)
writeFileSync(path.join(options.folder, 'report.json'), JSON.stringify(report, null, 1))
for (const one of options.all ? report : open) {
  say(`DIFFERS ${one.method} | ${one.story}: ${one.case} | ${one.field} | reference ${one.reference} | perch ${one.perch}`)
}
let failures = open.length
if (options.only === undefined) {
  for (const entry of unused) {
    failures += 1
    say(`STALE deviations.json: nothing differs by: ${entry.why}`)
  }
  for (const { nsid } of methods.filter(({ nsid }) => !played.has(nsid))) {
    failures += 1
    say(`NOT CALLED ${nsid}`)
  }
}
say(`${steps} calls on both, ${report.length} differences, ${excused} of them listed; ${((performance.now() - began) / 1000).toFixed(1)} s`)
say(`# pass ${steps - new Set(open.map((one) => `${one.story}/${one.case}`)).size}`)
say(`# fail ${failures}`)
process.exitCode = failures === 0 ? 0 : 1
