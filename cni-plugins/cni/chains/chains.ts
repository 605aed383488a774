import { stat } from 'node:fs/promises';
import { PortcullisError, isPortcullisError, reasonOf } from '../../../base/errors/index.ts';
import type { Logger } from '../../../base/log/index.ts';
import type { CallPlugin, CheckPlugins } from '../../calls/plugin-call.ts';
import type { CniResult } from '../../spec/result.ts';
import type { PluginList } from '../../spec/plugin-list.ts';
import { addChain, checkChain, collectChain, deleteChain, statusOfChain } from './chain.ts';
import type { ChainJob, ChainLink } from '../../calls/chain.types.ts';
import { execStep, versionsOf } from './exec-step.ts';
import type { ExecOptions } from './exec-step.ts';
import { inProcessCheck, inProcessStep } from './in-process-step.ts';
import { openResultCache } from './result-cache.ts';
import type { CacheOwner, CachedAttachment } from './result-cache.ts';
import { findProgram } from './run-program.ts';
import type { RunStep, RunSteps } from './step.ts';

/**
 * Runs the networks of a pod that plugins attach, and stores their results. The caller must not run two jobs
 * for one pod at the same time.
 */
export interface Chains {
  /** Attaches in the order of the links. @throws the first failure; what was created until then stays */
  add(job: ChainJob): Promise<readonly CniResult[]>;
  /**
   * Detaches in reverse order. Every link is tried.
   * @throws the first failure; what remains is for another attempt
   */
  remove(job: ChainJob): Promise<void>;
  /** Compares the attachments. @throws the difference that a plugin finds */
  check(job: ChainJob): Promise<void>;
  /** @throws why a network cannot attach: a plugin is missing, speaks another version, or reports an error */
  status(network: ChainNetwork): Promise<void>;
  /**
   * Removes attachments to the network that no pod owns, and has its plugins do the same. `keep`: the pods
   * that exist.
   */
  collect(network: ChainNetwork, keep: readonly ChainJob[]): Promise<void>;
}

/** A network configuration list from the conf folder. */
export interface ChainNetwork {
  readonly way: ChainLink['way'];
  readonly list: PluginList;
}

export interface ChainOptions {
  /** How programs are started. Absent: programs are not started. */
  readonly programs?: ExecOptions;
  /** Folders that contain plugins, in search order. */
  readonly binDirs: readonly string[];
  /** The same folder as libcni's: `/var/lib/cni`. */
  readonly cacheDir: string;
  readonly callPlugin: CallPlugin;
  /** Absent: plugins are checked one after the other. */
  readonly checkPlugins?: CheckPlugins;
  /** Absent: the daemon. */
  readonly owner?: CacheOwner;
  readonly log: Pick<Logger, 'info' | 'warn'>;
}

/** Versions by plugin file. A plugin is asked for its versions again only after its file changes. */
type Known = Map<string, readonly string[]>;

export function createChains(options: ChainOptions): Chains {
  const { log, programs } = options;
  const ways: Readonly<Record<ChainLink['way'], RunStep>> = {
    exec: programs === undefined ? () => Promise.reject(noPrograms()) : execStep(programs),
    'in-process': inProcessStep(options.callPlugin, options.binDirs),
  };
  const { checkPlugins } = options;
  const checks: Readonly<Record<ChainLink['way'], RunSteps>> = {
    exec: oneByOne(ways.exec),
    'in-process':
      checkPlugins === undefined
        ? oneByOne(ways['in-process'])
        : inProcessCheck(checkPlugins, options.binDirs),
  };
  const cache = openResultCache(options.cacheDir, options.owner);
  const versions: Known = new Map();

  const removeLink = async (link: ChainLink, job: ChainJob): Promise<void> => {
    await deleteChain(ways[link.way], link, job);
    await cache.remove(link, job);
  };

  const remove = async (job: ChainJob): Promise<void> => {
    const failures: unknown[] = [];
    for (const link of job.links.toReversed()) {
      try {
        await removeLink(link, job);
      } catch (thrown) {
        failures.push(thrown);
      }
    }
    if (failures.length > 0) throw failures[0];
  };

  return {
    async add(job) {
      const results: CniResult[] = [];
      for (const link of job.links) {
        const result = await addChain(ways[link.way], link, job);
        results.push(result);
        await cache.put({ ...link, result }, job);
      }
      return results;
    },
    remove,
    async check(job) {
      for (const link of job.links) await checkChain(checks[link.way], link, job);
    },
    async status({ way, list }) {
      if (way === 'exec') {
        if (programs === undefined) throw noPrograms();
        for (const { type } of list.plugins) await requireVersion(programs, versions, type, list.cniVersion);
      }
      await statusOfChain(ways[way], list);
    },
    async collect({ way, list }, keep) {
      const held = keep.flatMap(({ id, links }) =>
        links
          .filter(({ network }) => network === list.name)
          .map((link) => ({ containerId: id, interface: link.interface })),
      );
      const isHeld = (entry: { readonly containerId: string; readonly interface: string }): boolean =>
        held.some(
          ({ containerId, interface: name }) => containerId === entry.containerId && name === entry.interface,
        );
      let cached: readonly CachedAttachment[];
      try {
        cached = await cache.list(list.name);
      } catch (thrown) {
        // GC would also remove the attachments that are not known now.
        log.warn(
          { network: list.name, why: reasonOf(thrown) },
          'the cached attachments of the network cannot be listed; unclaimed ones stay until the next start',
        );
        return;
      }
      for (const { containerId, link, interface: name } of cached.filter(
        (entry) => entry.ours && !isHeld(entry),
      )) {
        const job = { id: containerId, netns: '', pod: { name: '', namespace: '', uid: '' } };
        const lost = link ?? { network: list.name, interface: name, way, list, capabilityArgs: {} };
        try {
          await removeLink(lost, { ...job, links: [lost] });
          log.info(
            { id: containerId, network: list.name },
            'an unclaimed attachment was detached with its cached configuration',
          );
        } catch (thrown) {
          log.warn(
            { id: containerId, network: list.name, why: reasonOf(thrown) },
            'an unclaimed attachment could not be detached',
          );
        }
      }
      const others = cached.filter((entry) => !entry.ours && !isHeld(entry));
      if (others.length > 0) {
        log.info(
          { network: list.name, others: others.length },
          'GC is not called for its plugins: another runtime or `portcullis connect` attaches to this network too',
        );
        return;
      }
      try {
        await collectChain(ways[way], list, held);
      } catch (thrown) {
        log.warn(
          { network: list.name, why: reasonOf(thrown) },
          'a plugin could not collect unclaimed attachments',
        );
      }
    },
  };
}

const oneByOne =
  (run: RunStep): RunSteps =>
  async (steps) => {
    for (const step of steps) await run(step);
  };

async function requireVersion(
  options: ExecOptions,
  known: Known,
  type: string,
  version: string,
): Promise<void> {
  const program = await findProgram(type, options.binDirs);
  const { mtimeMs = 0, ino = 0 } = program === undefined ? {} : await stat(program);
  const key = `${program ?? type} ${mtimeMs} ${ino}`;
  const spoken = known.get(key) ?? (await versionsOf(options, type));
  known.set(key, spoken);
  if (!spoken.includes(version)) throw otherVersion(type, version, spoken);
}

function otherVersion(type: string, version: string, spoken: readonly string[]): PortcullisError {
  return new PortcullisError({
    code: 'NETWORK_PLUGIN_VERSION',
    kind: 'precondition',
    attempted: 'use the network plugin',
    on: type,
    why: `the configuration has the CNI version ${version}, and the plugin supports ${spoken.join(', ')}`,
    fix: "lower 'cniVersion' of the configuration, or install a newer plugin",
    details: { plugin: type },
  });
}

function noPrograms(): PortcullisError {
  return new PortcullisError({
    code: 'NETWORK_PLUGIN_UNSUPPORTED',
    kind: 'precondition',
    attempted: 'use a network with third-party plugins',
    on: '',
    why: 'this engine was created without a way to start programs',
    fix: 'use plugins of Portcullis, or give the engine `programs`',
  });
}

/** Returns a CamelCase word for the CRI condition. */
export function reasonWord(thrown: unknown): string {
  const code = isPortcullisError(thrown) ? thrown.code : 'NETWORK_NOT_READY';
  return code
    .toLowerCase()
    .replace(/(?:^|_)([a-z])/gu, (_match: string, letter: string) => letter.toUpperCase());
}
