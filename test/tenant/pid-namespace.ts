import { spawnSync } from 'node:child_process';

/** Holds the file that runs in its own PID namespace. */
const mark = 'PORTCULLIS_TENANT_PIDS_APART';

/**
 * Importing this first, before private-namespaces.ts, starts the file again in a PID namespace with a /proc
 * of its own: the processes that the observer lists are those of this suite, and all of them end with it.
 */
if (process.env[mark] !== process.argv[1]) {
  const command = [process.execPath, ...process.execArgv, ...process.argv.slice(1)];
  const apart = [
    'unshare',
    '--pid',
    '--fork',
    '--kill-child',
    '--mount',
    '--mount-proc',
    '--uts',
    '--ipc',
    '--propagation',
    'private',
  ];
  // unshare(1) ignores TERM while it waits.
  // The shell waits for every orphan: process 1 has to. Process 2 is a process that has ended: when crun
  // (1.8) fails to create a container, it kills the process that its first process knows as process 2, in its
  // own namespace.
  const run = spawnSync(
    'setpriv',
    ['--pdeathsig', 'KILL', ...apart, 'sh', '-c', '/bin/true; "$@"; exit $?', 'sh', ...command],
    {
      stdio: 'inherit',
      env: { ...process.env, [mark]: process.argv[1] },
    },
  );
  if (run.error !== undefined) throw run.error;
  process.exit(run.status ?? 1);
}
