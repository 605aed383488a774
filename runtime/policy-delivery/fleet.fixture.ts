import { generateKeyPairSync } from 'node:crypto';
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import { unencryptedKeys } from '../../test/fixtures/unencrypted-keys.ts';
import { createHttpServer } from '../../base/connections/index.ts';
import { createLogger } from '../../base/log/index.ts';
import { hostPlatform, openRegistries } from '../../trust/index.ts';
import type { RegistryAccess, TrustPolicy } from '../../trust/index.ts';
import { collectRelease, openReleases, publishRelease } from '../../trust/policy-release/index.ts';
import type { PublishedRelease, ReleaseStage } from '../../trust/policy-release/index.ts';
import { openOwner } from '../../trust/tuf-author/index.ts';
import type { Owner } from '../../trust/tuf-author/index.ts';
import { decideUnseen } from '../../trust/verdict/index.ts';
import { loadPolicySet } from '../policy/policy-set.ts';
import { openPolicy } from '../policy/policy-watch.ts';
import type { PolicyHolder } from '../policy/policy-watch.ts';
import { standing } from './delivery.ts';
import { openReleaseFolder } from './release-folder.ts';
import type { ReleaseFolder } from './release-folder.ts';
import { createSubscriber } from './subscriber.ts';
import type { Subscriber } from './subscriber.ts';

export const log = createLogger({ level: 'silent' });
const platform = hostPlatform();

/** A publisher with its own keys, and a web server that serves what it publishes. */
export interface Fleet {
  readonly url: string;
  /** Folder of the web server. */
  readonly web: string;
  /** Answers a request in place of the server, if it returns true. */
  fault: (request: IncomingMessage, response: ServerResponse) => boolean;
  asOwner<T>(act: (owner: Owner, registries: RegistryAccess) => Promise<T>): Promise<T>;
  /** Publishes a policy that admits signed images below these names. */
  publish(images: readonly string[], options?: ReleaseOptions): Promise<PublishedRelease>;
  /** Publishes the policy in a folder. */
  publishFolder(folder: string, options?: ReleaseOptions): Promise<PublishedRelease>;
  firstRoot(): Buffer;
  folder(name: string): string;
}

interface ReleaseOptions {
  readonly stages?: readonly ReleaseStage[];
  readonly halt?: { readonly denials: number; readonly watch: number };
}

const pem = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  .publicKey.export({ type: 'spki', format: 'pem' })
  .toString();

export async function beginFleet(
  t: TestContext,
  expiry: Readonly<Record<string, number>> = {},
): Promise<Fleet> {
  const home = mkdtempSync(join(tmpdir(), 'portcullis-fleet-'));
  const web = join(home, 'web');
  const fleet: { fault: Fleet['fault'] } = { fault: () => false };
  const server = createHttpServer((request, response) => {
    if (fleet.fault(request, response)) return;
    readFile(join(web, decodeURIComponent(request.url ?? ''))).then(
      (bytes) => response.end(bytes),
      () => response.writeHead(404).end(),
    );
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  t.after(() => {
    server.closeAllConnections();
    server.close();
    rmSync(home, { recursive: true, force: true });
  });
  const { signers, keys } = unencryptedKeys(join(home, 'keys'));
  const asOwner: Fleet['asOwner'] = async (act) => {
    const registries = await openRegistries({ mirrors: [], insecureHosts: [] });
    const passphrase = { environment: { PORTCULLIS_PASSPHRASE: 'correct horse' } };
    const name = 'fleet/policy';
    const owner = await openOwner({
      ...{ folder: join(home, 'owner'), name, passphrase, signers, registries, now: new Date() },
    });
    try {
      return await act(owner, registries);
    } finally {
      await owner.close();
      await registries.close();
    }
  };
  await asOwner((owner) =>
    owner.init({ dialects: ['tuf'], destinations: [web], keys, expiry, localKeys: true }),
  );
  const publishFolder: Fleet['publishFolder'] = async (
    folder,
    { stages = [], halt = { denials: 1, watch: 600 } } = {},
  ) => {
    const set = await loadPolicySet({ paths: [folder] });
    const files = await collectRelease(folder, set);
    return asOwner((owner, registries) =>
      publishRelease(owner, {
        ...{ files, revision: set.policy.revision, channel: 'stable', stages, halt, to: [], registries },
      }),
    );
  };
  return Object.assign(fleet, {
    ...{ url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, web, asOwner, publishFolder },
    publish(images: readonly string[], options?: ReleaseOptions) {
      const folder = mkdtempSync(join(home, 'policy-'));
      mkdirSync(join(folder, 'keys'));
      writeFileSync(join(folder, 'keys', 'build.pub'), pem);
      writeFileSync(join(folder, 'policy.yaml'), policyText(images));
      return publishFolder(folder, options);
    },
    firstRoot: () => readFileSync(join(web, '1.root.json')),
    folder: (name: string) => join(home, name),
  });
}

export const policyText = (images: readonly string[]): string =>
  `apiVersion: portcullis.dev/v1alpha1
kind: TrustPolicy
rules:
  - images: ${JSON.stringify(images)}
    require: { cosign: { key: keys/build.pub } }
`;

/** A node of which only the policy is real: its workloads are names of images. */
export interface FleetNode {
  readonly subscriber: Subscriber;
  readonly holder: PolicyHolder;
  readonly folder: ReleaseFolder;
  close(): Promise<void>;
}

export interface NodeOptions {
  readonly labels?: Readonly<Record<string, string>>;
  readonly workloads?: readonly string[];
  readonly onStale?: 'deny' | 'keep' | 'previouslyAdmitted';
  readonly now?: () => Date;
  readonly intervalMs?: number;
  /** Stands between the node and its disk. */
  readonly wrap?: (folder: ReleaseFolder) => ReleaseFolder;
}

/** Starts a node as the daemon does: with the release that its folder names. */
export async function startNode(fleet: Fleet, name: string, options: NodeOptions = {}): Promise<FleetNode> {
  const { labels = {}, workloads = [], onStale = 'deny', now = () => new Date() } = options;
  const opened = await openReleaseFolder(fleet.folder(name));
  const folder = options.wrap?.(opened) ?? opened;
  if ((await folder.metadata.load('root')) === undefined)
    await folder.metadata.save('root', fleet.firstRoot());
  const { state, source } = await standing(folder, log);
  const holder = await openPolicy(source, log);
  const subscriber = createSubscriber(
    {
      ...{ folder, holder, log, now, service: fleet.url, channel: 'stable', node: { name, labels } },
      outlook: {
        foresee: (policy) =>
          Promise.resolve(
            workloads
              .filter((reference) => !mayRun(policy, reference))
              .map((reference) => ({ namespace: 'shop', reference, outcome: 'deny' as const, rule: '' })),
          ),
      },
      source: openReleases({ service: fleet.url, repositories: () => Promise.resolve([]) }),
      stale: { onStale, previouslyAdmittedFor: 3600 },
      intervalMs: options.intervalMs ?? 3_600_000,
      random: Math.random,
    },
    state,
  );
  return {
    ...{ subscriber, holder, folder },
    async close() {
      await subscriber.close();
      holder.close();
    },
  };
}

/** Whether evidence could admit the image: the decision that needs no registry. */
export function mayRun(policy: TrustPolicy | undefined, reference: string): boolean {
  if (policy === undefined) return false;
  return decideUnseen({ policy, reference, namespace: 'shop', platform, now: new Date() }) === undefined;
}
