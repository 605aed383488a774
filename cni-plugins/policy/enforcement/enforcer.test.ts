import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { GroupChange, PeerPod } from '../kubernetes/peer-index.ts';
import { createEnforcer } from './enforcer.ts';
import type { OpenPod, RuleRequests } from './enforcer.ts';

const podOf = (id: string): OpenPod => ({
  ...{ id, namespace: 'default', labels: {}, rules: { egress: [] } },
  links: [{ hostInterface: `pc${id}`, addresses: ['10.9.0.2'], bridgeMac: '0a:58:0a:09:00:01' }],
});

const open = (enforcer: ReturnType<typeof createEnforcer>): void => {
  enforcer.open(podOf('one'));
  enforcer.settled();
};

test('a change that the kernel may not have applied is sent again', () => {
  const enforcer = createEnforcer();
  open(enforcer);
  assert.ok(enforcer.close('one').requests.length > 0);
  assert.ok(enforcer.close('one').requests.length > 0, 'the kernel may still have it');
  enforcer.settled();
  assert.deepEqual(enforcer.close('one').requests, []);
});

test('after an abandoned change, links that were open before are still open', () => {
  const enforcer = createEnforcer();
  open(enforcer);
  const giveUp = enforcer.keep();
  enforcer.close('one');
  giveUp();
  assert.ok(enforcer.rulesOf('one') !== undefined);
  const { requests } = enforcer.open(podOf('two'));
  assert.ok(
    requests.some(({ body }) => Buffer.from(body).includes('pcone_egress_profile')),
    'the tables are replaced and contain it',
  );
});

test('no transaction leads a pod with rules to a chain that the same transaction creates', () => {
  const grants = (count: number): OpenPod['rules'] => ({
    egress: Array.from({ length: count }, (_, at) => ({
      ...{ cidr: '10.9.0.7', protocol: 'tcp' as const },
      ports: { low: 2000 + at, high: 2000 + at },
    })),
  });
  const enforcer = createEnforcer();
  const made = ({ preparation, requests }: RuleRequests): string[][] =>
    [preparation, requests].map((all) =>
      all.filter(({ what }) => what === 'add the chain').map(({ on }) => on.split('_').slice(-2).join('_')),
    );
  const change = (rules: OpenPod['rules']): string[][] => {
    const found = made(enforcer.open({ ...podOf('one'), rules }));
    enforcer.settled();
    return found;
  };
  open(enforcer);
  const many = Array.from({ length: 20 }, (_, at) => `port_${at}`);
  assert.deepEqual(change(grants(20)), [[...many, 'profile_others'], []]);
  assert.deepEqual(change(grants(21)), [['port_20'], []]);
  assert.deepEqual(change(grants(21)), [[], []]);
  const isolation = { namespace: 'default', name: 'a', podSelector: [], egress: [] };
  const followed = enforcer.follow({ set: { policies: [isolation], namespaces: new Map() } });
  assert.deepEqual(made(followed), [['egress_policies'], []]);
  enforcer.settled();
  const [preparation, requests] = made(enforcer.open(podOf('two')));
  assert.deepEqual([preparation, requests?.length], [[], 3], 'nothing is restricted before the link is open');
});

test('a pod that the API no longer has keeps its last labels while it runs', () => {
  const enforcer = createEnforcer();
  const pod: OpenPod = { ...podOf('one'), uid: 'u-1' };
  const namespaces = new Map();
  const podSelector = [{ key: 'quarantine', operator: 'Exists', values: [] }] as const;
  enforcer.follow({
    set: { policies: [{ ...{ namespace: 'default', name: 'q' }, podSelector, egress: [] }], namespaces },
  });
  enforcer.open(pod);
  enforcer.follow({ pods: new Map([['default/u-1', { labels: { quarantine: 'yes' }, namedPorts: [] }]]) });
  assert.ok(enforcer.rulesOf('one')?.policies.egress !== undefined);
  enforcer.follow({ pods: new Map() });
  assert.ok(
    enforcer.rulesOf('one')?.policies.egress !== undefined,
    'its containers may still run for a while',
  );
  enforcer.close('one');
  enforcer.follow({ pods: new Map() });
  enforcer.open(pod);
  assert.equal(enforcer.rulesOf('one')?.policies.egress, undefined, 'nothing is stored for a pod that ended');
});

test('members that arrived while a change failed are in the next change', () => {
  let waiting: GroupChange[] = [];
  let key = '';
  const enforcer = createEnforcer({
    want: (group) => void (key = group.key),
    ...{ drop: () => undefined, putPod: () => undefined, putNamespaces: () => undefined },
    take: () => waiting.splice(0),
  });
  const ingress = [{ peers: [{ pods: [] }] }];
  enforcer.follow({
    set: { policies: [{ namespace: 'default', name: 'a', podSelector: [], ingress }], namespaces: new Map() },
  });
  open(enforcer);
  const broken = { key, remove: [], add: undefined as unknown as string[] };
  waiting = [{ key, add: ['10.9.0.77'], remove: [] }, broken];
  assert.throws(() => enforcer.close('one'));
  const { requests } = enforcer.open(podOf('one'));
  const member = Buffer.of(10, 9, 0, 77);
  assert.ok(requests.some(({ body }) => Buffer.from(body).includes(member)));
});

test('a rule that denies a group denies everything while the members of the group are not known', () => {
  let waiting: GroupChange[] = [];
  let key = '';
  const dropped: string[] = [];
  const enforcer = createEnforcer({
    want: (group) => void (key = group.key),
    drop: (gone) => void dropped.push(gone),
    ...{ putPod: () => undefined, putNamespaces: () => undefined },
    take: () => waiting.splice(0),
  });
  const egress = [{ action: 'deny', name: 'r', peers: [{ namespaces: [] }] }] as const;
  const policy = { name: 'c', tier: 'admin', priority: 1, subject: { namespaces: [] } } as const;
  const cluster = { policies: [{ ...policy, egress, ingress: [] }], namespaces: new Map([['default', {}]]) };
  enforcer.follow({ set: { policies: [], namespaces: new Map(), cluster } });
  open(enforcer);
  const denied = (): readonly unknown[] =>
    (enforcer.rulesOf('one')?.admin?.egress?.steps ?? []).map(({ action, group }) => [
      action,
      group === undefined ? 'everything' : [...group.members],
    ]);
  assert.deepEqual(denied(), [['deny', 'everything']]);
  enforcer.tidy();
  enforcer.tidy();
  assert.deepEqual(dropped, [], 'the rule still waits for its group');
  waiting = [{ key, whole: true, add: ['10.9.0.7'], remove: [] }];
  assert.ok(enforcer.follow({}).requests.length > 0);
  assert.deepEqual(denied(), [['deny', ['10.9.0.7']]]);
  waiting = [{ key, add: [], remove: ['10.9.0.7'], lacking: true }];
  enforcer.follow({});
  assert.deepEqual(denied(), [['deny', 'everything']]);
});

test('a pod whose labels are not known is isolated while a policy may select it, and is no peer', () => {
  const peers = new Map<string, PeerPod>();
  const enforcer = createEnforcer({
    want: () => undefined,
    drop: () => undefined,
    putNamespaces: () => undefined,
    take: (): readonly GroupChange[] => [],
    putPod: (id, pod) => void (pod === undefined ? peers.delete(id) : peers.set(id, pod)),
  });
  const pod: OpenPod = { ...podOf('one'), uid: 'u', rules: {}, labelsUnknown: true };
  const policy = { name: 'p', podSelector: [], ingress: [{}] };
  const follow = (change: Parameters<typeof enforcer.follow>[0]): void => {
    enforcer.follow(change);
    enforcer.settled();
  };
  const namespaces = new Map();
  enforcer.open(pod);
  enforcer.settled();
  assert.deepEqual(enforcer.rulesOf('one')?.policies, {});
  assert.equal(enforcer.isolates(pod), false);
  follow({ set: { namespaces, policies: [{ ...policy, namespace: 'elsewhere' }] } });
  assert.deepEqual(enforcer.rulesOf('one')?.policies, {});
  follow({ set: { namespaces, policies: [{ ...policy, namespace: 'default' }] } });
  const { egress, ingress } = enforcer.rulesOf('one')?.policies ?? {};
  for (const layer of [egress, ingress])
    assert.deepEqual(
      [layer?.grants.map(({ name }) => name), layer?.denies],
      [['itself'], 'labels of the pod (not known)'],
    );
  assert.equal(enforcer.isolates(pod), true);
  // The address belongs to no former pod any more.
  assert.deepEqual([peers.get('one')?.labelsUnknown, peers.get('one')?.addresses.length], [true, 1]);
  follow({ pods: new Map([['default/u', { labels: { app: 'web' }, namedPorts: [] }]]) });
  assert.deepEqual(Object.keys(enforcer.rulesOf('one')?.policies ?? {}), ['ingress']);
  assert.deepEqual(
    enforcer.rulesOf('one')?.policies.ingress?.grants.map(({ name }) => name),
    ['default/p', 'itself'],
  );
  assert.equal(peers.get('one')?.labelsUnknown, undefined);
  follow({ pods: new Map([['default/u', { labels: {}, namedPorts: [], labelsUnknown: true }]]) });
  assert.equal(enforcer.rulesOf('one')?.policies.egress?.denies, 'labels of the pod (not known)');
  assert.equal(peers.get('one')?.labelsUnknown, true);
});

test('a change of many rules is applied to some pods at a time, and pods that open meanwhile have the new rules', () => {
  const enforcer = createEnforcer();
  const podAt = (index: number): OpenPod => ({
    ...podOf(String(index)),
    rules: {},
    links: [{ hostInterface: `pc${index}`, addresses: [`10.9.0.${index}`] }],
  });
  const policyOf = (port: number, count: number) => ({
    ...{ namespace: 'default', name: 'many', podSelector: [] },
    ingress: Array.from({ length: count }, (_, at) => ({
      ports: [{ protocol: 'tcp' as const, port: { low: port + at, high: port + at } }],
    })),
  });
  const namespaces = new Map();
  const follow = (port?: number, count = 3000): boolean => {
    const set = port === undefined ? undefined : { policies: [policyOf(port, count)], namespaces };
    enforcer.follow(set === undefined ? {} : { set });
    enforcer.settled();
    return enforcer.isBehind();
  };
  /** The first port that each pod accepts. */
  const ports = (): (number | undefined)[] =>
    [1, 2, 3, 4].map((index) => {
      const [first] = enforcer.rulesOf(String(index))?.policies.ingress?.grants ?? [];
      return first?.ports?.[0]?.low;
    });
  for (const index of [1, 2, 3]) {
    enforcer.open(podAt(index));
    enforcer.settled();
  }
  assert.equal(follow(1000), true);
  assert.deepEqual(ports(), [1000, 1000, undefined, undefined]);
  enforcer.open(podAt(4));
  enforcer.settled();
  assert.deepEqual(ports(), [1000, 1000, undefined, 1000]);
  assert.equal(follow(), false);
  assert.deepEqual(ports(), [1000, 1000, 1000, 1000]);
  // The policy changes again before all pods have it: none is left with the former one.
  assert.equal(follow(2000), true);
  assert.equal(follow(3000, 10), true);
  while (follow());
  assert.deepEqual(ports(), [3000, 3000, 3000, 3000]);
});

test('pods that wait for their new rules still get them after an abandoned change', () => {
  const enforcer = createEnforcer();
  for (const id of ['one', 'two']) {
    enforcer.open({ ...podOf(id), rules: {} });
    enforcer.settled();
  }
  const giveUp = enforcer.keep();
  enforcer.follow({
    set: {
      policies: [{ namespace: 'default', name: 'a', podSelector: [], ingress: [] }],
      namespaces: new Map(),
    },
  });
  giveUp();
  enforcer.follow({});
  for (const id of ['one', 'two']) assert.ok(enforcer.rulesOf(id)?.policies.ingress !== undefined);
});

test('a pod that opens has the rules of groups that are known at once', () => {
  const enforcer = createEnforcer();
  const egress = [{ action: 'deny', name: 'r', peers: [{ namespaces: [] }] }] as const;
  const policy = { name: 'c', tier: 'admin', priority: 1, subject: { namespaces: [] } } as const;
  const cluster = { policies: [{ ...policy, egress, ingress: [] }], namespaces: new Map([['default', {}]]) };
  enforcer.follow({ set: { policies: [], namespaces: new Map([['default', {}]]), cluster } });
  open(enforcer);
  const { steps = [] } = enforcer.rulesOf('one')?.admin?.egress ?? {};
  assert.deepEqual(
    steps.map(({ action, group }) => [action, group === undefined ? 'everything' : [...group.members]]),
    [['deny', ['10.9.0.2']]],
  );
});

test('a pod that waits for its new rules still gets them after other rules for it were refused', () => {
  const enforcer = createEnforcer();
  const ids = ['one', 'two', 'three'];
  for (const id of ids) {
    enforcer.open({ ...podOf(id), rules: {} });
    enforcer.settled();
  }
  const ports = Array.from({ length: 4000 }, (_, at) => ({
    ...{ protocol: 'tcp' as const },
    port: { low: 1 + at, high: 1 + at },
  }));
  const policy = { namespace: 'default', name: 'a', podSelector: [], ingress: [{ ports }] };
  enforcer.follow({ set: { policies: [policy], namespaces: new Map() } });
  enforcer.settled();
  assert.equal(enforcer.rulesOf('three')?.policies.ingress, undefined);
  const refused = { cidr: 'nonsense', protocol: 'tcp' as const, ports: { low: 1, high: 1 } };
  assert.throws(() => enforcer.open({ ...podOf('three'), rules: { egress: [refused] } }));
  while (enforcer.isBehind()) {
    enforcer.follow({});
    enforcer.settled();
  }
  for (const id of ids) assert.ok(enforcer.rulesOf(id)?.policies.ingress !== undefined, id);
});

test('where many rules are missing, pods are isolated until their turn, which those with few rules do not wait for', () => {
  const enforcer = createEnforcer();
  const ports = (count: number) =>
    Array.from({ length: count }, (_, at) => ({
      protocol: 'tcp' as const,
      port: { low: at + 1, high: at + 1 },
    }));
  const sizes = { none: 0, many: 3000, few: 10, most: 4000 };
  const policies = Object.entries(sizes).flatMap(([namespace, count]) =>
    count === 0 ? [] : [{ namespace, name: 'p', podSelector: [], ingress: [{ ports: ports(count) }] }],
  );
  enforcer.follow({ set: { policies, namespaces: new Map() } });
  enforcer.settled();
  const pod = (id: string, namespace = id): OpenPod => ({ ...podOf(id), namespace, rules: {} });
  const pods = (): OpenPod[] => Object.keys(sizes).map((id) => pod(id));
  const granted = (): (number | undefined)[] =>
    Object.keys(sizes).map((id) => enforcer.rulesOf(id)?.policies.ingress?.grants.length);

  enforcer.restart(pods());
  enforcer.settled();
  assert.deepEqual([granted(), enforcer.isBehind()], [[undefined, 3001, 11, 4001], false]);

  enforcer.restart([...pods(), pod('late', 'most')], true);
  enforcer.settled();
  assert.deepEqual([granted(), enforcer.isBehind()], [[undefined, 3001, 11, 4001], true]);
  assert.deepEqual(enforcer.rulesOf('late')?.policies, {
    ingress: {
      grants: [{ peers: { four: [{ low: 168361986n, high: 168361986n }], six: [] }, name: 'itself' }],
      denies: 'NetworkPolicy most/p',
      unreadable: ['the rules of the NetworkPolicies are being recreated'],
    },
  });
  enforcer.follow({});
  enforcer.settled();
  assert.equal(enforcer.rulesOf('late')?.policies.ingress?.grants.length, 4001);
  assert.equal(enforcer.isBehind(), false);
});
