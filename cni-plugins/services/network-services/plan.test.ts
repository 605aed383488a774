import assert from 'node:assert/strict';
import { test } from 'node:test';
import { readMemberships } from '../../spec/memberships.ts';
import { readServiceRules } from '../../spec/service-rules.ts';
import type { ServiceRules } from '../../spec/service-rules.ts';
import { checked } from '../control/checked.ts';
import { servicesOf } from './members.ts';
import type { Member } from './members.ts';
import { balancedServices, isCrowded, serviceNames } from './plan.ts';

const rulesIn = (ingress: object): ServiceRules => {
  const rules = readServiceRules({ ingress });
  if ('problem' in rules) throw new Error(rules.problem);
  return rules;
};
const open = rulesIn({ namespaces: ['*'], ports: ['30000-32767'] });

const member = (given: object, addresses: readonly string[], isReady = true): Member => {
  const [read] = readMemberships([{ name: 'web', ...given }], 'test');
  if (read === undefined) throw new Error('a list of one membership was read as an empty list');
  return {
    ...read,
    id: addresses[0] ?? '',
    owner: 'team',
    rules: open,
    service: read.name,
    network: 'shop',
    addresses,
    isReady,
    ipam: undefined,
  };
};
const balanced = (members: readonly Member[], addresses = ['10.0.0.9'], host = 'here') => {
  const services = servicesOf(members).flatMap((service) => balancedServices(service, addresses, host));
  for (const service of services)
    assert.equal('code' in checked('networks', service), false, JSON.stringify(service));
  return services;
};

test('members with different ports each serve their own ports', () => {
  const [web, ...more] = balanced([
    member({ ports: ['80:8080', '443'] }, ['10.0.0.2', 'fd00::2']),
    member({ ports: ['80:8081', '53/udp'] }, ['10.0.0.3']),
  ]);
  assert.equal(more.length, 0);
  assert.equal(web?.name, 'shop/web');
  assert.deepEqual(
    web.ports.map(({ name, targetPort }) => [name, targetPort]),
    [
      ['udp-53', 53],
      ['tcp-80', 8080],
      ['tcp-443', 443],
    ],
  );
  assert.deepEqual(web.backends, [
    { address: '10.0.0.2', without: ['udp-53'] },
    { address: 'fd00::2', without: ['udp-53'] },
    { address: '10.0.0.3', ports: { 'tcp-80': 8081 }, without: ['tcp-443'] },
  ]);
});

test('published ports form a separate service, and are also served at the virtual address', () => {
  const [web, ingress] = balanced([
    member({ ports: ['80:8080'], ingressPorts: ['30080:8080', '30443:443', '31443:443'] }, ['10.0.0.2']),
  ]);
  assert.deepEqual(
    web?.ports.map(({ port, targetPort, nodePort }) => [port, targetPort, nodePort]),
    [
      [80, 8080, undefined],
      [443, 443, undefined],
      [8080, 8080, undefined],
    ],
  );
  assert.equal(ingress?.name, 'shop/web.ingress');
  assert.deepEqual(ingress.addresses, []);
  assert.deepEqual(
    ingress.ports.map(({ targetPort, nodePort }) => [targetPort, nodePort]),
    [
      [8080, 30080],
      [443, 30443],
      [443, 31443],
    ],
  );
});

test('a member that is not ready yet holds the address and is not a backend', () => {
  const members = [member({ ports: ['80'], aliases: ['front', 'web'] }, ['10.0.0.2'], false)];
  assert.deepEqual(balanced(members)[0]?.backends, []);
  const [service] = servicesOf(members);
  assert.ok(service);
  assert.deepEqual(
    serviceNames(service, ['10.0.0.9', 'fd00::9']).map(
      ({ name, address, kind }) => `${name} ${address} ${kind}`,
    ),
    ['web 10.0.0.9 service', 'web fd00::9 service', 'front 10.0.0.9 service', 'front fd00::9 service'],
  );
});

test('if there are more members than can be balanced, each host balances a part of each family', () => {
  const members = Array.from({ length: 600 }, (_, index) =>
    member({ ports: ['80'] }, [
      `10.0.${1 + (index >> 8)}.${index & 255}`,
      ...(index >= 100 ? [`fd00::${index.toString(16)}`] : []),
    ]),
  );
  const crowded = (some: readonly Member[]): boolean | undefined => servicesOf(some).map(isCrowded)[0];
  const balancedBy = (host: string, family: 4 | 6): string[] =>
    (balanced(members, ['10.0.0.9', 'fd00::9'], host)[0]?.backends ?? [])
      .map(({ address }) => address)
      .filter((address) => address.includes(':') === (family === 6));
  assert.deepEqual([balancedBy('one', 4).length, balancedBy('one', 6).length], [512, 500]);
  const hosts = ['one', 'two', 'three', 'four', 'five', 'six'];
  assert.equal(
    new Set(hosts.flatMap((host) => balancedBy(host, 4))).size,
    600,
    'no member is left out by all hosts',
  );
  assert.deepEqual([crowded(members), crowded(members.slice(0, 512))], [true, false]);
  assert.equal(
    crowded(members.map((each) => ({ ...each, mode: 'dnsrr' }))),
    false,
    'the name has all members',
  );
});

test('round robin by name needs no balancing', () => {
  const members = [member({ mode: 'dnsrr', ports: ['80'] }, ['10.0.0.2'])];
  assert.deepEqual(balanced(members, []), []);
});

test('the same name on two networks means two services', () => {
  const one = member({ ports: ['80'] }, ['10.0.0.2']);
  assert.deepEqual(
    servicesOf([one, { ...one, network: 'vault' }]).map(({ network, name, members }) => [
      network,
      name,
      members.length,
    ]),
    [
      ['shop', 'web', 1],
      ['vault', 'web', 1],
    ],
  );
});

test('a service over hosts has the members of all of them, in the mode and at the ingress ports that the hosts agreed on', () => {
  const here = member({ ports: ['80'], ingressPorts: ['30080:80', '30081:80'], aliases: ['front'] }, [
    '10.0.1.2',
  ]);
  const other = member({ mode: 'dnsrr' }, ['10.0.1.3']);
  const lone = { ...member({ ports: ['80'] }, ['10.0.1.4']), service: 'new' };
  const remote = {
    id: 'far',
    host: 'two',
    addresses: ['10.0.2.2'],
    isReady: true,
    aliases: ['edge'],
    ports: here.ports,
    ingressPorts: [],
  };
  const spanned = new Map([
    [
      'shop',
      {
        link: 'br0',
        rules: open,
        services: new Map([
          ['web', { mode: 'vip', addresses: ['10.0.9.7'], ingressPorts: ['tcp-30080'], members: [remote] }],
          ['empty', { mode: 'vip', addresses: ['10.0.9.8'], ingressPorts: [], members: [] }],
        ] as const),
      },
    ],
  ]);
  const [web, ...more] = servicesOf([here, other, lone], spanned);
  assert.ok(web);
  assert.equal(
    more.length,
    0,
    'a service without members does not count, and a service that the hosts have not agreed on waits',
  );
  assert.deepEqual(web.spanned?.refused, [other]);
  const [virtual, ingress] = balancedServices(web, ['10.0.9.7'], 'here');
  assert.deepEqual(
    virtual?.backends.map(({ address }) => address),
    ['10.0.1.2', '10.0.2.2'],
  );
  assert.deepEqual(
    ingress?.ports.map(({ nodePort }) => nodePort),
    [30080],
  );
  assert.deepEqual(
    serviceNames(web, ['10.0.9.7']).map(({ name, address }) => `${name} ${address}`),
    ['web 10.0.9.7', 'front 10.0.9.7', 'edge 10.0.9.7', 'tasks.web 10.0.1.2', 'tasks.web 10.0.2.2'],
  );
});

test('a host publishes the ports that its own rules allow for the owner of a member, on whichever host the member is', () => {
  const ports = ['22:2222', '10250:8443', '30080:8080'];
  const asked = (rules: ServiceRules | undefined, owner = 'team'): (number | undefined)[] => {
    const { rules: _of, ...plain } = member({ ingressPorts: ports }, ['10.0.0.2']);
    const made: Member = { ...plain, owner, ...(rules !== undefined && { rules }) };
    return balanced([made]).flatMap((service) =>
      service.name.endsWith('.ingress') ? service.ports.map(({ nodePort }) => nodePort) : [],
    );
  };
  assert.deepEqual(asked(undefined), [], 'a member that joined before there were rules publishes no ports');
  assert.deepEqual(asked(open), [30_080]);
  assert.deepEqual(asked(rulesIn({ namespaces: ['other'], ports: ['1-65535'] })), []);
  assert.deepEqual(asked(rulesIn({ namespaces: ['te*'], ports: ['1-65535'] })), [10_250, 30_080]);
  assert.deepEqual(
    asked(rulesIn({ namespaces: ['team'], ports: ['1-65535'], privilegedPorts: true })),
    [22, 10_250, 30_080],
  );
  const remote = { id: 'far', host: 'two', addresses: ['10.0.2.2'], isReady: true, aliases: [], ports: [] };
  const over = (rules: ServiceRules, owner: string): number => {
    const ingressPorts = [{ protocol: 'tcp', port: 30_080, targetPort: 80 }] as const;
    const service = {
      mode: 'vip',
      owner,
      addresses: ['10.0.9.7'],
      ingressPorts: ['tcp-30080'],
      members: [{ ...remote, owner, ingressPorts }],
    } as const;
    const [web] = servicesOf(
      [],
      new Map([['shop', { link: 'br0', rules, services: new Map([['web', service]]) }]]),
    );
    return web === undefined
      ? 0
      : balancedServices(web, ['10.0.9.7'], 'here').filter(({ name }) => name.endsWith('.ingress')).length;
  };
  assert.deepEqual(
    [over(open, 'team'), over(rulesIn({ namespaces: ['ours'], ports: ['30080'] }), 'team')],
    [1, 0],
    'a claim of another host publishes no port here',
  );
});

test('members of another namespace are not members of a service over hosts, on any host', () => {
  const far = {
    id: 'far',
    host: 'two',
    owner: 'team',
    addresses: ['10.0.2.2'],
    isReady: true,
    aliases: [],
    ports: [],
    ingressPorts: [],
  };
  const service = {
    mode: 'vip',
    owner: 'team',
    addresses: ['10.0.9.7'],
    ingressPorts: [],
    members: [far, { ...far, id: 'strange', owner: 'evil' }],
  } as const;
  const mine = member({ ports: ['80'] }, ['10.0.1.2']);
  const foreign: Member = { ...member({ ports: ['80'] }, ['10.0.1.3']), owner: 'evil' };
  const over = (rules?: ServiceRules): readonly string[] => {
    const spanned = new Map([
      ['shop', { link: 'br0', ...(rules && { rules }), services: new Map([['web', service]]) }],
    ]);
    const [web] = servicesOf([mine, foreign], spanned);
    return web?.members.map(({ addresses }) => addresses.join()) ?? [];
  };
  assert.deepEqual(over(), ['10.0.1.2', '10.0.2.2']);
  assert.equal(over({ ...open, sharedServices: ['web'] }).length, 4);
  const unknown = new Map([
    ['shop', { link: 'br0', services: new Map([['web', { ...service, owner: '(cni)', members: [] }]]) }],
  ]);
  assert.equal(
    servicesOf([{ ...mine, owner: '' }], unknown).length,
    1,
    'its host reports a member without a known owner as not belonging to a pod',
  );
});
