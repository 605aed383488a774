import { execFileSync, spawnSync } from 'node:child_process';
import {
  chmodSync,
  copyFileSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createRegistryClient, parseReference } from '../../base/distribution/index.ts';
import { buildWebImage } from '../../cli/quickstart/image.ts';
import { pushImage } from '../../cli/quickstart/push-image.ts';
import { generateKeyPair, loadSigningKey, signImage } from '../../trust/index.ts';
import { startRegistry } from '../fixtures/registry.ts';
import type { FaultControl } from './faults/orders.ts';
import { namespaceOf } from './processes.ts';

/**
 * The environment of the suite: folders, a registry with one signed image, a policy that admits it, a pod
 * network.
 */
export interface Stage {
  readonly folder: string;
  readonly root: string;
  readonly state: string;
  readonly socket: string;
  readonly logs: string;
  readonly daemonLog: string;
  readonly daemonArgs: readonly string[];
  /**
   * A cgroup of the suite's own, below which half of its pods live; the daemon chooses the place of the
   * others.
   */
  readonly cgroupParent: string;
  /** `127.0.0.1:PORT/chaos/web:1`. */
  readonly reference: string;
  readonly registryPid: number;
  /** Whether pods can have user namespaces: known from the daemon once it runs. */
  mapped: boolean;
  /** Whether the daemon's records are journaled from its first pod on. */
  traced: boolean;
  /** When each daemon was started, in milliseconds since 1970. */
  readonly starts: number[];
  /** The daemon that starts next has fault points. */
  faults?: FaultControl;
  /** Moves each daemon that starts into its limits. */
  place?: (pid: number) => void;
  close(): Promise<void>;
}

/**
 * Brings loopback up (the namespaces are new) and creates everything that the daemon reads. @param runtime
 * the handler of every pod
 */
export async function setStage(runtime: string): Promise<Stage> {
  // Every process in the suite's network namespace counts as the daemon's: it must not be the machine's
  // namespace.
  if (namespaceOf('self', 'net') === namespaceOf('1', 'net'))
    throw new Error('the suite runs only in its own namespaces');
  execFileSync('ip', ['link', 'set', 'lo', 'up']);
  const folder = mkdtempSync(join(tmpdir(), 'portcullis-chaos-'));
  // The root user of a pod with a user namespace must be able to pass through.
  chmodSync(folder, 0o711);
  const inside = (name: string): string => join(folder, name);
  const registry = await startRegistry();
  try {
    for (const name of ['policy', 'cni', 'keys', 'logs']) mkdirSync(inside(name));
    const passphrase = { environment: { PORTCULLIS_PASSPHRASE: '' } };
    const keys = await generateKeyPair(inside('keys/chaos'), passphrase);
    copyFileSync(keys.publicFile, inside('policy/chaos.pub'));
    writeFileSync(inside('policy/policy.yaml'), policyText(registry.host));
    writeFileSync(inside('cni/10-chaos.conflist'), JSON.stringify(conflist));
    writeFileSync(inside('config.yaml'), `defaultRuntime: ${runtime}\n`);
    const reference = `${registry.host}/chaos/web:1`;
    const client = createRegistryClient({ tagSettleMs: 0 });
    const [repository] = client.repositories(parseReference(reference));
    if (repository === undefined) throw new Error(`no registry endpoint for ${reference}`);
    const image = await buildWebImage('chaos');
    await pushImage(repository, image, '1');
    const key = await loadSigningKey(keys.privateFile, passphrase);
    await signImage({ repository, digest: image.manifestDigest, key, format: 'bundle', now: new Date() });
    await client.close();
    const places = { root: inside('root'), state: inside('state'), socket: inside('cri.sock') };
    return {
      folder,
      ...places,
      logs: inside('logs'),
      daemonLog: inside('daemon.log'),
      daemonArgs: Object.entries({
        ...places,
        policy: inside('policy'),
        'cni-conf-dir': inside('cni'),
        'cgroup-driver': 'cgroupfs',
        config: inside('config.yaml'),
      }).flatMap(([name, value]) => [`--${name}`, value]),
      cgroupParent: `/portcullis-chaos-${process.pid}`,
      reference,
      registryPid: registry.pid,
      mapped: false,
      traced: false,
      starts: [],
      close: async () => {
        await registry.close();
        removeWithMounts(folder);
      },
    };
  } catch (thrown) {
    await registry.close();
    rmSync(folder, { recursive: true, force: true });
    throw thrown;
  }
}

/** Mounts that a failed run left would make the removal fail; or worse, the removal would follow them. */
function removeWithMounts(folder: string): void {
  const targets = readFileSync('/proc/self/mountinfo', 'utf8')
    .split('\n')
    .map((line) => line.split(' ')[4] ?? '')
    .filter((target) => target.startsWith(`${folder}/`));
  for (const target of targets.toReversed()) spawnSync('umount', ['-l', target]);
  rmSync(folder, { recursive: true, force: true });
}

function policyText(host: string): string {
  return `apiVersion: portcullis.dev/v1alpha1
kind: TrustPolicy
default: deny
rules:
  - images: ["${host}/chaos/**"]
    require: { cosign: { key: chaos.pub } }
    # Its pods take ports of the host.
    entitlements: { ceiling: privileged }
`;
}

/** The addresses of the pods. */
const podSubnet = '10.211.0.0/16';

const conflist = {
  cniVersion: '1.0.0',
  name: 'chaos',
  plugins: [
    {
      type: 'bridge',
      bridge: 'chaos0',
      isGateway: true,
      ipMasq: true,
      ipam: { type: 'host-local', ranges: [[{ subnet: podSubnet }]], routes: [{ dst: '0.0.0.0/0' }] },
    },
    { type: 'portmap', capabilities: { portMappings: true } },
  ],
};
