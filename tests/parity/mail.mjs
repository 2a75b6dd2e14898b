// A mail server that keeps what it is given: enough SMTP for the two servers' mailers.
import net from 'node:net'
import { until } from './http.mjs'

/** A one-time code, as both servers write it. */
const CODE = /\b([A-Z2-7]{5}-[A-Z2-7]{5})\b/i

/** Undoes quoted-printable as far as a code can be broken by it. */
const plain = (text) => text.replace(/=\r?\n/g, '').replace(/=3D/g, '=')

const serve = (socket, keep) => {
  const say = (line) => socket.write(`${line}\r\n`)
  let rest = ''
  let letter = null
  let to = []
  say('220 sink ESMTP')
  const command = (line) => {
    const verb = line.slice(0, 4).toUpperCase()
    if (verb === 'EHLO') return say('250-sink\r\n250 SIZE 10000000')
    if (verb === 'RCPT') to.push(line.replace(/^.*<([^>]*)>.*$/, '$1').toLowerCase())
    if (verb === 'DATA') {
      letter = []
      return say('354 go on')
    }
    if (verb === 'QUIT') return socket.end('221 bye\r\n')
    return say('250 ok')
  }
  socket.on('data', (data) => {
    rest += data.toString('latin1')
    for (let end = rest.indexOf('\r\n'); end >= 0; end = rest.indexOf('\r\n')) {
      const line = rest.slice(0, end)
      rest = rest.slice(end + 2)
      if (letter === null) command(line)
      else if (line === '.') {
        keep({ to, text: letter.join('\r\n') })
        letter = null
        to = []
        say('250 kept')
      } else letter.push(line.replace(/^\.\./, '.'))
    }
  })
  socket.on('error', () => socket.destroy())
}

/** Starts a sink on loopback. */
export const startMail = async () => {
  const letters = []
  const server = net.createServer((socket) => serve(socket, (letter) => letters.push(letter)))
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve))
  return {
    url: `smtp://127.0.0.1:${server.address().port}`,
    /** How many letters went to `address`. */
    count: (address) => letters.filter(({ to }) => to.includes(address)).length,
    /** The newest letter to `address` after the first `known`, waited for. */
    async next(address, known) {
      const found = () => letters.filter(({ to }) => to.includes(address))[known]
      const letter = await until(`a letter to ${address}`, found, 5_000)
      const text = plain(letter.text)
      return { text, subject: /^Subject: (.*)$/im.exec(text)?.[1], code: CODE.exec(text.replace(/^[\s\S]*?\r\n\r\n/, ''))?.[1] }
    },
    stop: () => server.close(),
  }
}
