import {
  addChain,
  addElements,
  addRule,
  addSet,
  addTable,
  concatenated,
  deleteElements,
  flushChain,
  getElement,
  getTable,
  inSet,
  interfaceKey,
  isRefusal,
  meta,
  notInSet,
  payload,
  register,
  tolerating,
  transact,
  verdict,
} from '../../../base/netlink/index.ts';
import type { Element, Table, NetlinkSocket, Request } from '../../../base/netlink/index.ts';
import type { Resource, ResourceType } from '../contract/contract.ts';
import { lackedRules, missingRules } from '../../constant-rules/constant-rules.ts';

/**
 * Lets frames of the pod pass only with the pod's MAC address (`macspoofchk`). It is on the host's end, so
 * that NET_ADMIN inside cannot remove it.
 */
export interface MacGuard extends Resource {
  readonly kind: 'mac-guard';
  readonly hostInterface: string;
  readonly mac: string;
}

const table: Table = { family: 'bridge', name: 'portcullis_plugins' };

const constant = new Map([['prerouting', 1]]);

/** Where the table exists, its sets stay unchanged, and its rule is recreated. */
function createGuard(): Request[] {
  const r0 = register(0);
  return [
    addTable(table),
    addChain(table, { name: 'prerouting', hook: { type: 'filter', number: 0, priority: -300 } }),
    addSet(table, { name: 'guarded', key: ['ifname'] }, 1),
    addSet(table, { name: 'senders', key: ['ifname', 'ether_addr'] }, 2),
    flushChain(table, 'prerouting'),
    addRule(table, 'prerouting', [
      meta('iifname', r0),
      inSet('guarded', r0),
      payload('link', 6, 6, register(4)),
      notInSet('senders', r0),
      verdict('drop'),
    ]),
  ];
}

const elementsOf = (resource: MacGuard): readonly (readonly [set: string, element: Element])[] => [
  ['guarded', { key: interfaceKey(resource.hostInterface) }],
  [
    'senders',
    {
      key: concatenated(
        interfaceKey(resource.hostInterface),
        Buffer.from(resource.mac.replaceAll(':', ''), 'hex'),
      ),
    },
  ],
];

const refused = (filter: NetlinkSocket, request: Request): boolean => {
  try {
    filter.ask(request);
    return false;
  } catch (thrown) {
    if (isRefusal(thrown, 'ENOENT')) return true;
    throw thrown;
  }
};

export const macGuardType: ResourceType<MacGuard> = {
  kind: 'mac-guard',
  ensure(resource, { host: { filter }, foundGone }) {
    const missing = refused(filter, getTable(table));
    transact(filter, [
      ...(lackedRules(filter, table) || missing ? createGuard() : []),
      ...elementsOf(resource).flatMap(([set, element]) => addElements(table, set, [element])),
    ]);
    if (missing) foundGone?.();
  },
  differences: (resource, { host: { filter } }) => [
    ...missingRules(filter, table, constant),
    ...(elementsOf(resource).some(([set, element]) => refused(filter, getElement(table, set, element)))
      ? [`nf_tables does not bind ${resource.hostInterface} to ${resource.mac}`]
      : []),
  ],
  remove(resource, { host: { filter } }) {
    for (const [set, element] of elementsOf(resource)) {
      tolerating(['ENOENT'], () => transact(filter, deleteElements(table, set, [element])));
    }
  },
};
