import { execFileSync } from 'node:child_process';
import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { generateKeyPair, loadSigningKey } from '../../trust/index.ts';
import type { SigningKey } from '../../trust/index.ts';

/** The environment of the quickstart: its own folders, in its own namespaces. */
export interface Environment {
  readonly folder: string;
  readonly root: string;
  readonly state: string;
  readonly logs: string;
  readonly policyFolder: string;
  readonly policyFile: string;
  readonly cniFolder: string;
  readonly registryFolder: string;
  readonly socket: string;
  /** The cgroup below which the pods live: `/portcullis-quickstart-PID`. */
  readonly cgroupParent: string;
  readonly key: SigningKey;
  remove(): void;
}

/** The Kubernetes namespace of the quickstart's pods. */
export const podNamespace = 'shop';
export const profileName = 'web';
const subnet = '10.209.0.0/24';

/** The policy and the profile, as a user writes them. */
export function policyText(registryHost: string): string {
  return `apiVersion: portcullis.dev/v1alpha1
kind: TrustPolicy
default: deny
rules:
  - images: ["${registryHost}/shop/**"]
    require:
      cosign: { key: shop.pub }
    entitlements: { ceiling: ${profileName} }
---
apiVersion: portcullis.dev/v1alpha1
kind: EntitlementProfile
metadata: { name: ${profileName} }
entitlements: [network.user, host.devices.none, host.processes.none, security.confined]
`;
}

/**
 * Writes everything that the daemon reads, and generates the key. Brings loopback up, because the network
 * namespace is new.
 */
export async function makeEnvironment(folder: string, registryHost: string): Promise<Environment> {
  const inside = (name: string): string => join(folder, name);
  const environment = {
    folder,
    root: inside('root'),
    state: inside('state'),
    logs: inside('logs'),
    policyFolder: inside('policy'),
    policyFile: inside('policy/shop.yaml'),
    cniFolder: inside('cni'),
    registryFolder: inside('registry'),
    socket: inside('portcullis.sock'),
    cgroupParent: `/portcullis-quickstart-${process.pid}`,
  };
  for (const path of [environment.policyFolder, environment.cniFolder, environment.logs, inside('keys')])
    mkdirSync(path, { recursive: true, mode: 0o700 });
  // The key lives only as long as the quickstart. An empty passphrase keeps the file in cosign's format.
  const keys = await generateKeyPair(inside('keys/shop'), { environment: { PORTCULLIS_PASSPHRASE: '' } });
  execFileSync('cp', [keys.publicFile, join(environment.policyFolder, 'shop.pub')]);
  writeFileSync(environment.policyFile, policyText(registryHost));
  writeFileSync(join(environment.cniFolder, '10-quickstart.conflist'), JSON.stringify(conflist, null, 2));
  return {
    ...environment,
    key: await loadSigningKey(keys.privateFile, { environment: { PORTCULLIS_PASSPHRASE: '' } }),
    remove: () => rmSync(folder, { recursive: true, force: true }),
  };
}

/** An ordinary CNI configuration, as on any node. */
const conflist = {
  cniVersion: '1.0.0',
  name: 'quickstart',
  plugins: [
    {
      type: 'bridge',
      bridge: 'quickstart0',
      isGateway: true,
      ipMasq: true,
      ipam: { type: 'host-local', ranges: [[{ subnet }]], routes: [{ dst: '0.0.0.0/0' }] },
    },
    { type: 'portmap', capabilities: { portMappings: true } },
  ],
};
