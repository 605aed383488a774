import { readConfigurationJson } from '../spec/json-text.ts';
import type { CniResult } from '../spec/result.ts';
import type { NetworkName } from './names.ts';
import { networkNameOf } from './names.ts';
import type { PluginCall } from './plugin-call.ts';

/** By which names whoever is on a network finds an endpoint of it. Pure. */

interface Named {
  readonly containerId: string;
  /** A pod's; empty: none. */
  readonly pod: string;
  readonly namespace: string;
  readonly aliases: readonly string[];
  readonly addresses: readonly string[];
}

/**
 * As docker: its own name and its short id, and what it is also called. A pod's name also with its namespace behind it. Whoever makes a pod chooses its
 * name: with a dot in it, it could be that of a place elsewhere (example.com), or of another namespace's pod, and is not told to anybody.
 */
export function namesOf({ containerId, pod: podName, namespace: podNamespace, aliases: all, addresses }: Named): NetworkName[] {
  const [pod, namespace] = [undotted(podName), undotted(podNamespace)];
  const aliases = all.filter((alias) => undotted(alias) !== '');
  const own = [
    ...(pod === '' ? [] : [pod]),
    ...(pod === '' || namespace === '' ? [] : [`${pod}.${namespace}`]),
    /^[0-9a-f]{64}$/u.test(containerId) ? containerId.slice(0, 12) : containerId,
  ];
  return [...namesAt(addresses, 'container', own), ...namesAt(addresses, 'alias', aliases)];
}

const undotted = (name: string): string => (name.includes('.') ? '' : name);

/** Each text that can be a name, for each of the addresses. */
export function namesAt(addresses: readonly string[], kind: NetworkName['kind'], texts: readonly string[]): NetworkName[] {
  return texts.flatMap((text) => {
    const name = networkNameOf(text);
    return name === undefined ? [] : addresses.map((address): NetworkName => ({ name, address, kind }));
  });
}

/**
 * Of a plugin's call, where its configuration declares the capability `aliases` (CNI conventions) or is told some: none else is found by name.
 * The pod is that of CNI_ARGS.
 */
export function namesOfCall({ key, args, config, prevResult }: PluginCall, result: CniResult): NetworkName[] {
  // A plugin that changes what another one made has nothing of its own to name.
  if (prevResult !== undefined) return [];
  const source = readConfigurationJson(config);
  if ('message' in source) return [];
  const { runtimeConfig, capabilities } = source.value as {
    readonly runtimeConfig?: { readonly aliases?: unknown };
    readonly capabilities?: { readonly aliases?: unknown };
  };
  const aliases = runtimeConfig?.aliases;
  if (capabilities?.aliases !== true && !Array.isArray(aliases)) return [];
  return namesOf({
    containerId: key.containerId,
    pod: args['K8S_POD_NAME'] ?? '',
    namespace: args['K8S_POD_NAMESPACE'] ?? '',
    aliases: Array.isArray(aliases) ? aliases.filter((each) => typeof each === 'string') : [],
    addresses: result.ips.map(({ address }) => address.replace(/\/\d+$/u, '')),
  });
}
