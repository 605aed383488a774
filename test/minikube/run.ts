/**
 * `npm run test:minikube [-- --keep-logs DIR]`: creates a cluster by minikube on a machine of its own
 * (README.md). This file builds what is missing, and starts `inside.ts` under a systemd in a container.
 */
import { spawnSync } from 'node:child_process';
import { cpSync, existsSync, mkdtempSync, readlinkSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { buildPrograms } from '../cluster/programs.ts';
import { buildPeers } from '../fixtures/build-peers.ts';
import { controlPlanePrograms } from '../kubeadm/images.ts';
import { machineTools, minikubePrograms, outerHostNames } from './machine.ts';

const { values } = parseArgs({ options: { 'keep-logs': { type: 'string' } } });
const repository = join(import.meta.dirname, '../..');
buildPrograms([...controlPlanePrograms, ...minikubePrograms]);
if (!existsSync(machineTools) && !buildPeers(['machine-tools'])) process.exit(4);

// Not below /tmp: the machine has a /tmp of its own, in which minikube leaves its locks.
const folder = mkdtempSync('/var/tmp/portcullis-minikube-');
let status: number | null = 1;
try {
  // The machine gets a host name of its own.
  const words = [
    ...['--uts', join(repository, 'test/vm/systemd-here')],
    ...['sh', join(repository, 'packaging/node'), join(import.meta.dirname, 'inside.ts'), folder],
  ];
  const env = { ...process.env, [outerHostNames]: readlinkSync('/proc/self/ns/uts') };
  ({ status } = spawnSync('unshare', words, { stdio: 'inherit', cwd: repository, env }));
} finally {
  const kept = values['keep-logs'];
  if (kept !== undefined && existsSync(join(folder, 'logs')))
    cpSync(join(folder, 'logs'), kept, { recursive: true });
  rmSync(folder, { recursive: true, force: true });
}
process.exit(status ?? 1);
