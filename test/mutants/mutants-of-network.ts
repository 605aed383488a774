import { checks } from './mutant.ts';

/** Services, ports of the host, and NetworkPolicies. */
export const mutants = checks([
  [
    'cni-plugins/spec/service-rules.ts',
    'port < firstUnprivileged && !ingress.privilegedPorts',
    'false',
    'cni-plugins/spec/service-rules.test.ts',
  ],
  [
    'cni-plugins/spec/service-rules.ts',
    'rules.ingress?.heldPorts !== true && isHeld(port)',
    'false',
    'cni-plugins/spec/service-rules.test.ts',
  ],
  [
    'cni-plugins/spec/service-rules.ts',
    '!ingress.namespaces.some((pattern) => matches(pattern, owner))',
    'false',
    'cni-plugins/spec/service-rules.test.ts',
  ],
  ['cni-plugins/attach/memberships.ts', 'if (stranger !== undefined)', 'if ((false as boolean))', 'cni-plugins/attach/host-doors.test.ts'],
  ['cni-plugins/attach/memberships.ts', 'count >= rules.servicesPerNamespace', 'false', 'cni-plugins/attach/host-doors.test.ts'],
  ['cni-plugins/attach/request.ts', 'hostPort < firstUnprivileged &&', 'false &&', 'cni-plugins/attach/host-doors.test.ts'],
  ['cni-plugins/attach/taken-macs.ts', 'if (holder !== undefined)', 'if ((false as boolean))', 'cni-plugins/attach/host-doors.test.ts'],
  ['cni-plugins/attach/call-names.ts', "name.includes('.') ? '' : name", 'name', 'cni-plugins/dns/name-table.test.ts'],
  ['cni-plugins/dns/name-table.ts', "asked === 'whole' && host.includes('.')", 'false', 'cni-plugins/dns/name-table.test.ts'],
  ['entitlements/ceiling/demand.ts', 'return ceiling.hostPorts;', 'return true;', 'entitlements/ceiling/asked.test.ts'],
  ['cni-plugins/services/control/claims.ts', 'a.rank - b.rank ||', '', 'cni-plugins/services/control/core.test.ts'],
  [
    'cni-plugins/overlay/network-services/addresses.ts',
    'if (subnetsOfServices(network, taken).length < most) return;',
    'return;',
    'cni-plugins/overlay/network-services/publish.test.ts',
  ],
  [
    'cni-plugins/overlay/network-services/publish.ts',
    'isShared || ownerOf(each) === owner',
    'true',
    'cni-plugins/overlay/network-services/publish.test.ts',
  ],
  ['cni-plugins/followed-files/held-files.ts', 'now - file.since < quietMs', 'false', 'cni-plugins/policy/kubernetes/folder.test.ts'],
  [
    'cni-plugins/followed-files/stored-set.ts',
    'text.slice(0, end) !== headOf(body, format)',
    'false',
    'cni-plugins/policy/kubernetes/folder.test.ts',
  ],
  ['cni-plugins/policy/kubernetes/blocks.ts', 'networkOf(four)', 'four.address', 'cni-plugins/policy/kubernetes/read.test.ts'],
  ['cni-plugins/attach/rules.ts', "notInSet('held_links', register(0)),", '', 'cni-plugins/policy/forged-senders.test.ts'],
  [
    'cni-plugins/attach/rules.ts',
    "inSet('held', register(0)),",
    "inSet('masquerade', register(0)),",
    'cni-plugins/policy/forged-senders.test.ts',
  ],
  [
    'cni-plugins/policy/tables.ts',
    "(maps === 'host' ? [{ chain, expressions: [...stateHas(CT_UNTRACKED), verdict({ jump: 'untracked' })] }] : [])",
    '[]',
    'cni-plugins/policy/untracked.test.ts',
  ],
  [
    'cni-plugins/policy/tables.ts',
    '{ chain, expressions: [...stateHas(CT_INVALID_OR_UNTRACKED)',
    '{ chain, expressions: [...stateHas(1)',
    'cni-plugins/policy/untracked.test.ts',
  ],
  [
    'cni-plugins/services/unknown-segments/rules.ts',
    "inSet(backendsSet, r0), verdict('drop')",
    'inSet(backendsSet, r0)',
    'cni-plugins/services/nftables/invalid-segments.test.ts',
    'cni-plugins/services/ipvs/tables.test.ts',
  ],
  ['cni-plugins/services/ipvs/tables.ts', "['forward', ...toUnknownSegments],", '', 'cni-plugins/services/ipvs/tables.test.ts'],
]);
