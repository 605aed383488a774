import { mkdir, readFile, readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { meansGone, meansShortage } from '../../../base/errors/index.ts';
import { parseJson } from '../../../base/json/index.ts';
import { dropOldAbandonedWrites, writeFileAtomic } from '../../../base/storage/index.ts';
import { readPluginList } from '../../spec/plugin-list.ts';
import { resultAs } from '../../spec/result-versions.ts';
import type { ChainLink, ChainPod } from '../../calls/chain.types.ts';
import { argumentsOf } from './step.ts';

/**
 * Stores what was attached, in the folder and form that libcni uses (`cniCacheV1`, libcni's api.go), so that
 * its tools can read it. Unlike libcni, each write is atomic. The database is our source of truth; these
 * files say what remains if it is lost.
 */
export interface ResultCache {
  put(link: ChainLink, pod: ChainPod): Promise<void>;
  remove(link: Pick<ChainLink, 'network' | 'interface'>, pod: Pick<ChainPod, 'id'>): Promise<void>;
  /**
   * Lists the attachments of a network. `link` is absent for a file that cannot be read any more.
   * @throws the errors of the file system if it is unknown what exists
   */
  list(network: string): Promise<readonly CachedAttachment[]>;
}

export interface CachedAttachment {
  readonly containerId: string;
  readonly interface: string;
  /** We wrote the file, not another runtime that shares the folder. */
  readonly ours: boolean;
  /** It was attached: the file has a result. */
  readonly isComplete: boolean;
  readonly link?: ChainLink;
  /** Path of the network namespace. Empty: unknown. */
  readonly netns: string;
}

const kind = 'cniCacheV1';
/**
 * The writer: the daemon for its pods, or a command for the targets it connected. Neither treats the other's
 * files as its own.
 */
export type CacheOwner = 'portcullis' | 'portcullis connect';

/** @param folder usually `/var/lib/cni` */
export function openResultCache(folder: string, owner: CacheOwner = 'portcullis'): ResultCache {
  const results = join(folder, 'results');
  const fileOf = (network: string, id: string, name: string): string =>
    join(results, `${network}-${id}-${name}`);
  return {
    async put(link, pod) {
      await mkdir(results, { recursive: true, mode: 0o700 });
      const { list } = link;
      const content = {
        kind,
        containerId: pod.id,
        config: Buffer.from(JSON.stringify(documentOf(link))).toString('base64'),
        ifName: link.interface,
        networkName: link.network,
        netns: pod.netns,
        cniArgs: Object.entries(argumentsOf(pod)),
        capabilityArgs: link.capabilityArgs,
        ...(link.result !== undefined && { result: resultAs(link.result, list.cniVersion) }),
        owner,
      };
      await writeFileAtomic(fileOf(link.network, pod.id, link.interface), JSON.stringify(content));
    },
    remove: (link, pod) => rm(fileOf(link.network, pod.id, link.interface), { force: true }),
    async list(network) {
      await dropOldAbandonedWrites(results);
      const names = await readdir(results).catch((thrown: unknown) => {
        // An empty list would permit GC, which removes the attachments of other runtimes.
        if (!meansGone(thrown)) throw thrown;
        return [] as string[];
      });
      const own = names.filter((name) => name.startsWith(`${network}-`));
      return (
        await Promise.all(own.map((name) => readEntry(join(results, name), name, network, owner)))
      ).flatMap((entry) => entry ?? []);
    },
  };
}

function documentOf({ network, list }: ChainLink): object {
  const { cniVersion, disableCheck, disableGC, plugins } = list;
  return { cniVersion, name: network, disableCheck, disableGC, plugins: plugins.map(({ config }) => config) };
}

interface Content {
  readonly kind?: unknown;
  readonly containerId?: unknown;
  readonly ifName?: unknown;
  readonly networkName?: unknown;
  readonly config?: unknown;
  readonly capabilityArgs?: unknown;
  readonly owner?: unknown;
  readonly netns?: unknown;
  readonly result?: unknown;
}

/**
 * If a crash of another program truncated a file, or its content is no object, only its name says what it
 * belongs to.
 */
async function readEntry(
  path: string,
  name: string,
  network: string,
  owner: CacheOwner,
): Promise<CachedAttachment | undefined> {
  const named = /^(?<id>[0-9a-zA-Z][0-9a-zA-Z_.-]*)-(?<ifname>[^-/]{1,15})$/u.exec(
    name.slice(network.length + 1),
  )?.groups;
  const content = await readContent(path);
  if (content === undefined)
    return named === undefined
      ? undefined
      : {
          containerId: named['id'] ?? '',
          interface: named['ifname'] ?? '',
          ours: false,
          isComplete: false,
          netns: '',
        };
  // The file names of a network `a-b` begin like those of a network `a`.
  if (
    content.kind !== kind ||
    content.networkName !== network ||
    typeof content.containerId !== 'string' ||
    typeof content.ifName !== 'string'
  )
    return undefined;
  const entry = {
    containerId: content.containerId,
    interface: content.ifName,
    ours: content.owner === owner,
    isComplete: content.result !== undefined,
    netns: typeof content.netns === 'string' ? content.netns : '',
  };
  const read = readPluginList(
    Buffer.from(String(content.config), 'base64').toString('utf8'),
    `${name}.conflist`,
  );
  if (read.outcome !== 'ok') return entry;
  const capabilityArgs = (content.capabilityArgs ?? {}) as Readonly<Record<string, unknown>>;
  return {
    ...entry,
    link: { network, interface: entry.interface, way: 'exec', list: read.list, capabilityArgs },
  };
}

/** Returns undefined if the file is damaged or gone. Any program may have written it. */
async function readContent(path: string): Promise<Content | undefined> {
  try {
    const value: unknown = parseJson(await readFile(path, 'utf8'));
    return typeof value === 'object' && value !== null ? value : undefined;
  } catch (thrown) {
    if (meansShortage(thrown)) throw thrown;
    return undefined;
  }
}
