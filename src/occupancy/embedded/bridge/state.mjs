// The file that tells other processes where this bridge listens.
import fs from 'node:fs'

// Renamed into place, so that a reader never sees half of it.
export function publishState(file, state) {
  if (!file) return
  const draft = `${file}.${process.pid}`
  fs.writeFileSync(draft, JSON.stringify(state))
  fs.renameSync(draft, file)
}

export function withdrawState(file) {
  if (file) fs.rmSync(file, { force: true })
}
