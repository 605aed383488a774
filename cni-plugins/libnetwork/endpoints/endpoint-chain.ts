import { bareType } from '../../calls/plugin-type.ts';
import type { ChainLink, ChainPod } from '../../calls/chain.types.ts';
import { stepOf } from '../../cni/index.ts';
import type { RunStep } from '../../cni/index.ts';
import type { PluginList } from '../../spec/plugin-list.ts';
import type { CniResult } from '../../spec/result.ts';
import { portsOnly } from './network-list.ts';
import { interfaceName } from '../acts/records.ts';
import type { CnmNetwork, EndpointSpec } from '../acts/records.ts';

/** An endpoint as the chain of plugins sees it. */

/** Returns the container of the calls: the endpoint in its staging namespace. */
export const podOf = (id: string, netns: string, { mac }: EndpointSpec): ChainPod => ({
  id,
  netns,
  pod: { name: '', namespace: '', uid: '' },
  args: { IgnoreUnknown: '1', ...(mac !== '' && { MAC: mac }) },
});

/** Returns the chain of an endpoint: the plugins, what the engine asked for, and the previous result. */
export function chainLink(
  network: CnmNetwork,
  { list, wanted, mac, result, ports }: EndpointSpec,
): ChainLink {
  const ips = [wanted.Address, wanted.AddressIPv6].filter((address) => address !== '');
  const capabilityArgs = {
    ...(ips.length > 0 && { ips }),
    ...(mac !== '' && { mac }),
    ...(ports !== undefined && {
      portMappings: ports.mappings.map(({ hostIp, ...mapping }) => ({
        ...mapping,
        ...(hostIp !== undefined && { hostIP: hostIp }),
      })),
    }),
  };
  return {
    network: network.name,
    interface: interfaceName,
    way: network.way,
    list,
    capabilityArgs,
    ...(result !== undefined && { result }),
  };
}

/** Calls the port plugins after the link was made. Each receives the previous result. */
export async function addPorts(
  run: RunStep,
  network: CnmNetwork,
  spec: EndpointSpec,
  pod: ChainPod,
  made: CniResult,
): Promise<void> {
  let prevResult = made;
  for (const plugin of portsOnly(spec.list).plugins)
    prevResult =
      (await run(stepOf('ADD', chainLink(network, spec), plugin, pod, { prevResult }))) ?? prevResult;
}

/**
 * Returns whether DEL of one of upstream's plugins removes its masquerading by the addresses on the
 * interface.
 */
export const needsInterface = ({ plugins }: PluginList): boolean =>
  plugins.some(({ type }) => ['bridge', 'ptp'].includes(bareType(type)));
