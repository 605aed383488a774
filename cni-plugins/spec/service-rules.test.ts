import assert from 'node:assert/strict';
import { test } from 'node:test';
import { readMemberships } from './memberships.ts';
import {
  noServiceRules,
  ownerOfPod,
  readServiceRules,
  refuseClosedPorts,
  refuseForeignAddresses,
  whyClosed,
} from './service-rules.ts';
import type { ServiceRules } from './service-rules.ts';

const rulesIn = (config: object): ServiceRules => {
  const rules = readServiceRules(config as Readonly<Record<string, unknown>>);
  if ('problem' in rules) throw new Error(`${rules.field}: ${rules.problem}`);
  return rules;
};
const opens = (ingress: object, owner: string, port: number): boolean =>
  whyClosed(rulesIn({ ingress }), owner, { port }) === undefined;

test('only ports that the file names are opened', () => {
  assert.notEqual(whyClosed(noServiceRules, 'team', { port: 30_080 }), undefined);
  for (const [ingress, owner, port, expected] of [
    [{ namespaces: ['team'], ports: ['30000-32767'] }, 'team', 30_000, true],
    [{ namespaces: ['team'], ports: ['30000-32767'] }, 'team', 32_768, false],
    [{ namespaces: ['team'], ports: ['30000-32767'] }, 'team2', 30_000, false],
    [{ namespaces: ['team'], ports: [8080] }, 'team', 8080, true],
    [{ namespaces: ['team'] }, 'team', 8080, false],
    [{ ports: ['8080'] }, 'team', 8080, false],
    [{ namespaces: [''.padEnd(1, '*')], ports: ['1-65535'] }, 'any', 22, false],
    [{ namespaces: ['*'], ports: ['1-65535'] }, 'any', 1024, true],
    [{ namespaces: ['*'], ports: ['1-65535'], privilegedPorts: true }, 'any', 22, true],
    [{ namespaces: ['te*m'], ports: ['8080'] }, 'team', 8080, true],
    [{ namespaces: ['te*m'], ports: ['8080'] }, 'tem', 8080, true],
    [{ namespaces: ['te*em'], ports: ['8080'] }, 'tem', 8080, false],
    [{ namespaces: ['*-prod'], ports: ['8080'] }, 'a-prod-x', 8080, false],
    [{ namespaces: ['(docker)'], ports: ['8080'] }, 'docker', 8080, false],
  ] as const)
    assert.equal(opens(ingress, owner, port), expected, `${JSON.stringify(ingress)} ${owner} ${port}`);
});

test('a file that cannot be read is refused with its field', () => {
  for (const [config, field] of [
    [{ ingress: [] }, 'ingress'],
    [{ ingress: { port: ['8080'] } }, 'ingress.port'],
    [{ ingress: { ports: ['8080-80'] } }, 'ingress.ports'],
    [{ ingress: { ports: ['0'] } }, 'ingress.ports'],
    [{ ingress: { ports: ['65536'] } }, 'ingress.ports'],
    [{ ingress: { ports: [null] } }, 'ingress.ports'],
    [{ ingress: { ports: [['8080']] } }, 'ingress.ports'],
    [{ ingress: { ports: [{ toString: '8080' }] } }, 'ingress.ports'],
    [{ ingress: { namespaces: 'team' } }, 'ingress.namespaces'],
    [{ ingress: { privilegedPorts: 'yes' } }, 'ingress.privilegedPorts'],
    [{ ingress: { heldPorts: 1 } }, 'ingress.heldPorts'],
    [{ sharedServices: ['a b'] }, 'sharedServices'],
    [{ servicesPerNamespace: -1 }, 'servicesPerNamespace'],
    [{ virtualAddresses: ['10.0.0.1/99'] }, 'virtualAddresses'],
  ] as const) {
    const read = readServiceRules(config);
    assert.equal('field' in read && read.field, field, JSON.stringify(config));
  }
});

test('a port at which a program of the host has a socket is refused, unless the file allows it', () => {
  const memberships = readMemberships([{ name: 'web', ingressPorts: ['30080:80', '30053:53/udp'] }], 'test');
  const ingress = { namespaces: ['team'], ports: ['30000-32767'] };
  const held = ({ protocol }: { protocol: string }): boolean => protocol === 'udp';
  const refused = (rules: ServiceRules): void => refuseClosedPorts(rules, 'team', memberships, held);
  assert.throws(() => refused(rulesIn({ ingress })), {
    code: 'NETWORK_SERVICE_INGRESS_CLOSED',
    kind: 'denied',
    message: /30053\/udp.*heldPorts/u,
  });
  refused(rulesIn({ ingress: { ...ingress, heldPorts: true } }));
});

test('members can choose only addresses that the file allows', () => {
  const [asked] = readMemberships([{ name: 'web', ports: [80], virtualIPs: ['10.0.0.9'] }], 'test');
  assert.ok(asked);
  const choosing = (virtualIPs: readonly string[], virtualAddresses: readonly string[]): void =>
    refuseForeignAddresses(rulesIn({ virtualAddresses }), { ...asked, virtualIPs });
  choosing(['10.0.0.9'], ['10.0.0.8/29']);
  for (const [virtualIPs, ranges] of [
    [['10.0.0.9'], []],
    [['10.0.0.16'], ['10.0.0.8/29']],
    [['10.0.0.9', '8.8.8.8'], ['10.0.0.8/29']],
  ] as const)
    assert.throws(() => choosing(virtualIPs, ranges), { code: 'NETWORK_SERVICE_VIRTUAL_IP_CLOSED' });
});

test('the owner of a target that is not a pod is never a name of a namespace', () => {
  assert.deepEqual([ownerOfPod('team'), ownerOfPod('')], ['team', '(cni)']);
});
