import type { Socket } from 'node:net';
import { join } from 'node:path';
import type { Duplex } from 'node:stream';
import { reasonOf } from '../../base/errors/index.ts';
import type { Logger } from '../../base/log/index.ts';
import type { DaemonConfig } from '../config/types.ts';
import type { ContainerAdjuster } from '../containers/adjusted.ts';
import type { ContainerService } from '../containers/container-service.ts';
import { credentialsOf } from '../cri/peer.ts';
import { listenUnix } from '../cri/unix-listener.ts';
import type { PodResources } from '../pods/resources.ts';
import type { SandboxRecord } from '../pods/record.ts';
import { openPlugin } from './plugins/connected-plugin.ts';
import type { CallOutcome, ConnectedPlugin, PluginOptions } from './plugins/connected-plugin.ts';
import { createLauncher, installedPlugins } from './plugins/launch.ts';
import type { InstalledPlugin, PluginLauncher } from './plugins/launch.ts';
import { readPluginConfig } from './plugins/plugin-config.ts';
import { indexedName } from './plugins/plugin-name.ts';
import { createPluginSet } from './plugins/plugin-set.ts';
import { pluginMethods } from './protocol/methods.ts';
import { createAdjuster } from './requests/creation.ts';
import { reportEvents } from './requests/events.ts';
import type { NriNode } from './requests/node.ts';
import { createOngoing } from './requests/ongoing.ts';
import { podApproval, podStops, watchedContainers, watchedPodResources } from './requests/services.ts';
import { synchronize } from './requests/synchronization.ts';
import { unsolicited } from './requests/unsolicited.ts';

/** NRI (containerd/nri) for the plugins of the node. */
export interface Nri {
  readonly adjuster: ContainerAdjuster;
  containers(service: ContainerService): ContainerService;
  /**
   * Asks the plugins about a pod before it is recorded as ready. The function with which it resolves informs
   * them that the pod never became ready.
   */
  approvePod(pod: SandboxRecord): Promise<(() => Promise<void>) | undefined>;
  /** Reports a pod whose containers were stopped, before its network is removed. It never fails. */
  stoppingPod(pod: SandboxRecord): Promise<void>;
  podResources(resources: PodResources): PodResources;
  /**
   * Starts the pre-installed plugins, waits until each is ready or has failed, and accepts connections of
   * others. A plugin that fails is logged.
   * @throws PortcullisError NRI_PLUGIN_FOLDER, CRI_SOCKET_*
   */
  open(): Promise<void>;
  close(): Promise<void>;
}

/** Counts what plugins do. */
export interface NriObserver {
  called(method: string, outcome: CallOutcome): void;
  adjusted(outcome: 'applied' | 'refused'): void;
}

export interface NriDeps extends Pick<
  NriNode,
  'containerRecords' | 'sandboxRecords' | 'containers' | 'imageConfig' | 'logged'
> {
  readonly config: DaemonConfig['nri'];
  readonly stateDir: string;
  readonly version: string;
  readonly observer: NriObserver | undefined;
  readonly log: Logger;
}

/** Plugins and connections that have not registered yet. */
const mostConnections = 64;
/** The pause before a pre-installed plugin that has ended is started again. */
const [shortestPauseMs, longestPauseMs] = [1_000, 60_000];
/** How long the plugins may take to shut down, in ms. */
const shutdownMs = 500;

/** Creates NRI for one daemon. Nothing is started before `open`. */
export function createNri(deps: NriDeps): Nri {
  const { config, log, observer } = deps;
  const plugins = createPluginSet({ required: config.required, log });
  const ongoing = createOngoing();
  const stopped = new Set<string>();
  const node: NriNode = {
    ...deps,
    plugins,
    allowedHooks: config.allowHooks,
    adjusted: (outcome) => observer?.adjusted(outcome),
  };
  const timeouts = { registration: config.registrationTimeout, request: config.requestTimeout };
  const options: Omit<PluginOptions, 'launched'> = {
    timeouts,
    runtimeVersion: deps.version,
    configFor: (plugin) => readPluginConfig(config.pluginConfigPath, plugin),
    admit: plugins.admit,
    called: (method, outcome) => observer?.called(method, outcome),
    update: async (plugin, { update, evict }, signal) => ({
      failed: await unsolicited(node, plugin, { update, evict }, signal),
    }),
  };
  const connect = async (trunk: Duplex, launched?: InstalledPlugin): Promise<ConnectedPlugin> => {
    const configured = launched && {
      ...launched,
      config: await readPluginConfig(config.pluginConfigPath, launched),
    };
    const plugin = await openPlugin(trunk, { ...options, ...(configured && { launched: configured }) });
    try {
      plugins.admit(plugin);
      plugins.add(plugin);
      await synchronize(node, ongoing, plugin, timeouts.registration);
      log.info({ plugin: plugin.name }, 'an NRI plugin is connected');
      return plugin;
    } catch (thrown) {
      plugin.close();
      throw thrown;
    }
  };
  let launcher: PluginLauncher | undefined;
  let listener: { close(): void } | undefined;
  let stop: (() => void) | undefined;
  let over = false;
  const isOver = (): boolean => over;
  return {
    adjuster: createAdjuster(node, ongoing),
    containers: (service) => watchedContainers(node, service),
    approvePod: podApproval(node, ongoing),
    stoppingPod: podStops(node, stopped),
    podResources: (resources) => watchedPodResources(node, resources),
    open: async () => {
      stop = reportEvents(node, ongoing, stopped);
      const started = await createLauncher(join(deps.stateDir, 'nri-plugins.json'), log);
      launcher = started;
      const installed = await installedPlugins(config.pluginPath);
      await Promise.all(installed.map((plugin) => keepPlugin(plugin, { started, connect, isOver, log })));
      if (config.socket === '') return;
      listener = await listenUnix(config.socket, {
        group: 0,
        onConnection: acceptFrom(mostConnections, log, connect),
      });
      log.info({ socket: config.socket }, 'serving NRI');
    },
    close: async () => {
      over = true;
      listener?.close();
      stop?.();
      const late = new Promise((resolve) => setTimeout(resolve, shutdownMs).unref());
      const shutdown = plugins
        .list()
        .map((plugin) => plugin.call(pluginMethods.shutdown, {}).catch(() => undefined));
      await Promise.race([late, Promise.all(shutdown)]);
      plugins.close();
      launcher?.close();
    },
  };
}

/**
 * Starts a pre-installed plugin, and starts it again whenever it has ended. Resolves after the first attempt.
 */
async function keepPlugin(
  plugin: InstalledPlugin,
  parts: {
    readonly started: PluginLauncher;
    readonly connect: (trunk: Duplex, plugin: InstalledPlugin) => Promise<ConnectedPlugin>;
    readonly isOver: () => boolean;
    readonly log: Logger;
  },
  pauseMs = shortestPauseMs,
): Promise<void> {
  const { started, connect, isOver, log } = parts;
  const since = performance.now();
  let ended = Promise.resolve();
  try {
    const { trunk, kill } = await started.launch(plugin);
    const connected = await connect(trunk, plugin).catch((thrown: unknown) => {
      kill();
      throw thrown;
    });
    ended = connected.closed.then(kill);
  } catch (thrown) {
    log.error({ plugin: indexedName(plugin), why: reasonOf(thrown) }, 'an NRI plugin was not started');
  }
  void ended.then(() => {
    const ranLong = performance.now() - since > longestPauseMs;
    const next = ranLong ? shortestPauseMs : Math.min(2 * pauseMs, longestPauseMs);
    setTimeout(() => {
      if (!isOver()) void keepPlugin(plugin, parts, next);
    }, pauseMs).unref();
  });
}

/** Returns the handler of connections. Only root may connect: a plugin changes what containers may do. */
function acceptFrom(
  most: number,
  log: Logger,
  accept: (socket: Socket) => Promise<unknown>,
): (socket: Socket) => void {
  let open = 0;
  return (socket) => {
    const peer = credentialsOf(socket);
    if (peer?.uid !== 0 || open >= most) {
      log.warn({ peer, open }, 'a connection to NRI was refused');
      socket.on('error', () => undefined);
      socket.destroy();
      return;
    }
    open += 1;
    socket.once('close', () => (open -= 1));
    accept(socket).catch((thrown: unknown) => {
      socket.destroy();
      log.warn({ peer, why: reasonOf(thrown) }, 'an NRI plugin was not accepted');
    });
  };
}
