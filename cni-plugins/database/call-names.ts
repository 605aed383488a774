import { readConfigurationJson } from '../spec/json-text.ts';
import type { CniResult } from '../spec/result.ts';
import type { NetworkName } from './endpoint-names.ts';
import { networkNameOf } from './endpoint-names.ts';
import type { PluginCall } from '../calls/plugin-call.ts';

/** The names by which others on a network find one of its endpoints. Pure. */

interface Named {
  readonly containerId: string;
  /** The name of the pod. Empty: none. */
  readonly pod: string;
  readonly namespace: string;
  readonly aliases: readonly string[];
  readonly addresses: readonly string[];
}

/**
 * Returns the names as docker assigns them: the endpoint's own name, its short id and its aliases. A pod's
 * name is also returned with its namespace appended. The author of a pod chooses its name. A name with a dot
 * in it could be a name elsewhere (example.com), or a pod of another namespace, so it is not published.
 */
export function namesOf({
  containerId,
  pod: podName,
  namespace: podNamespace,
  aliases: all,
  addresses,
}: Named): NetworkName[] {
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

/** Combines each text that is a valid name with each of the addresses. */
export function namesAt(
  addresses: readonly string[],
  kind: NetworkName['kind'],
  texts: readonly string[],
): NetworkName[] {
  return texts.flatMap((text) => {
    const name = networkNameOf(text);
    return name === undefined ? [] : addresses.map((address): NetworkName => ({ name, address, kind }));
  });
}

/**
 * Returns the names of a plugin's call, if its configuration declares the capability `aliases` (CNI
 * conventions) or contains some; other endpoints are not found by name. The pod is the one in CNI_ARGS.
 */
export function namesOfCall({ key, args, config, prevResult }: PluginCall, result: CniResult): NetworkName[] {
  // A plugin that changes another plugin's interface has no endpoint of its own to name.
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
