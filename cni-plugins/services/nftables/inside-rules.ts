import {
  inSet,
  mapped,
  meta,
  register,
  sourceIsLocal,
  verdict,
  verdictOf,
} from '../../../base/netlink/index.ts';
import type { Family } from '../model/model.ts';
import { insideSourcesSet } from '../source-ranges/inside-sources.ts';
import { insideChain } from './inside-plane.ts';
import { hiddenMark, layouts, mark, portTo, protocolTo, toMode } from './packet.ts';

/** A chain, and the expressions of one of its rules. */
type InsideRule = readonly [chain: string, ...expressions: Buffer[]];

/**
 * Leads connections from inside the node to the inside plane of their server, and returns for all others. As
 * kube-proxy 1.36 does (pkg/proxy/nftables/proxier.go, `short-circuit pod traffic` and `short-circuit local
 * traffic`), a connection of the host itself is masqueraded: its source may be the address of the server.
 */
export function insideRulesOf(family: Family): readonly InsideRule[] {
  const { width, source, destination } = layouts[family];
  const r0 = register(0);
  return [
    [insideChain, ...sourceIsLocal(r0), ...mark(r0, hiddenMark), verdict({ goto: 'inside_servers' })],
    [insideChain, source(r0), inSet(insideSourcesSet, r0), verdict({ goto: 'inside_servers' })],
    [
      'inside_servers',
      destination(r0),
      ...protocolTo(register(width), true),
      portTo(register(width + 1)),
      mapped('servers', r0, r0),
      ...toMode('inside_mode'),
    ],
    [
      'inside_servers',
      ...protocolTo(r0, true),
      portTo(register(1)),
      mapped('nodes', r0, r0),
      ...toMode('inside_mode'),
    ],
    ['inside_mode', meta('priority', r0), verdictOf('inside_modes', r0)],
  ];
}
