import { hostname } from 'node:os';
import { join } from 'node:path';
import { createRegistryClient } from '../../base/distribution/index.ts';
import type { RegistryClientOptions } from '../../base/distribution/index.ts';
import { isPortcullisError, PortcullisError, reasonOf } from '../../base/errors/index.ts';
import { readPlainFile } from '../../base/files/index.ts';
import type { Logger } from '../../base/log/index.ts';
import { credentialsOf } from '../../trust/credentials/index.ts';
import { openReleases, sha256Of } from '../../trust/policy-release/index.ts';
import { parseDuration } from '../../trust/policy/index.ts';
import type { PolicySubscriptionConfig } from '../config/types.ts';
import type { PolicyHolder, PolicySource } from '../policy/policy-watch.ts';
import { sourceOf } from './activation.ts';
import type { Outlook } from './activation.ts';
import { openReleaseFolder, storedFiles } from './release-folder.ts';
import type { ReleaseFolder } from './release-folder.ts';
import { emptyState } from './state.ts';
import type { DeliveryState } from './state.ts';
import { createSubscriber } from './subscriber.ts';
import type { Subscriber } from './subscriber.ts';
import type { Refusal } from './watch-refusals.ts';
import type { DeliveryStatus } from './status.ts';

/** The releases of a subscribed policy on this node. */
export interface PolicyDelivery {
  /** The release that was in force at the end of the last run. */
  readonly source: PolicySource;
  /** Begins to follow the source. @param outlook decides by a policy that is not in force */
  begin(parts: {
    readonly holder: PolicyHolder;
    readonly registries: RegistryClientOptions;
    readonly outlook: Outlook;
  }): void;
  /** Asks the source now. */
  check(): void;
  refused(refusal: Refusal): void;
  status(): DeliveryStatus | undefined;
  close(): Promise<void>;
}

const nothingYet =
  'no release of the subscribed policy has arrived: all new images and containers are denied';
const mostRootBytes = 256 * 1024;

/**
 * Opens a subscription: what an earlier run left, without asking anybody. A first root that cannot be read,
 * or a folder that cannot be used, leaves the node without a policy, and says so.
 * @param root the persistent folder of the daemon
 */
export async function openPolicyDelivery(
  subscription: PolicySubscriptionConfig,
  root: string,
  log: Logger,
): Promise<PolicyDelivery> {
  try {
    const first = await firstRoot(subscription.root);
    // Another first root is another collection, whose history is its own.
    const id = sha256Of(Buffer.from(`${sha256Of(first)}\n${subscription.channel}`)).slice(0, 16);
    const folder = await openReleaseFolder(join(root, 'policy-delivery', id));
    if ((await folder.metadata.load('root')) === undefined) await folder.metadata.save('root', first);
    const { state, source } = await standing(folder, log);
    return follow(subscription, folder, state, source, log);
  } catch (thrown) {
    const why = isPortcullisError(thrown) ? thrown.message : reasonOf(thrown);
    log.error(
      { cause: why },
      'the policy subscription could not be opened: all new images and containers are denied',
    );
    return {
      ...{ source: { paths: [], lacking: why }, begin: () => undefined, check: () => undefined },
      ...{ refused: () => undefined, status: () => undefined, close: () => Promise.resolve() },
    };
  }
}

async function firstRoot(file: string): Promise<Buffer> {
  try {
    return await readPlainFile(file, mostRootBytes);
  } catch (error) {
    throw new PortcullisError({
      code: 'POLICY_ROOT_UNREADABLE',
      kind: 'invalid',
      attempted: 'follow policy releases',
      on: file,
      why: reasonOf(error),
      fix: 'restore the file that policySubscription.root names, then restart portcullisd',
      cause: error,
    });
  }
}

/** Returns the state of the last run, with its release as it was signed. */
export async function standing(
  folder: ReleaseFolder,
  log: Logger,
): Promise<{ readonly state: DeliveryState; readonly source: PolicySource }> {
  let state = emptyState;
  try {
    state = await folder.load();
    const { active } = state;
    const files = active === undefined ? undefined : await storedFiles(folder, active);
    if (active === undefined) return { state, source: { paths: [], lacking: nothingYet } };
    if (files === undefined) throw new Error(`the archive of release ${active.number} is missing or damaged`);
    const path = await folder.unpack(active, files);
    return { state, source: sourceOf(folder, active, path, files) };
  } catch (thrown) {
    log.error(
      { cause: reasonOf(thrown) },
      'the policy release of the last run is missing or damaged, and is fetched again',
    );
    const { active: _, previous: __, ...rest } = state;
    return { state: rest, source: { paths: [], lacking: nothingYet } };
  }
}

function follow(
  subscription: PolicySubscriptionConfig,
  folder: ReleaseFolder,
  state: DeliveryState,
  source: PolicySource,
  log: Logger,
): PolicyDelivery {
  const { service, releases, channel, interval, onStale } = subscription;
  const node = { name: subscription.node || hostname(), labels: subscription.labels };
  const ending = new AbortController();
  let subscriber: Subscriber | undefined;
  let closeClient = (): Promise<void> => Promise.resolve();
  return {
    source,
    begin({ holder, registries, outlook }) {
      const client = createRegistryClient(registries);
      closeClient = () => client.close();
      subscriber = createSubscriber(
        {
          ...{ folder, holder, outlook, log, service, channel, node },
          source: openReleases({
            ...{ service, releases, signal: ending.signal },
            repositories: async (reference) =>
              client.repositories(
                reference,
                client.asksOrigin(reference) ? await credentialsOf(process.env)(reference) : undefined,
              ),
          }),
          stale: {
            onStale,
            previouslyAdmittedFor: parseDuration(subscription.previouslyAdmittedFor) ?? 0,
          },
          intervalMs: interval * 1000,
          now: () => new Date(),
          random: Math.random,
        },
        state,
      );
      subscriber.start();
    },
    check: () => void subscriber?.poll(),
    refused: (refusal) => subscriber?.refused(refusal),
    status: () => subscriber?.status(),
    async close() {
      ending.abort();
      const closed = subscriber?.close();
      await closeClient();
      await closed;
    },
  };
}
