import assert from 'node:assert/strict';
import { test } from 'node:test';
import { isPortcullisError } from '../../base/errors/index.ts';
import { membershipsOn, parseMemberships } from './memberships.ts';

const where = 'label';
const problemOf = (text: string): string => {
  try {
    parseMemberships(text, where);
    return '';
  } catch (thrown) {
    assert.ok(isPortcullisError(thrown));
    assert.equal(thrown.code, 'NETWORK_SERVICE_MEMBERSHIP_INVALID');
    return `${thrown.failure.on}: ${thrown.failure.why}`;
  }
};

test('a membership is read with its defaults', () => {
  assert.deepEqual(parseMemberships('[{"name": "Web", "ports": [80, "443:8443", "53:5353/udp"]}]', where), [
    {
      name: 'web',
      mode: 'vip',
      aliases: [],
      ports: [
        { protocol: 'tcp', port: 80, targetPort: 80 },
        { protocol: 'tcp', port: 443, targetPort: 8443 },
        { protocol: 'udp', port: 53, targetPort: 5353 },
      ],
      ingressPorts: [],
      virtualIPs: [],
    },
  ]);
  const [all] = parseMemberships(
    '[{"name":"web","network":"shop","mode":"vip","aliases":["Front"],"ingressPorts":["8080:80"],"virtualIPs":["10.0.0.9","FD00::09"]}]',
    where,
  );
  assert.deepEqual(
    [all?.network, all?.aliases, all?.virtualIPs],
    ['shop', ['front'], ['10.0.0.9', 'fd00::9']],
  );
  assert.equal(parseMemberships('[{"name":"db","mode":"dnsrr"}]', where)[0]?.mode, 'dnsrr');
});

test('a membership applies to its network, or to each network', () => {
  const all = parseMemberships(
    '[{"name":"a","mode":"dnsrr"},{"name":"b","mode":"dnsrr","network":"shop"}]',
    where,
  );
  assert.deepEqual(
    [membershipsOn(all, 'shop'), membershipsOn(all, 'vault')].map((some) => some.map(({ name }) => name)),
    [['a', 'b'], ['a']],
  );
});

for (const [text, place] of [
  ['{', 'label: '],
  ['{}', 'label: it is not a list'],
  ['["web"]', 'label[0]: it is not an object'],
  ['[null]', 'label[0]: it is not an object'],
  ['[{"ports":[80]}]', 'label[0].name: nothing is not a label'],
  ['[{"name":"a.b","ports":[80]}]', 'label[0].name: "a.b" is not a label'],
  ['[{"name":"-a","ports":[80]}]', 'label[0].name: "-a" is not a label'],
  [`[{"name":"${'a'.repeat(64)}","ports":[80]}]`, 'label[0].name: '],
  ['[{"name":"web","port":80}]', 'label[0].port: it is not a known field'],
  ['[{"name":"web"}]', 'label[0].ports: a virtual address serves only the ports that are named'],
  ['[{"name":"web","mode":"VIP","ports":[80]}]', 'label[0].mode: "VIP" is not vip or dnsrr'],
  ['[{"name":"web","ports":"80"}]', 'label[0].ports: it is not a list'],
  ['[{"name":"web","ports":[0]}]', 'label[0].ports[0]: 0 is not PORT'],
  ['[{"name":"web","ports":["80:65536"]}]', 'label[0].ports[0]: "80:65536" is not PORT'],
  ['[{"name":"web","ports":["80/icmp"]}]', 'label[0].ports[0]: "80/icmp" is not PORT'],
  ['[{"name":"web","ports":["80:81","80:82"]}]', 'label[0].ports[1]: 80/tcp occurs twice'],
  [
    '[{"name":"web","mode":"dnsrr","ingressPorts":[80]}]',
    'label[0].ingressPorts: the mode dnsrr has no virtual service to balance them',
  ],
  [
    '[{"name":"web","mode":"dnsrr","virtualIPs":["10.0.0.1"]}]',
    'label[0].virtualIPs: the mode dnsrr has none',
  ],
  [
    '[{"name":"web","ports":[80],"virtualIPs":["10.0.0.300"]}]',
    'label[0].virtualIPs[0]: "10.0.0.300" is not an IP address',
  ],
  ['[{"name":"web","ports":[80],"network":"a/b"}]', 'label[0].network: "a/b" is not a name of a network'],
  ['[{"name":"web","ports":[80],"aliases":["a b"]}]', 'label[0].aliases[0]: "a b" is not a label'],
  [
    '[{"name":"web","ports":[80]},{"name":"WEB","ports":[81],"network":"shop"}]',
    'label[1].name: web occurs twice',
  ],
  [
    JSON.stringify(Array.from({ length: 17 }, (_, at) => ({ name: `s${at}`, ports: [80] }))),
    'label: it has 17 services',
  ],
] as const)
  test(`is refused with its position: ${text.slice(0, 60)}`, () =>
    assert.ok(problemOf(text).startsWith(place), problemOf(text)));
