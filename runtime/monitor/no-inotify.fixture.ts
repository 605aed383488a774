import { spawn } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { processIdentity } from '../../base/process/index.ts';
import { startReactor } from '../../base/reactor/index.ts';
import { openExitWatch } from './exits.ts';

// Run in a separate user namespace: the limit applies only there. Prints the exit of a container.
writeFileSync('/proc/sys/user/max_inotify_instances', '0');
const folder = mkdtempSync(join(tmpdir(), 'exits-'));
const reactor = await startReactor();
const exits = await openExitWatch({ folder, bundle: (id) => join(folder, `${id}-bundle`), reactor });
mkdirSync(join(folder, 'a1-bundle'));
const sleepers = [1, 2].map(() => spawn('sleep', ['60'], { stdio: 'ignore' }));
const [init, monitor] = sleepers.map(({ pid }) => processIdentity(pid ?? 0));
if (init === undefined || monitor === undefined) throw new Error('a process ended at once');
const exit = Promise.withResolvers<number>();
exits.watchContainer(
  'a1',
  { init, monitor },
  ({ code }) => exit.resolve(code),
  () => undefined,
);
writeFileSync(join(folder, 'a1'), '42');
sleepers[0]?.kill('SIGKILL');
process.stdout.write(String(await exit.promise));
sleepers[1]?.kill('SIGKILL');
exits.close();
await reactor.close();
rmSync(folder, { recursive: true });
