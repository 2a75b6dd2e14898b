// All stories, in the order in which they are played.
import { mails, pauses, sessions, signUp } from './accounts.mjs'
import { operator } from './admin.mjs'
import { fresh, passedOn, preferences } from './apps.mjs'
import { addresses, identities, mirrors } from './network.mjs'
import { blobs, records, recordsApart } from './records.mjs'

export const stories = [signUp, sessions, mails, pauses, records, recordsApart, blobs, mirrors, addresses, identities, operator, preferences, fresh, passedOn]
