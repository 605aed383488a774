/**
 * `npm run test:node-conformance [-- --focus REGEX] [--runtime portcullis|containerd] [--processes N]
 * [--keep-logs DIR]`: the specs of Kubernetes for nodes, in their own namespaces and cgroups (README.md).
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, cpSync, mkdirSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { buildPrograms } from '../cluster/programs.ts';
import { makeCgroupRoot } from '../fixtures/kubelet/cgroup-root.ts';
import { lasting, leftovers } from '../house/leftovers.ts';
import { isRuntimeName, runtimeNames } from './names.ts';

const { values } = parseArgs({
  options: {
    focus: { type: 'string', default: '.' },
    runtime: { type: 'string', default: 'portcullis' },
    processes: { type: 'string', default: '16' },
    'keep-logs': { type: 'string' },
  },
});
if (!isRuntimeName(values.runtime)) {
  console.error(`node-conformance: --runtime is one of ${runtimeNames.join(', ')}`);
  process.exit(2);
}
buildPrograms([
  ...['e2e-node', 'ginkgo', 'kubelet', 'agnhost', 'agnhost-tools', 'nonewprivs', 'pause', 'busybox-sh'],
  ...(values.runtime === 'containerd' ? ['containerd', 'runc'] : []),
]);

const atFirst = leftovers();
// Not in /tmp: the specs write there, so that the namespaces have another (namespaces.ts).
const folder = mkdtempSync('/var/tmp/pc-node-conformance-');
// The root user of a pod with a user namespace must be able to pass through.
chmodSync(folder, 0o711);
const cgroup = makeCgroupRoot('cgroupfs', `portcullis-node-conformance-${process.pid}`);
// A shell is the first process, because it removes processes that have ended and whose parents have ended.
const inside = ['sh', '-c', '"$@"; exit $?', 'sh', process.execPath, join(import.meta.dirname, 'inside.ts')];
const child = spawn(
  'sh',
  [
    ...['-c', 'until [ "$1" = -- ]; do echo 0 > "$1/cgroup.procs"; shift; done; shift; exec "$@"', 'sh'],
    ...[...cgroup.folders, '--', 'setpriv', '--pdeathsig', 'KILL'],
    ...['unshare', '--mount', '--net', '--pid', '--ipc', '--cgroup', '--propagation', 'private'],
    ...['--fork', '--kill-child', '--mount-proc', ...inside],
    ...[folder, values.runtime, values.processes, values.focus],
  ],
  // A signal of the terminal ends this process only, which ends the others.
  {
    stdio: ['ignore', 'inherit', 'inherit'],
    detached: true,
    env: { ...process.env, TMPDIR: '/tmp' },
  },
);
let interrupted = false;
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const)
  process.on(signal, () => {
    interrupted = true;
    child.kill('SIGKILL');
  });
const [status] = (await once(child, 'exit')) as [number | null];

if (values['keep-logs'] !== undefined) keepLogs(values['keep-logs']);
await removeCgroups();
rmSync(folder, { recursive: true, force: true });
// Other runs on this machine have monitors as well.
const left = (await lasting(atFirst)).filter((line) => !line.startsWith('process') || line.includes(folder));
for (const one of left) console.log(`left behind: ${one}`);
process.exit(interrupted ? 130 : left.length > 0 ? 1 : (status ?? 1));

/** Copies the report of the specs, and the logs of the runtime and of the kubelet. */
function keepLogs(to: string): void {
  mkdirSync(to, { recursive: true });
  const logs = readdirSync(folder).filter((name) => name.endsWith('.log') || name === 'reports');
  for (const name of logs) cpSync(join(folder, name), join(to, name), { recursive: true });
}

/** The processes of a PID namespace end a moment after its first process. */
async function removeCgroups(): Promise<void> {
  for (let attempt = 0; ; attempt += 1)
    try {
      cgroup.remove();
      return;
    } catch (cause) {
      if (attempt > 100) throw cause;
      await pause(100);
    }
}
