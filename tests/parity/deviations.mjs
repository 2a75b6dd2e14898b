// The table of differences that are meant, `deviations.json`: each with its reason, each needed.

/** Sorts differences into those that the table excuses and those that it does not. */
export class Deviations {
  #entries

  constructor(table) {
    this.#entries = table.map((entry) => ({
      ...entry,
      used: false,
      isField: new RegExp(`^(?:${entry.field})$`),
      isCase: entry.case === undefined ? null : new RegExp(entry.case),
    }))
  }

  #excuse({ method, field, story, case: name, reference, perch }) {
    return this.#entries.find((entry) =>
      (entry.methods === undefined || entry.methods.includes(method))
      && entry.isField.test(field)
      && (entry.isCase === null || entry.isCase.test(`${story}: ${name}`))
      && (entry.reference === undefined || entry.reference === reference)
      && (entry.perch === undefined || entry.perch === perch))
  }

  /** Gives the differences not excused, the number of the others, and the entries that excused nothing. */
  sort(differences) {
    const open = []
    for (const difference of differences) {
      const entry = this.#excuse(difference)
      if (entry) entry.used = true
      else open.push(difference)
    }
    return { open, excused: differences.length - open.length, unused: this.#entries.filter(({ used }) => !used) }
  }
}
