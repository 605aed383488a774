/**
 * `npm run bench:proxy`: measures the time that `portcullis proxy` adds to each call. One client calls a
 * runtime by itself and through the proxy, in turns, in one run. Needs `test/peers/get images containerd
 * runc`.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { cpus, loadavg, release, tmpdir } from 'node:os';
import { join } from 'node:path';
import { requirePeers, run, runPeer } from '../test/peers/runtimes.ts';

requirePeers(['critimages', 'crictl', 'containerd', 'runc']);
process.env['REFERRERS'] = '1';
const folder = mkdtempSync(join(tmpdir(), 'pc-bench-'));
run(process.execPath, ['packaging/build.ts', '--bundle-only']);
console.log(`${cpus().length} processors, kernel ${release()}, load ${loadavg()[0]?.toFixed(1) ?? '?'}`);
console.log('\n| call | alone, p50 ms | through the proxy, p50 ms | added, p50 ms |\n|---|---|---|---|');
runPeer('containerd', folder, (socket) => [
  process.execPath,
  join(import.meta.dirname, 'proxy-driver.ts'),
  socket,
]);
rmSync(folder, { recursive: true, force: true });
