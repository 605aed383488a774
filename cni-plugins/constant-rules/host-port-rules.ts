import {
  destinationIsLocal,
  mapped,
  meta,
  payload,
  register,
  translateDestination,
  verdict,
} from '../../base/netlink/index.ts';

/** A rule: its chain, then its expressions. */
type ConstantRule = readonly [chain: string, ...expressions: readonly Buffer[]];

/**
 * Returns the rules that translate connections to host ports, in the chains `prerouting`, `output` and
 * `host_ports_of`. The maps give the address and port of the pod: `exact` by address, protocol and port,
 * `any` by protocol and port. Pure.
 */
export function hostPortRules(
  family: 'ip' | 'ip6',
  maps: { readonly exact: string; readonly any: string },
): readonly ConstantRule[] {
  const [offset, width] = family === 'ip' ? [16, 4] : [24, 16];
  const port = (to: number): Buffer => payload('transport', 2, 2, to);
  const after = (index: number): number => register(index + width / 4);
  const translate = translateDestination(family, register(0), after(0));
  return [
    ['prerouting', ...destinationIsLocal(register(0)), verdict({ jump: 'host_ports_of' })],
    ['output', ...destinationIsLocal(register(0)), verdict({ jump: 'host_ports_of' })],
    [
      'host_ports_of',
      payload('network', offset, width, register(0)),
      meta('l4proto', after(0)),
      port(after(1)),
      mapped(maps.exact, register(0), register(0)),
      translate,
    ],
    [
      'host_ports_of',
      meta('l4proto', register(0)),
      port(register(1)),
      mapped(maps.any, register(0), register(0)),
      translate,
    ],
  ];
}
