/**
 * Does what a daemon does with its folder: `node mount-namespace.fixture.ts FOLDER [stay|leave|make]`. With
 * `stay` it ends like a killed daemon. With `make` it creates a folder as crun does.
 */
import { mkdirSync } from 'node:fs';
import { startKernelWorker } from '../../base/kernel/index.ts';
import { programStarter, startReactor } from '../../base/reactor/index.ts';
import { enterMountNamespace, leaveMountNamespace } from './mount-namespace.ts';

const [folder = '', end] = process.argv.slice(2);
enterMountNamespace([folder]);
if (end === 'make') mkdirSync('/sys/fs/cgroup/unified/portcullis-test');
if (end !== 'leave') process.kill(process.pid, 'SIGKILL');
const [reactor, kernel] = await Promise.all([startReactor(), startKernelWorker()]);
await leaveMountNamespace(programStarter(reactor, kernel));
process.exit(0);
