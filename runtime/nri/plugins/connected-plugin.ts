import type { Duplex } from 'node:stream';
import { isPortcullisError, PortcullisError } from '../../../base/errors/index.ts';
import type { Init } from '../../../base/protobuf/index.ts';
import { createSerialQueue } from '../../../base/queues/index.ts';
import { createTtrpcClient, serveTtrpc, ttrpcHandler } from '../../../base/ttrpc/index.ts';
import type { TtrpcMethod } from '../../../base/ttrpc/index.ts';
import { Event } from '../protocol/contract.types.ts';
import type {
  RegisterPluginRequest,
  UpdateContainersRequest,
  UpdateContainersResponse,
} from '../protocol/contract.types.ts';
import { nriVersion, pluginMethods, runtimeMethods, unknownFieldsOf } from '../protocol/methods.ts';
import { multiplex } from '../protocol/multiplexer.ts';
import { badName, indexedName } from './plugin-name.ts';
import type { PluginName } from './plugin-name.ts';

/** Milliseconds. */
export interface PluginTimeouts {
  readonly registration: number;
  readonly request: number;
}

/** How a call of a plugin ended. */
export type CallOutcome = 'ok' | 'refused' | 'timeout' | 'lost';

export type PluginCall = <Request, Response>(
  method: TtrpcMethod<Request, Response>,
  request: Init<Request>,
) => Promise<Response>;

export interface ConnectedPlugin extends PluginName {
  /** `10-device-injector`. */
  readonly name: string;
  /** Whether the plugin subscribed to an event. */
  subscribes(event: Event): boolean;
  /**
   * Calls the plugin. The plugin gets one call at a time, in the order in which this function is called.
   * @throws PortcullisError NRI_PLUGIN_REFUSED with the plugin's own reason; NRI_PLUGIN_LOST when it did not
   * answer in time, or violated the protocol: it is disconnected then
   */
  readonly call: PluginCall;
  /** Makes the other calls of the plugin wait until `body`, which makes its own calls, has ended. */
  exclusively(body: (call: PluginCall) => Promise<void>): Promise<void>;
  /** Resolves when the plugin is gone. Never rejects. */
  readonly closed: Promise<void>;
  isClosed(): boolean;
  close(): void;
}

export interface PluginOptions {
  /** Undefined: the plugin names itself when it registers. */
  readonly launched?: PluginName & { readonly config: string };
  /** Returns the configuration of a plugin that the daemon did not start. */
  readonly configFor: (plugin: PluginName) => Promise<string>;
  readonly runtimeVersion: string;
  readonly timeouts: PluginTimeouts;
  /** @throws PortcullisError when no plugin of this name may register now */
  readonly admit: (plugin: PluginName) => void;
  /** Applies unsolicited updates. */
  readonly update: (
    plugin: string,
    request: UpdateContainersRequest,
    /** Aborts when nobody waits for the answer any more. */
    signal: AbortSignal,
  ) => Promise<Init<UpdateContainersResponse>>;
  readonly called: (method: string, outcome: CallOutcome) => void;
}

/** Calls that may wait for a plugin. A plugin that reaches this number is disconnected. */
const mostWaiting = 1024;
/** How long a call may wait for its turn, in request timeouts. */
const mostTurns = 10;

/**
 * Unfinished requests for updates of one plugin. A request that hangs counts until it ends, even if nothing
 * waits for its answer any more.
 */
const mostUpdates = 8;

/** The bits of all events of the contract. */
const allEvents = (1 << (Event.LAST - 1)) - 1;

/**
 * Talks to a plugin on an open connection: waits until it registers, and configures it.
 * Source: nri, pkg/adaptation/plugin.go and pkg/stub/stub.go.
 * @param trunk belongs to the plugin from now on
 * @throws PortcullisError NRI_REGISTRATION when it does not register in time or violates the protocol; the
 * connection is closed then
 */
export async function openPlugin(trunk: Duplex, options: PluginOptions): Promise<ConnectedPlugin> {
  const { timeouts, launched } = options;
  const shown = launched === undefined ? 'plugin' : indexedName(launched);
  const mux = multiplex(trunk, shown);
  const registered = Promise.withResolvers<PluginName>();
  registered.promise.catch(() => undefined);
  let name: string | undefined;
  const updates = createLimit(mostUpdates);
  serveTtrpc(
    mux.runtime,
    [
      ttrpcHandler(runtimeMethods.registerPlugin, (request) => {
        if (name !== undefined) throw badName(name, 'it has already registered');
        const identity = launched ?? nameOf(request);
        options.admit(identity);
        name = indexedName(identity);
        registered.resolve(identity);
        return {};
      }),
      ttrpcHandler(runtimeMethods.updateContainers, (request, { signal }) => {
        if (name === undefined) throw badName('plugin', 'it has not registered');
        const plugin = name;
        const [field] = unknownFieldsOf(request);
        if (field !== undefined) throw newerField(plugin, runtimeMethods.updateContainers.name, field);
        return updates.run(() => options.update(plugin, request, signal), plugin);
      }),
    ],
    { name: shown, mostCalls: mostUpdates },
  );
  const client = createTtrpcClient(mux.plugin, { name: shown, mostCalls: mostWaiting });
  let closed = false;
  const gone = mux.closed.then((reason) => {
    closed = true;
    client.close();
    registered.reject(registrationFailure(shown, reason?.failure.why ?? 'the connection was closed'));
  });
  const timer = setTimeout(
    () =>
      registered.reject(registrationFailure(shown, `it did not register within ${timeouts.registration} ms`)),
    timeouts.registration,
  );
  try {
    const identity = await registered.promise;
    clearTimeout(timer);
    const config = launched?.config ?? (await options.configFor(identity));
    const request = {
      config,
      runtimeName: 'portcullis',
      runtimeVersion: options.runtimeVersion,
      registrationTimeout: timeouts.registration,
      requestTimeout: timeouts.request,
      nriVersion,
    };
    const { events } = await client
      .call(pluginMethods.configure, request, { timeoutMs: timeouts.request })
      .catch((thrown: unknown) => {
        throw registrationFailure(indexedName(identity), `it could not be configured: ${whyOf(thrown)}`);
      });
    if ((events & ~allEvents) !== 0)
      throw registrationFailure(
        indexedName(identity),
        `it subscribed to unknown events: 0x${events.toString(16)}`,
      );
    const plugin = indexedName(identity);
    return {
      ...identity,
      name: plugin,
      subscribes: (event) => event !== Event.UNKNOWN && ((events || allEvents) & (1 << (event - 1))) !== 0,
      ...callsOf(plugin, client, options, () => mux.close()),
      closed: gone,
      isClosed: () => closed,
      close: () => mux.close(),
    };
  } catch (thrown) {
    mux.close();
    throw thrown;
  } finally {
    clearTimeout(timer);
  }
}

function nameOf({ pluginName, pluginIdx }: RegisterPluginRequest): PluginName {
  if (!/^[0-9]{2}$/.test(pluginIdx)) throw badName(pluginIdx, 'the index of a plugin must be two digits');
  if (!/^[A-Za-z0-9_.+-]{1,128}$/.test(pluginName))
    throw badName(
      pluginName,
      'the name of a plugin must be 1 to 128 letters, digits or the characters _ . + -',
    );
  return { index: pluginIdx, base: pluginName };
}

/** Returns the functions that call one plugin, one call at a time. */
function callsOf(
  plugin: string,
  client: ReturnType<typeof createTtrpcClient>,
  { timeouts, called }: Pick<PluginOptions, 'timeouts' | 'called'>,
  close: () => void,
): Pick<ConnectedPlugin, 'call' | 'exclusively'> {
  const queue = createSerialQueue();
  let waiting = 0;
  const end = (method: string, outcome: 'timeout' | 'lost', why: string): PortcullisError => {
    called(method, outcome);
    close();
    return lost(plugin, method, why);
  };
  const now: PluginCall = async <Request, Response>(
    method: TtrpcMethod<Request, Response>,
    request: Init<Request>,
  ): Promise<Response> => {
    let response: Response;
    const asked = performance.now();
    try {
      response = await client.call(method, request, { timeoutMs: timeouts.request });
    } catch (thrown) {
      if (isTimeout(thrown, performance.now() - asked >= timeouts.request - timerSlackMs))
        throw end(method.name, 'timeout', `no answer within ${timeouts.request} ms`);
      if (!isPortcullisError(thrown) || lossCodes.has(thrown.code))
        throw end(method.name, 'lost', whyOf(thrown));
      if (thrown.code !== 'TTRPC_UNIMPLEMENTED') called(method.name, 'refused');
      throw refused(plugin, method.name, thrown);
    }
    const [field] = unknownFieldsOf(response as object);
    called(method.name, field === undefined ? 'ok' : 'refused');
    if (field !== undefined) throw newerField(plugin, method.name, field);
    return response;
  };
  return {
    exclusively: (body) => queue(() => body(now)),
    call: async (method, request) => {
      if (waiting >= mostWaiting) throw end(method.name, 'timeout', `${waiting} calls are waiting for it`);
      waiting += 1;
      const since = performance.now();
      try {
        return await queue(() => {
          if (performance.now() - since > mostTurns * timeouts.request)
            throw end(method.name, 'timeout', 'a call waited too long for the answers to earlier calls');
          return now(method, request);
        });
      } finally {
        waiting -= 1;
      }
    },
  };
}

/** A timer may fire up to this many ms too early. */
const timerSlackMs = 1;

/**
 * Returns whether the plugin did not answer in time. The plugin knows the time limit of the call, and may
 * report the exceeded deadline before the timer of this process fires. A deadline error that arrives before
 * the time limit is a refusal: a deadline of the plugin's own work was exceeded.
 */
function isTimeout(thrown: unknown, isOver: boolean): boolean {
  if (!isPortcullisError(thrown)) return false;
  return thrown.code === 'TTRPC_TIMEOUT' || (isOver && thrown.code === 'TTRPC_DEADLINE_EXCEEDED');
}

/** After these errors, the connection cannot be used. Any other error comes from the plugin. */
const lossCodes: ReadonlySet<string> = new Set(['TTRPC_CLOSED', 'TTRPC_PROTOCOL', 'TTRPC_BUSY']);

const longestReason = 1024;

function whyOf(thrown: unknown): string {
  const text = isPortcullisError(thrown) ? thrown.failure.why : String(thrown);
  // The text of a plugin reaches logs and terminals.
  return text.replaceAll(/[\u0000-\u001f\u007f-\u009f]+/g, ' ').slice(0, longestReason);
}

function refused(plugin: string, method: string, cause: PortcullisError): PortcullisError {
  return new PortcullisError({
    code: cause.code === 'TTRPC_UNIMPLEMENTED' ? 'NRI_UNIMPLEMENTED' : 'NRI_PLUGIN_REFUSED',
    kind: 'denied',
    attempted: `pass ${method} to NRI plugin`,
    on: plugin,
    why: `it refused: ${whyOf(cause)}`,
    fix: 'check the log and the configuration of the plugin',
    details: { plugin },
    cause,
  });
}

function lost(plugin: string, method: string, why: string): PortcullisError {
  return new PortcullisError({
    code: 'NRI_PLUGIN_LOST',
    kind: 'unavailable',
    attempted: `pass ${method} to NRI plugin`,
    on: plugin,
    why: `${why}, and the plugin was disconnected`,
    fix: 'check its log, and start it again',
    details: { plugin },
  });
}

function newerField(plugin: string, method: string, field: string): PortcullisError {
  return new PortcullisError({
    code: 'NRI_UNSUPPORTED',
    kind: 'unimplemented',
    attempted: `read field ${JSON.stringify(field)} in ${method} of NRI plugin`,
    on: plugin,
    why: 'this version of Portcullis does not support this field',
    fix: 'use a plugin that is built with NRI 0.12 or earlier',
    details: { plugin, field: 'field', key: field },
  });
}

/** Returns a limit on concurrent calls. A call beyond it is refused, not queued. */
function createLimit(most: number): {
  /** @throws PortcullisError NRI_BUSY */
  run<Result>(act: () => Promise<Result>, plugin: string): Promise<Result>;
} {
  let running = 0;
  return {
    run: async (act, plugin) => {
      if (running >= most) throw busy(plugin, running);
      running += 1;
      try {
        return await act();
      } finally {
        running -= 1;
      }
    },
  };
}

function busy(plugin: string, running: number): PortcullisError {
  return new PortcullisError({
    code: 'NRI_BUSY',
    kind: 'exhausted',
    attempted: 'update containers for NRI plugin',
    on: plugin,
    why: `${running} of its earlier requests have not ended`,
    fix: 'wait until they have ended',
    details: { plugin },
  });
}

function registrationFailure(plugin: string, why: string): PortcullisError {
  return new PortcullisError({
    code: 'NRI_REGISTRATION',
    kind: 'unavailable',
    attempted: 'register NRI plugin',
    on: plugin,
    why,
    fix: 'check the log of the plugin',
  });
}
