import { chmod } from 'node:fs/promises';
import { join } from 'node:path';
import type { RegistryClient, RegistryClientOptions } from '../base/distribution/index.ts';
import type { Kernel } from '../base/kernel/index.ts';
import type { Logger } from '../base/log/index.ts';
import type { Database } from '../base/storage/index.ts';
import { hostPlatform } from '../trust/index.ts';
import type { VerdictLog } from '../trust/verdict-log/index.ts';
import type { DaemonConfig } from './config/types.ts';
import {
  createImageStore,
  createPins,
  withHeldPulls,
  withPins,
  withProgress,
  withPullTurns,
} from './images/index.ts';
import type { OpenImageStore, Pins, ProgressSource } from './images/index.ts';
import type { HostPaths } from './host-paths/host-paths.ts';
import type { RuntimeObserver } from './observability/facts.ts';
import { reportExceptions, watchImages } from './observability/watch-runtime.ts';
import type { PolicyHolder } from './policy/policy-watch.ts';
import type { Refusal } from './policy-delivery/watch-refusals.ts';
import { reportRefusals } from './redecision/preview-refusals.ts';
import type { Renewals } from './renewal/open-renewals.ts';
import { renewForRun } from './renewal/renew-for-run.ts';
import { withRoom } from './database/open-database.ts';

const dayMs = 86_400_000;

/** The image store of the daemon. */
export interface ImageSide {
  readonly store: OpenImageStore;
  /**
   * The same store for CRI calls and containers: it renews evidence before a run fails for it, and counts and
   * logs what it decides. It limits the pulls at a time, reports their progress, and marks pinned images.
   */
  readonly images: OpenImageStore & ProgressSource;
  /** The images that a kubelet does not remove to free space. */
  readonly pins: Pins;
}

export interface ImageSideDeps {
  readonly database: Database;
  readonly kernel: Kernel;
  readonly registries: Pick<RegistryClient, 'repositories'>;
  readonly registryOptions: RegistryClientOptions;
  /** Reads the files of images that are imported. */
  readonly paths: Pick<HostPaths, 'filePart'>;
  readonly policy: Pick<PolicyHolder, 'current' | 'lacking' | 'refusesNew'>;
  /** Called for each refusal. Undefined: nothing is compared. */
  readonly refused: ((refusal: Refusal) => void) | undefined;
  readonly verdictLog: Pick<VerdictLog, 'statements'>;
  /** Folder of the root file systems of containers with a user namespace. */
  readonly mappedRoots: string;
  /** Undefined: nothing is counted. */
  readonly observer: RuntimeObserver | undefined;
  /** Called when evidence is renewed, never while the store is opened. */
  readonly renewals: () => Renewals;
  /** Called with a process that outlives the daemon, so that it leaves the cgroup of the daemon's service. */
  readonly adopt: (pid: number) => void;
  readonly log: Logger;
}

/** @throws the errors of {@link createImageStore} */
export async function openImageSide(config: DaemonConfig, deps: ImageSideDeps): Promise<ImageSide> {
  const {
    database,
    kernel,
    registries,
    registryOptions,
    paths,
    policy,
    verdictLog,
    mappedRoots,
    observer,
    renewals,
    refused,
    log,
  } = deps;
  const store = await withRoom(config.root, () =>
    createImageStore({
      root: join(config.root, 'images'),
      database,
      kernel,
      registryClient: registries,
      registryOptions,
      givenFiles: { part: paths.filePart },
      layers: config.storage.layers,
      lazy: {
        isOn: config.images.lazy,
        socket: join(config.state, 'layer-filler.sock'),
        onStarted: (pid) => {
          deps.adopt(pid);
        },
      },
      checkEveryMs: config.storage.checkDays * dayMs,
      policy: policy.current,
      lacking: policy.lacking,
      verdictLog,
      platform: hostPlatform(),
      mappedRoots: { folder: mappedRoots, open: () => chmod(config.state, 0o711) },
      log: log.child({ component: 'images' }),
      now: () => new Date(),
      onFetched: (bytes) => observer?.fetched(bytes),
    }),
  );
  const pins = createPins(config.images.pinned);
  const decided = renewForRun(store, renewals);
  const reporting = refused === undefined ? decided : reportRefusals(decided, database, refused);
  const known = withProgress(withPins(withHeldPulls(reporting, policy.refusesNew), pins), {
    root: join(config.root, 'images'),
    log,
  });
  const paced = withPullTurns(known, config.images.maxParallelPulls);
  return { store, images: reportExceptions(watchImages(paced, observer), log, observer), pins };
}
