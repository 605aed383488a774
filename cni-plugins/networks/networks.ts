import { addressPlugins, plugins } from '../plugins/registry.ts';
import { followConfFolder, loadNetworks } from '../spec/conf-folder.ts';
import type { LoadedNetwork, LoadedNetworks } from '../spec/conf-folder.ts';
import { leasingTypes } from './addresses.ts';
import { refusedFieldsOf } from './refused-fields.ts';
import { bareType } from '../calls/plugin-type.ts';

export interface NetworkChoice {
  /** `exec`: runs every chain as programs, even if all its plugins are ours. */
  readonly plugins: 'auto' | 'exec';
  /** The highest number of networks of the conf folder for a pod: the first is eth0, the next eth1. */
  readonly maxConfigs: number;
}

const ours: ReadonlySet<string> = new Set([
  ...[...plugins, ...addressPlugins].map(({ type }) => type),
  ...leasingTypes,
]);

/** Returns whether a plugin can run without starting a program. */
export const isOurs = (type: string): boolean => type === 'portcullis-dhcp' || ours.has(bareType(type));

/** Returns the networks that a conf folder configures. @throws the errors of `loadNetworks` */
export function networksIn(confDir: string, choice: NetworkChoice): LoadedNetworks {
  const loaded = loadNetworks(confDir, {
    exec: choice.plugins === 'exec',
    most: choice.maxConfigs,
    isOurs,
  });
  return { ...loaded, networks: loaded.networks.map(asChainIfUnknown) };
}

/**
 * Lets the plugins run one after another if one of them has a field that it does not know. The engine would
 * not notice the field, and the plugin refuses it in each ADD.
 */
function asChainIfUnknown(network: LoadedNetwork): LoadedNetwork {
  const { network: core, ...chain } = network;
  if (core === undefined) return network;
  return refusedFieldsOf(network).length > 0 ? { ...chain, way: 'in-process' } : network;
}

/** The same networks, read again whenever a file of the folder changes. */
export interface NetworkFolder {
  current(): LoadedNetworks;
  /** Returns a network by name, whether every pod gets it or not. Reads the folder again. */
  named(name: string): LoadedNetwork | undefined;
}

/** More networks than any folder has, which means all of them. */
const all = 1000;

/**
 * Opens the folder of network configurations. Files are read again after a change.
 * @param at returns the path at which the conf folder can be read now; it may throw
 * @param report receives each problem of a skipped file, once
 */
export function openNetworkFolder(
  at: () => string,
  choice: NetworkChoice,
  report: (problem: string) => void,
): NetworkFolder {
  let loaded: { readonly stamp: string; readonly networks: LoadedNetworks } | undefined;
  let followed: { readonly confDir: string; stampNow(): string } | undefined;
  return {
    named: (name) =>
      networksIn(at(), { ...choice, maxConfigs: all }).networks.find((network) => network.name === name),
    current() {
      const confDir = at();
      if (followed?.confDir !== confDir) followed = { confDir, stampNow: followConfFolder(confDir) };
      const stamp = followed.stampNow();
      if (loaded?.stamp === stamp) return loaded.networks;
      const before = loaded?.networks;
      loaded = undefined;
      const networks = keptInPlace(before, networksIn(confDir, choice), choice.maxConfigs);
      networks.skipped.forEach(report);
      loaded = { stamp, networks };
      return networks;
    },
  };
}

/**
 * If a file in use can no longer be read, its last content stays in force. Another network must not take its
 * place while a program writes the file.
 */
function keptInPlace(before: LoadedNetworks | undefined, next: LoadedNetworks, most: number): LoadedNetworks {
  const broken = (before?.networks ?? []).filter(({ file }) =>
    next.skipped.some((problem) => problem.startsWith(`${file}:`)),
  );
  if (broken.length === 0) return next;
  const kept = [...broken, ...next.networks.filter(({ name }) => !broken.some((each) => each.name === name))];
  const inOrder = kept.toSorted((a, b) => Buffer.compare(Buffer.from(a.file), Buffer.from(b.file)));
  const reported = broken.map(
    ({ name, file }): string => `${file}: its last good content stays in use as network ${name}`,
  );
  return { networks: inOrder.slice(0, most), skipped: [...next.skipped, ...reported] };
}

/** Returns whether the engine itself attaches pods to a network, and no chain of plugins. */
export const isCore = (
  network: LoadedNetwork,
): network is LoadedNetwork & Required<Pick<LoadedNetwork, 'network'>> => network.network !== undefined;
