import { reasonOf } from '../../../base/errors/index.ts';
import type { Logger } from '../../../base/log/index.ts';
import type { CallPlugin, PluginCall } from '../../calls/plugin-call.ts';
import { notAttached } from '../../calls/plugin-errors.ts';
import { bareType } from '../../calls/plugin-type.ts';
import { readCnmConfig } from '../../plugins/cnm/config.ts';
import type { CnmConfig } from '../../plugins/cnm/config.ts';
import { fieldsOf } from '../../spec/fields.ts';
import type { Problems } from '../../spec/fields.ts';
import { readJson } from '../../spec/json-text.ts';
import type { CniResult } from '../../spec/result.ts';
import { addAttachment } from './adding.ts';
import { checkAttachment, checkStatus } from './checking.ts';
import type { CallFacts } from './damaged-documents.ts';
import { foldersOf } from './documents.ts';
import { openNetworkLocks } from './locks.ts';
import { collectAttachments, deleteAttachment } from './removing.ts';
import { openSession } from './session.ts';
import type { RemoteEngine, Session } from './session.ts';
import { recover } from './undoing.ts';

/**
 * Handles calls of `portcullis-cnm`: the requests to a remote driver of libnetwork, around the two halves
 * that the engine does in the kernel. The engine's thread never waits for a driver, and no other network
 * waits: this daemon may itself serve the driver.
 */
export interface RemoteAttachments {
  /** The engine's own `callPlugin`, with the calls of this plugin handled here. */
  readonly callPlugin: CallPlugin;
  /**
   * Takes back what a killed process left half-created, and what earlier boots left. Each failure is logged.
   */
  recover(): Promise<void>;
}

export interface RemoteAttachmentsOptions {
  readonly engine: RemoteEngine;
  /** The folder of the locks, beside the database, so that every process that writes the database uses it. */
  readonly lockFolder: string;
  readonly log: Pick<Logger, 'info' | 'warn'>;
}

/**
 * For DEL and recovery. A driver that restarts is usually back within this time; otherwise the caller tries
 * again.
 */
const shortPatienceMs = 5000;
const statusPatienceMs = 1000;

export function createRemoteAttachments({
  engine,
  lockFolder,
  log,
}: RemoteAttachmentsOptions): RemoteAttachments {
  const locks = openNetworkLocks(lockFolder);

  const open = (call: Pick<PluginCall, 'caller' | 'key'>, limits: Limits): Promise<Session> =>
    openSession({ engine, network: call.key.network, caller: call.caller, ...limits, log });
  const within = <T>(
    call: Pick<PluginCall, 'caller' | 'key'>,
    limits: Limits,
    body: (session: Session) => Promise<T>,
  ): Promise<T> =>
    locks.holding(call.key.network, async () => {
      const session = await open(call, limits);
      try {
        return await body(session);
      } finally {
        session.close();
      }
    });

  const status = async (call: PluginCall, config: CnmConfig): Promise<CniResult | undefined> => {
    const limits = { patienceMs: statusPatienceMs, timeoutMs: config.timeoutMs, ...factsOf(call, config) };
    // This call only queries and changes nothing: it needs no lock, and must not wait for one.
    const session = await open(call, limits);
    try {
      return await checkStatus(session, call, config);
    } finally {
      session.close();
    }
  };

  return {
    async callPlugin(call) {
      if (bareType(call.type) !== 'cnm') return engine.callPlugin(call);
      // A caller must not set this field itself.
      const { joined: _joined, ...own } = call;
      const config = readConfig(own);
      // DEL uses the recorded configuration. The kernel's half reports every other problem.
      if (own.verb === 'del')
        return within(
          own,
          { patienceMs: shortPatienceMs, timeoutMs: config?.timeoutMs ?? 30_000, ...factsOf(own, config) },
          (session) => deleteAttachment(session, own),
        );
      if (config === undefined) return engine.callPlugin({ ...own, verb: 'status' });
      const limits = { timeoutMs: config.timeoutMs, ...factsOf(own, config) };
      const short = { ...limits, patienceMs: shortPatienceMs };
      switch (own.verb) {
        case 'add':
          return within(own, { ...limits, patienceMs: config.timeoutMs }, (session) =>
            addAttachment(session, own, config),
          );
        case 'check':
          return within(own, short, (session) => checkAttachment(session, own));
        case 'gc':
          return within(own, short, (session) => collectAttachments(session, own, config));
        case 'status':
          return status(own, config);
        case 'finish':
          throw notAttached(own.key, 'cnm');
      }
    },
    async recover() {
      const limits = { patienceMs: shortPatienceMs, timeoutMs: 30_000 };
      try {
        for (const network of await engine.networks())
          await within({ caller: {}, key: { network, containerId: '', interface: '' } }, limits, recover);
      } catch (thrown) {
        log.warn(
          { why: reasonOf(thrown) },
          'the networks of remote drivers could not be looked after; the next call to each does it',
        );
      }
    },
  };
}

interface Limits {
  readonly patienceMs: number;
  readonly timeoutMs: number;
  readonly facts?: CallFacts;
}

const factsOf = (
  { config: text, path }: Pick<PluginCall, 'config' | 'path'>,
  config: CnmConfig | undefined,
): { readonly facts?: CallFacts } =>
  config === undefined
    ? {}
    : { facts: { driver: { name: config.driver, folders: foldersOf(config) }, config: text, path } };

/** Returns undefined if the configuration is invalid. */
function readConfig({ config, args }: Pick<PluginCall, 'args' | 'config'>): CnmConfig | undefined {
  const source = readJson(config);
  if ('message' in source) return undefined;
  const problems: Problems = [];
  const fields = fieldsOf(source.value, [], 'stdin', source, problems);
  const read = fields === undefined ? undefined : readCnmConfig(fields, args);
  return problems.length > 0 ? undefined : read;
}
