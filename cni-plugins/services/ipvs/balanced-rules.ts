import {
  connection,
  inSet,
  masked,
  masquerade,
  meta,
  notInSet,
  payload,
  register,
  remember,
  setMeta,
  sourceIsLocal,
  u32,
  verdict,
} from '../../../base/netlink/index.ts';
import type { DataType, NamedSet } from '../../../base/netlink/index.ts';
import { hasMark, sharedMarks } from '../../constant-rules/packet-marks.ts';
import { backendMilliseconds, rememberBackend } from '../unknown-segments/rules.ts';

/** The rules for a packet that IPVS sends to a backend: whose source the backend sees. Values only. */

const [r0, r1] = [register(0), register(1)];
const { chosen, bridged } = sharedMarks;

/** More than the pods of a node. */
const mostThemselves = 4096;

/** Pairs of an address and itself. A pair with two addresses is not in this set. */
export const themselvesOf = (address: DataType): NamedSet => ({
  name: 'themselves',
  key: [address, address],
  dynamic: { atMost: mostThemselves },
});

export function balancedRules(family: 'ip' | 'ip6'): readonly (readonly [string, ...Buffer[]])[] {
  const [offset, width] = family === 'ip' ? [12, 4] : [8, 16];
  const source = payload('network', offset, width, r0);
  const destination = (to: number): Buffer => payload('network', offset + width, width, to);
  const firstSent = connection(family === 'ip' ? 'to4' : 'to6', 'original', r0);
  const after = (index: number): number => register(index + width / 4);
  const backToLink = [meta('iif', r0), meta('oif', r1), inSet('links', r0)];
  return [
    ['balanced', ...rememberBackend(family === 'ip' ? 4 : 6)],
    // The packet leaves by the link that it came in by: the backend would answer the client, or itself, past
    // this host, unless the bridge passes us the answer as well. If the set is full, it is masqueraded.
    [
      'balanced',
      ...hasMark(bridged),
      ...backToLink,
      destination(r0),
      destination(after(0)),
      remember('refresh', 'themselves', { key: r0, milliseconds: backendMilliseconds }),
      source,
      notInSet('themselves', r0),
      verdict({ goto: 'not_back' }),
    ],
    ['balanced', ...backToLink, masquerade()],
    ['balanced', verdict({ goto: 'not_back' })],
    // The host's own connections have the virtual address as their source.
    ['not_back', ...sourceIsLocal(r0), masquerade()],
    [
      'not_back',
      firstSent,
      meta('l4proto', after(0)),
      connection('portTo', 'original', after(1)),
      inSet('masqueraded', r0),
      masquerade(),
    ],
    [
      'unmark',
      ...hasMark(chosen | bridged),
      meta('mark', r0),
      masked(r0, u32(~(chosen | bridged))),
      setMeta('mark', r0),
    ],
  ];
}
