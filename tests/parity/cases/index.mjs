// All stories, in the order in which they are played.
import { records } from './records.mjs'

export const stories = [records]
