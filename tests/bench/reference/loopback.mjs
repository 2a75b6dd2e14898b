// Both reference servers listen on every interface by themselves: this keeps each listener of the process on loopback.
// Imported for its effect, before anything that opens a port.
import net from 'node:net'

const listen = net.Server.prototype.listen
net.Server.prototype.listen = function (first, ...rest) {
  const callback = rest.find((argument) => typeof argument === 'function')
  const port = typeof first === 'object' && first !== null ? first.port : Number(first)
  if (!Number.isInteger(port)) return listen.call(this, first, ...rest)
  return listen.call(this, { port, host: '127.0.0.1' }, ...(callback ? [callback] : []))
}
