import assert from 'node:assert/strict';
import { constants } from 'node:os';
import { test } from 'node:test';
import { createLogger } from '../../../base/log/index.ts';
import { kernelRefused } from '../../../base/netlink/index.ts';
import type { Request } from '../../../base/netlink/index.ts';
import type { AttachmentRecord, AttachmentSpec } from '../../database/record.ts';
import { createRulesInForce } from './rules-in-force.ts';
import type { RulesDeps, RulesInForce } from './rules-in-force.ts';
import type { PolicyChange } from '../../policy/index.ts';

/** A change of whole tables, transaction by transaction, in a model of the kernel that knows tables only. */

const spec: Partial<AttachmentSpec> = {
  hostInterface: 'pc1',
  interface: 'eth0',
  mac: '02:00:00:00:00:02',
  bridge: {
    ...{ name: 'br', mac: '02:00:00:00:00:01', addresses: ['10.1.0.1/16'] },
    ...{ promiscuous: false, hairpin: false },
  },
  addresses: [{ ip: '10.1.0.2', prefixLength: 16, gateway: '10.1.0.1' }],
  subnets: ['10.1.0.0/16'],
  pod: { name: 'web', namespace: 'shop', uid: 'web' },
  portMappings: [],
  routes: [],
  masquerade: true,
  snat: true,
};
const egressTo = (cidr: string): AttachmentRecord['rules'] => ({
  egress: [{ cidr, protocol: 'tcp', ports: { low: 443, high: 443 } }],
});
const record: AttachmentRecord = {
  id: 'one',
  state: 'ready',
  class: 'user',
  rules: egressTo('10.2.0.0/16'),
  spec: spec as AttachmentSpec,
};
const own = [
  ...['bridge portcullis', 'ip portcullis'],
  ...['bridge portcullis_rules', 'inet portcullis_rules'],
];

interface Model {
  readonly rules: RulesInForce;
  readonly existing: Set<string>;
  /** The tables that each transaction replaced or deleted, and those that it did not touch. */
  readonly transactions: {
    readonly replaced: string[];
    readonly untouched: string[];
    readonly requests: readonly Request[];
  }[];
  /** The attachments; a test changes them. */
  readonly records: AttachmentRecord[];
  refuseNext(when: (replaced: readonly string[]) => boolean, failure?: Error): void;
}

function model(...before: readonly string[]): Model {
  return modelWith({}, ...before);
}

function modelWith(policies: PolicyChange, ...before: readonly string[]): Model {
  const existing = new Set(before);
  const transactions: Model['transactions'] = [];
  const records = [record];
  let refuses: (replaced: readonly string[]) => boolean = () => false;
  let refusal = new Error('refused');
  const commit = (requests: readonly Request[]): void => {
    if (requests.length === 0) return;
    const deleted = new Set(requests.flatMap(({ what, on }) => (what === 'delete the table' ? [on] : [])));
    const replaced = [...deleted].filter((table) => existing.has(table));
    if (refuses(replaced)) {
      refuses = () => false;
      throw refusal;
    }
    const untouched = [...existing].filter((table) => !deleted.has(table));
    transactions.push({ replaced, untouched, requests });
    for (const { what, on } of requests) {
      if (what === 'add the table') existing.add(on);
      if (what === 'delete the table') existing.delete(on);
    }
  };
  const kernel: RulesDeps['kernel'] = {
    hasTable: ({ family, name }) => existing.has(`${family} ${name}`),
    lacksRules: () => false,
    link: () => undefined,
    rules: commit,
  };
  const rules = createRulesInForce({
    store: { records: () => records },
    kernel,
    policies: { changed: () => policies },
    log: createLogger({ level: 'silent' }),
  });
  return {
    ...{ rules, existing, transactions, records },
    refuseNext(when, failure = new Error('refused')) {
      [refuses, refusal] = [when, failure];
    },
  };
}

const isCopy = (table: string): boolean => table.endsWith('_copy');

test('while a table is replaced, a copy of it is in force', () => {
  const { rules, existing, transactions } = model(...own);
  rules.rebuild();
  assert.equal(transactions.length, 3);
  for (const { replaced, untouched } of transactions)
    for (const table of replaced)
      assert.ok(untouched.includes(isCopy(table) ? table.replace(/_copy$/u, '') : `${table}_copy`), table);
  assert.deepEqual([...existing].sort(), [...own].sort());
});

test('tables that did not exist are created by one transaction', () => {
  const { rules, existing, transactions } = model();
  rules.rebuild();
  assert.equal(transactions.length, 1);
  assert.deepEqual([...existing].sort(), [...own].sort());
});

test('copies that a killed daemon left are replaced before the tables, and deleted after them', () => {
  const copies = own.map((table) => `${table}_copy`);
  const { rules, existing, transactions } = model(...own, ...copies);
  rules.rebuild();
  assert.deepEqual(
    transactions.map(({ replaced }) => [...new Set(replaced.map(isCopy))]),
    [[true], [false], [true]],
  );
  assert.deepEqual([...existing].sort(), [...own].sort());
  for (const table of copies) existing.add(table);
  rules.remove();
  assert.deepEqual([...existing], []);
});

test('when the kernel refuses the tables, the old ones stay and the copies are deleted', () => {
  const { rules, existing, refuseNext } = model(...own);
  refuseNext((replaced) => replaced.includes('bridge portcullis'));
  assert.throws(() => rules.rebuild(), /refused/u);
  assert.deepEqual([...existing].sort(), [...own].sort());
});

test('peer rules that the kernel refused are replaced beside a copy of the tables, too', () => {
  const { rules, transactions, refuseNext } = model(...own);
  rules.rebuild();
  refuseNext(() => true);
  const requests = rules.ofPeers({ ...record, rules: egressTo('10.3.0.0/16') });
  assert.throws(() => rules.change(record, [], requests), /refused/u);
  transactions.length = 0;
  rules.followPolicies();
  assert.deepEqual(
    transactions.map(({ replaced }) => replaced),
    [[], ['bridge portcullis_rules', 'inet portcullis_rules'], [...own.slice(2).map((t) => `${t}_copy`)]],
  );
});

test('copies that the kernel does not delete at first are deleted by the next check', () => {
  const { rules, existing, refuseNext } = model(...own);
  refuseNext((replaced) => replaced.length > 0 && replaced.every(isCopy));
  rules.rebuild();
  assert.ok([...existing].some(isCopy), 'the rules are in force, and the copies as well');
  rules.lookAfter();
  assert.deepEqual([...existing].sort(), [...own].sort());
  assert.equal(rules.repairs(), 0);
});

/** Whether requests add the subnet of the record to the subnets whose packets are masqueraded. */
const addsSubnet = (requests: readonly Request[]): boolean =>
  requests.some(({ what, on, body }) => {
    const bytes = Buffer.from(body);
    return (
      what === 'add elements to the set' &&
      on.includes('masquerade') &&
      bytes.includes(Buffer.of(10, 1, 0, 0))
    );
  });

test('a repair keeps the subnets of networks whose last pod is gone; a rebuild for another network does not', () => {
  const { rules, records, existing, transactions, refuseNext } = model(...own);
  rules.rebuild();
  records.length = 0;
  existing.delete('ip portcullis');
  rules.lookAfter();
  assert.equal(rules.repairs(), 1);
  assert.ok(transactions.some(({ requests }) => addsSubnet(requests)));

  transactions.length = 0;
  refuseNext(() => true, kernelRefused({ what: 'delete elements of', on: 'a set' }, constants.errno.ENOENT));
  rules.forget({ ...record, state: 'detaching' });
  assert.equal(rules.repairs(), 2);
  assert.ok(transactions.some(({ requests }) => addsSubnet(requests)));

  transactions.length = 0;
  rules.expect(record);
  assert.deepEqual(transactions, [], 'the tables already contain the subnet');

  const other = { ...record, id: 'two', spec: { ...record.spec, subnets: ['10.9.0.0/16'] } };
  records.push(other);
  rules.expect(other);
  assert.ok(transactions.length > 0);
  assert.ok(!transactions.some(({ requests }) => addsSubnet(requests)));
});

test('the tables of peer rules stay as they are when another network is added', () => {
  const steps: readonly ((rules: RulesInForce, added: AttachmentRecord) => void)[] = [
    (rules, added) => rules.expect(added),
    (rules, added) => rules.change(added, []),
  ];
  for (const step of steps) {
    const { rules, records, transactions } = model(...own);
    rules.rebuild();
    transactions.length = 0;
    const added: AttachmentRecord = {
      ...record,
      id: 'two',
      state: 'attaching',
      class: 'deny',
      rules: {},
      spec: { ...record.spec, subnets: ['10.9.0.0/16'] },
    };
    records.push(added);
    step(rules, added);
    const replaced = transactions.flatMap((each) => each.replaced);
    assert.ok(replaced.includes('bridge portcullis'));
    assert.ok(!replaced.some((table) => table.includes('_rules')), replaced.join(', '));
  }
});

test('after a flush, pods with many rules are isolated at once, and get their rules in parts', () => {
  const ports = Array.from({ length: 4000 }, (_, at) => ({
    protocol: 'tcp' as const,
    port: { low: at + 1, high: at + 1 },
  }));
  const policy = { namespace: 'shop', name: 'p', podSelector: [], ingress: [{ ports }] };
  const set = { policies: [policy], namespaces: new Map() };
  const { rules, existing, records } = modelWith({ set }, ...own);
  for (const [at, id] of ['two', 'three'].entries())
    records.push({
      ...record,
      id,
      spec: {
        ...record.spec,
        hostInterface: `pc${at + 2}`,
        addresses: [{ ip: `10.1.0.${at + 3}`, prefixLength: 16, gateway: '10.1.0.1' }],
      },
    });
  const granted = (): (number | undefined)[] =>
    ['one', 'two', 'three'].map((id) => rules.policy.rulesOf(id)?.policies.ingress?.grants.length);
  rules.rebuild();
  while (!rules.followPolicies());
  assert.deepEqual(granted(), [4001, 4001, 4001]);
  rules.rebuild();
  assert.deepEqual(granted(), [4001, 4001, 4001], 'tables that exist are replaced as a whole');

  existing.clear();
  rules.lookAfter();
  assert.deepEqual([...existing].sort(), [...own].sort());
  assert.deepEqual(granted(), [4001, 4001, 1], 'the last grants only the pod itself');
  assert.equal(rules.followPolicies(), true);
  assert.deepEqual(granted(), [4001, 4001, 4001]);
});
