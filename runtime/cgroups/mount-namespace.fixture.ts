/**
 * Does what a daemon does with its folder: `node mount-namespace.fixture.ts FOLDER END`. With the end `stay`
 * it ends like a killed daemon. With `leave` it ends in order. With `make` it creates a folder as crun does.
 * With `mounts` it prints the types of the file systems at and below the folder of version 2. With `list` it
 * prints `begun`, and the names of the threads that are not in the mount namespace of the main thread. `late`
 * does the same in a process that has started libuv's pool before.
 */
import { mkdirSync, readFileSync, readdirSync, readlinkSync } from 'node:fs';
import { stat } from 'node:fs/promises';
import { startKernelWorker } from '../../base/kernel/index.ts';
import { programStarter, startReactor } from '../../base/reactor/index.ts';
import { enterMountNamespace, leaveMountNamespace } from './mount-namespace.ts';

const [folder = '', end] = process.argv.slice(2);
const lists = end === 'list' || end === 'late';
if (lists) process.stdout.write('begun\n');
if (end === 'late') await stat('/');
enterMountNamespace([folder]);
if (end === 'make') mkdirSync('/sys/fs/cgroup/unified/portcullis-test');
if (end === 'mounts') {
  const lines = readFileSync('/proc/self/mountinfo', 'utf8').split('\n');
  const types = lines
    .filter((line) => line.includes(' /sys/fs/cgroup/unified'))
    .map((line) => / - (\w+)/.exec(line)?.[1]);
  process.stdout.write(types.join(' '));
  process.exit(0);
}
if (end !== 'leave' && !lists) process.kill(process.pid, 'SIGKILL');
const [reactor, kernel] = await Promise.all([startReactor(), startKernelWorker()]);
await stat('/');
if (lists)
  for (const thread of readdirSync('/proc/self/task'))
    if (readlinkSync(`/proc/self/task/${thread}/ns/mnt`) !== readlinkSync('/proc/self/ns/mnt'))
      process.stdout.write(readFileSync(`/proc/self/task/${thread}/comm`));
await leaveMountNamespace(programStarter(reactor, kernel));
process.exit(0);
