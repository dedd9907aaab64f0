// The wire between the browser and the site, which can be cut.
import net from 'node:net';

/** Listens on a free loopback port and passes everything on to `target`. */
export async function wire(target) {
  const { hostname, port } = new URL(target);
  const sockets = new Set();
  const server = net.createServer((near) => {
    const far = net.connect(port, hostname);
    for (const [one, other] of [[near, far], [far, near]]) {
      sockets.add(one);
      one.on('error', () => other.destroy());
      one.on('close', () => {
        sockets.delete(one);
        other.destroy();
      });
      one.pipe(other);
    }
  });
  await new Promise((resolve) => { server.listen(0, '127.0.0.1', resolve); });
  return {
    url: `http://127.0.0.1:${server.address().port}`,
    /** Resets every connection; new ones are made as before. */
    cut: () => sockets.forEach((socket) => socket.resetAndDestroy()),
    end: () => server.close(),
  };
}
