import { isPortcullisError, PortcullisError, reasonOf } from '../../../base/errors/index.ts';
import type { Logger } from '../../../base/log/index.ts';
import type { Init } from '../../../base/protobuf/index.ts';
import type { TtrpcMethod } from '../../../base/ttrpc/index.ts';
import type { Container, Event, PodSandbox } from '../protocol/contract.types.ts';
import { pluginMethods } from '../protocol/methods.ts';
import type { ConnectedPlugin } from './connected-plugin.ts';
import { badName } from './plugin-name.ts';
import type { PluginName } from './plugin-name.ts';

/** An event and the method that reports it. */
export interface EventCall<Request, Response> {
  readonly event: Event;
  readonly method: TtrpcMethod<Request, Response>;
  readonly request: Init<Request>;
  /** Whether the request fails if a plugin does not answer, even if the plugin is not required. */
  readonly failClosed?: boolean;
  /**
   * The pod and the container that StateChange reports to a plugin that does not have the method: before NRI
   * 0.12, most events had no method. Absent: the event needs its method.
   */
  readonly state?: { readonly pod: Init<PodSandbox>; readonly container?: Init<Container> };
}

export interface PluginSet {
  /** @throws PortcullisError NRI_BAD_REGISTRATION when a plugin with this name is connected */
  admit(plugin: PluginName): void;
  add(plugin: ConnectedPlugin): void;
  /** In the order of their calls. */
  list(): readonly ConnectedPlugin[];
  /** @throws PortcullisError NRI_REQUIRED_PLUGIN_MISSING */
  requirePresent(on: string, required: readonly string[]): void;
  /**
   * Calls every plugin that subscribed to the event, one after another. A plugin that is lost is skipped,
   * unless it is required.
   * @param answered gets each response before the next plugin is called
   * @param more.required further names that are required for this request
   * @param more.among the plugins of the whole request, which has several steps. A plugin that is lost
   * meanwhile is still asked, so that the request fails if the plugin is required; a plugin that connects
   * meanwhile is not asked, because it may wait for the end of this request
   * @throws PortcullisError NRI_PLUGIN_REFUSED, NRI_PLUGIN_LOST of a required plugin, and what `answered`
   * throws
   */
  ask<Request, Response>(
    on: string,
    call: (plugin: string) => EventCall<Request, Response>,
    answered?: (plugin: string, response: Response) => void,
    more?: { readonly required?: readonly string[]; readonly among?: readonly ConnectedPlugin[] },
  ): Promise<void>;
  /** Reports an event. Does not wait for the answers of the plugins; an error is logged. */
  notify<Request, Response>(
    call: EventCall<Request, Response>,
    answered?: (plugin: string, response: Response) => void,
  ): void;
  /** As `notify`, and resolves when each plugin has answered, has failed, or is too late. */
  report<Request, Response>(call: EventCall<Request, Response>): Promise<void>;
  close(): void;
}

/** Keeps the connected plugins. @param required names of plugins, with or without their index */
export function createPluginSet({
  required,
  log,
}: {
  readonly required: readonly string[];
  readonly log: Logger;
}): PluginSet {
  let plugins: readonly ConnectedPlugin[] = [];
  const withoutMethod = new WeakMap<ConnectedPlugin, Set<Event>>();
  const matches = (
    { name, base }: { readonly name: string; readonly base: string },
    wanted: string,
  ): boolean => wanted === name || wanted === base;
  const present = (): readonly ConnectedPlugin[] => plugins.filter((plugin) => !plugin.isClosed());

  const callOne = async <Request, Response>(
    plugin: ConnectedPlugin,
    { event, method, request, state }: EventCall<Request, Response>,
  ): Promise<Response | undefined> => {
    const lacking = withoutMethod.get(plugin) ?? new Set();
    if (!lacking.has(event))
      try {
        return await plugin.call(method, request);
      } catch (thrown) {
        if (!isPortcullisError(thrown) || thrown.code !== 'NRI_UNIMPLEMENTED' || state === undefined)
          throw thrown;
        withoutMethod.set(plugin, lacking.add(event));
      }
    if (state !== undefined) await plugin.call(pluginMethods.stateChange, { event, ...state });
    return undefined;
  };

  const report = async <Request, Response>(
    call: EventCall<Request, Response>,
    answered?: (plugin: string, response: Response) => void,
  ): Promise<void> => {
    const subscribers = present().filter((plugin) => plugin.subscribes(call.event));
    await Promise.all(
      subscribers.map((plugin) =>
        callOne(plugin, call).then(
          (response) => (response === undefined ? undefined : answered?.(plugin.name, response)),
          (thrown: unknown) =>
            log.warn({ plugin: plugin.name, why: reasonOf(thrown) }, 'an NRI plugin did not accept an event'),
        ),
      ),
    );
  };

  return {
    admit: ({ index, base }) => {
      const name = `${index}-${base}`;
      if (present().some((plugin) => plugin.name === name))
        throw badName(name, 'a plugin with this name is already connected');
    },
    add: (plugin) => {
      plugins = [...present(), plugin].sort((a, b) => (a.name < b.name ? -1 : 1));
      void plugin.closed.then(() => {
        plugins = plugins.filter((one) => one !== plugin);
        log.warn({ plugin: plugin.name }, 'an NRI plugin was disconnected');
      });
    },
    list: present,
    requirePresent: (on, more) => {
      const missing = [...new Set([...required, ...more])].filter(
        (wanted) => !present().some((plugin) => matches(plugin, wanted)),
      );
      if (missing.length > 0) throw requiredMissing(on, missing);
    },
    ask: async (on, call, answered, { required: also = [], among = present() } = {}) => {
      const counting = [...required, ...also];
      for (const plugin of among) {
        const asked = call(plugin.name);
        if (!plugin.subscribes(asked.event)) continue;
        try {
          const response = await callOne(plugin, asked);
          if (response !== undefined) answered?.(plugin.name, response);
        } catch (thrown) {
          const isLost = isPortcullisError(thrown) && thrown.code === 'NRI_PLUGIN_LOST';
          const counts = asked.failClosed === true || counting.some((wanted) => matches(plugin, wanted));
          if (!isLost || counts) throw thrown;
          log.warn({ plugin: plugin.name, on, why: reasonOf(thrown) }, 'an NRI plugin was skipped');
        }
      }
    },
    notify: (call, answered) => void report(call, answered),
    report: (call) => report(call),
    close: () => {
      for (const plugin of plugins) plugin.close();
    },
  };
}

function requiredMissing(on: string, missing: readonly string[]): PortcullisError {
  const names = missing.slice(0, 8).join(', ');
  return new PortcullisError({
    code: 'NRI_REQUIRED_PLUGIN_MISSING',
    kind: 'unavailable',
    attempted: 'create container',
    on,
    why: `the NRI ${missing.length === 1 ? 'plugin' : 'plugins'} ${names} must adjust it, and ${missing.length === 1 ? 'is' : 'are'} not connected`,
    fix: 'start the plugin, and create the container again',
    details: { missing: missing.slice(0, 100) },
  });
}
