import {
  destinationIsLocal,
  destinationTranslated,
  mapped,
  meta,
  originalPort,
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

/**
 * Returns the expressions of a rule in `postrouting` that match a connection to a host port, and write its
 * protocol, host port, and the address and port of the pod into the registers from 0 on. The reply to the
 * host itself, or to a pod on the same bridge or in the same subnet, must come back through this host to be
 * translated again. Pure.
 */
export function forwardedConnection(family: 'ip' | 'ip6'): readonly Buffer[] {
  const [offset, width] = family === 'ip' ? [16, 4] : [24, 16];
  return [
    ...destinationTranslated(register(0)),
    meta('l4proto', register(0)),
    originalPort(register(1)),
    payload('network', offset, width, register(2)),
    payload('transport', 2, 2, register(2 + width / 4)),
  ];
}
