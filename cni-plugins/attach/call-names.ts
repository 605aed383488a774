import { readJson } from '../spec/json-text.ts';
import type { CniResult } from '../spec/result.ts';
import type { NetworkName } from './names.ts';
import { networkNameOf } from './names.ts';
import type { PluginCall } from './plugin-call.ts';

/**
 * By which names whoever is on the network finds the endpoint that a call made: as docker, its own name and its short id; the capability
 * `aliases` (CNI conventions). A pod's name is CNI_ARGS' K8S_POD_NAME, also with its namespace behind it. Pure.
 */
export function namesOfCall(call: PluginCall, result: CniResult): NetworkName[] {
  // A plugin that changes what another one made has nothing of its own to name.
  if (call.prevResult !== undefined) return [];
  const { K8S_POD_NAME: pod = '', K8S_POD_NAMESPACE: namespace = '' } = call.args;
  const own = [
    ...(pod === '' ? [] : [pod]),
    ...(pod === '' || namespace === '' ? [] : [`${pod}.${namespace}`]),
    /^[0-9a-f]{64}$/u.test(call.key.containerId) ? call.key.containerId.slice(0, 12) : call.key.containerId,
  ];
  const addresses = result.ips.map(({ address }) => address.replace(/\/\d+$/u, ''));
  const named = (texts: readonly string[], kind: NetworkName['kind']): NetworkName[] =>
    texts.flatMap((text) => {
      const name = networkNameOf(text);
      return name === undefined ? [] : addresses.map((address): NetworkName => ({ name, address, kind }));
    });
  return [...named(own, 'container'), ...named(aliasesOf(call.config), 'alias')];
}

function aliasesOf(config: string): string[] {
  const source = readJson(config);
  if ('message' in source) return [];
  const { runtimeConfig } = source.value as { readonly runtimeConfig?: { readonly aliases?: unknown } };
  const aliases = runtimeConfig?.aliases;
  return Array.isArray(aliases) ? aliases.filter((each) => typeof each === 'string') : [];
}
