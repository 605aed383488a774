import { reasonOf } from '../../base/errors/index.ts';
import type { Logger } from '../../base/log/index.ts';
import type { CallPlugin, PluginCall } from '../attach/plugin-call.ts';
import { alreadyAttached, differs, notAttached, notAvailable } from '../attach/plugin-errors.ts';
import { bareType } from '../attach/plugin-type.ts';
import { readCnmConfig } from '../plugins/cnm/config.ts';
import type { CnmConfig } from '../plugins/cnm/config.ts';
import { fieldsOf } from '../spec/fields.ts';
import type { Problems } from '../spec/fields.ts';
import { readJson } from '../spec/json-text.ts';
import type { CniResult } from '../spec/result.ts';
import { foldersOf, networkIdOf } from './documents.ts';
import { openNetworkLocks } from './locks.ts';
import { makeEndpoint, newEndpoint, standingNetwork } from './making.ts';
import { hasCode, isRefused, openSession } from './session.ts';
import type { Endpoint, RemoteEngine, Session } from './session.ts';
import { recover, removeEndpoint, removeUnused } from './undoing.ts';

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

export function createRemoteAttachments({ engine, lockFolder, log }: RemoteAttachmentsOptions): RemoteAttachments {
  const locks = openNetworkLocks(lockFolder);

  const within = <T>(call: Pick<PluginCall, 'caller' | 'key'>, limits: Limits, body: (session: Session) => Promise<T>): Promise<T> =>
    locks.holding(call.key.network, async () => {
      const session = await openSession({ engine, network: call.key.network, caller: call.caller, ...limits, log });
      try {
        return await body(session);
      } finally {
        session.close();
      }
    });

  const add = (call: PluginCall, config: CnmConfig): Promise<CniResult | undefined> =>
    within(call, { patienceMs: config.timeoutMs, timeoutMs: config.timeoutMs }, async (session) => {
      const at = { realm: session.realm, containerId: call.key.containerId, interface: call.key.interface };
      const standing = find(session, call);
      if (standing?.document.state === 'ready') throw alreadyAttached(call.key, 'cnm');
      if (standing !== undefined) await removeEndpoint(session, standing);
      await recover(session);
      const ref = { name: config.driver, folders: foldersOf(config) };
      const driver = await session.driver(ref, 'NetworkDriver');
      const networkId = networkIdOf(session.realm, session.network, config.driver);
      await session.putEndpoint(at, newEndpoint({ driver: ref, id: networkId }, call));
      try {
        const leased = await leaseFor(session, { ...call, caller: session.actingIn(driver) }, at);
        if (leased === undefined) throw new Error('a call that ends with a result was taken for one without');
        const document = await standingNetwork(session, config, leased);
        return await makeEndpoint(session, config, { document, call, leased, at });
      } catch (thrown) {
        await undo(session, call);
        throw thrown;
      }
    });

  /**
   * Runs the kernel's first half of an ADD: addresses. A call that fails has taken back its own changes, and
   * the driver was not told anything. So the endpoint's record is deleted. Otherwise it would stay because of
   * a DEL of an IPAM plugin that is missing or fails in the same way.
   */
  const leaseFor = async (session: Session, call: PluginCall, at: Omit<Endpoint, 'document'>): Promise<CniResult | undefined> => {
    try {
      return await engine.callPlugin(call);
    } catch (thrown) {
      await session.putEndpoint(at, undefined);
      throw thrown;
    }
  };

  /** Undoes a failed attachment. What fails here stays recorded, and the next call repeats it. */
  const undo = async (session: Session, call: PluginCall): Promise<void> => {
    const made = find(session, call);
    try {
      if (made !== undefined) await removeEndpoint(session, made);
      await removeUnused(session);
    } catch (thrown) {
      log.warn(
        { ...call.key, why: reasonOf(thrown) },
        'a failed attachment of a remote driver could not be taken back at once; it is tried again',
      );
    }
  };

  const del = (call: PluginCall): Promise<CniResult | undefined> =>
    within(call, { patienceMs: shortPatienceMs, timeoutMs: timeoutOf(call) }, async (session) => {
      const standing = find(session, call);
      if (standing === undefined) {
        await engine.callPlugin(call);
        // Left by a DEL that ended after it removed its endpoint and before it removed the network.
        await removeUnused(session);
        return undefined;
      }
      const netns = call.netns === '' ? standing.document.netns : call.netns;
      await removeEndpoint(session, { ...standing, document: { ...standing.document, netns } });
      await removeUnused(session);
      return undefined;
    });

  const check = (call: PluginCall, config: CnmConfig): Promise<CniResult | undefined> =>
    within(call, { patienceMs: shortPatienceMs, timeoutMs: config.timeoutMs }, async (session) => {
      const standing = find(session, call);
      if (standing?.document.state !== 'ready') throw notAttached(call.key, 'cnm');
      const { driver: ref, id, networkId } = standing.document;
      const driver = await session.driver(ref, 'NetworkDriver');
      await engine.callPlugin({ ...call, caller: session.actingIn(driver) });
      try {
        await driver.tell('NetworkDriver.EndpointOperInfo', { NetworkID: networkId, EndpointID: id });
      } catch (thrown) {
        if (!isRefused(thrown)) throw thrown;
        throw differs(call.key, 'cnm', [`the remote driver ${ref.name} does not know the endpoint: ${reasonOf(thrown)}`]);
      }
      return undefined;
    });

  const gc = (call: PluginCall, config: CnmConfig): Promise<CniResult | undefined> =>
    within(call, { patienceMs: shortPatienceMs, timeoutMs: config.timeoutMs }, async (session) => {
      const valid = new Set((call.valid ?? []).map((each) => `${each.containerId}\0${each.interface}`));
      const failures: string[] = [];
      const realms = session
        .endpoints()
        .filter((each) => each.realm !== session.realm || !valid.has(`${each.containerId}\0${each.interface}`));
      for (const endpoint of realms) {
        try {
          await removeEndpoint(session, endpoint);
        } catch (thrown) {
          failures.push(reasonOf(thrown));
        }
      }
      await removeUnused(session);
      await engine.callPlugin(await acting(session, call, config));
      if (failures.length > 0) throw notAvailable('cnm', failures.join('; '));
      return undefined;
    });

  /** Leases belong to the namespace in which the driver's links are; without the driver, to the caller's. */
  const acting = async (session: Session, call: PluginCall, config: CnmConfig): Promise<PluginCall> => {
    try {
      return {
        ...call,
        caller: session.actingIn(await session.driver({ name: config.driver, folders: foldersOf(config) }, 'NetworkDriver')),
      };
    } catch (thrown) {
      if (!hasCode(thrown, 'NETWORK_CNM_DRIVER_UNKNOWN', 'NETWORK_CNM_DRIVER_UNREACHABLE')) throw thrown;
      return call;
    }
  };

  const status = async (call: PluginCall, config: CnmConfig): Promise<CniResult | undefined> => {
    const limits = { patienceMs: statusPatienceMs, timeoutMs: config.timeoutMs };
    // This call only queries and changes nothing: it needs no lock, and must not wait for one.
    const session = await openSession({ engine, network: call.key.network, caller: call.caller, ...limits, log });
    try {
      const ref = { name: config.driver, folders: foldersOf(config) };
      const driver = await session.driver(ref, 'NetworkDriver');
      await driver.tell('NetworkDriver.GetCapabilities', {});
      if (config.ipam !== undefined) await session.driver({ ...ref, name: config.ipam.driver }, 'IpamDriver');
      return await engine.callPlugin({ ...call, caller: session.actingIn(driver) });
    } catch (thrown) {
      if (hasCode(thrown, 'NETWORK_CONFIG_INVALID', 'NETWORK_NOT_AVAILABLE')) throw thrown;
      throw notAvailable('cnm', reasonOf(thrown));
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
      if (own.verb === 'del') return del(own);
      if (config === undefined) return engine.callPlugin({ ...own, verb: 'status' });
      switch (own.verb) {
        case 'add':
          return add(own, config);
        case 'check':
          return check(own, config);
        case 'gc':
          return gc(own, config);
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
        log.warn({ why: reasonOf(thrown) }, 'the networks of remote drivers could not be looked after; the next call to each does it');
      }
    },
  };
}

interface Limits {
  readonly patienceMs: number;
  readonly timeoutMs: number;
}

const find = (session: Session, { key }: Pick<PluginCall, 'key'>): Endpoint | undefined =>
  session
    .endpoints()
    .find((each) => each.realm === session.realm && each.containerId === key.containerId && each.interface === key.interface);

/** Returns undefined if the configuration is invalid. */
function readConfig({ config, args }: Pick<PluginCall, 'args' | 'config'>): CnmConfig | undefined {
  const source = readJson(config);
  if ('message' in source) return undefined;
  const problems: Problems = [];
  const fields = fieldsOf(source.value, [], 'stdin', source, problems);
  const read = fields === undefined ? undefined : readCnmConfig(fields, args);
  return problems.length > 0 ? undefined : read;
}

const timeoutOf = (call: PluginCall): number => readConfig(call)?.timeoutMs ?? 30_000;
