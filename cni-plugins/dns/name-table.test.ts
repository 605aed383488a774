import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { namesAt, namesOf } from '../database/call-names.ts';
import { openNetworkDatabase } from '../database/database.ts';
import { createNameStore } from '../database/endpoint-names.ts';
import type { NetworkName } from '../database/endpoint-names.ts';
import { createPluginAttachmentStore } from '../database/plugin-attachments.ts';
import { bootOf } from '../namespaces/namespace-id.ts';
import { ipBytes, parseIp } from '../../base/addresses/index.ts';
import { createNameTable } from './name-table.ts';

const folder = mkdtempSync(join(tmpdir(), 'portcullis-name-table-'));
after(() => rmSync(folder, { recursive: true, force: true }));
const writing = openNetworkDatabase(join(folder, 'network.db'));
const reading = openNetworkDatabase(join(folder, 'network.db'));
after(() => [writing, reading].forEach((database) => database.close()));
const [names, pluginAttachments] = [createNameStore(writing), createPluginAttachmentStore(writing)];

const namespaceId = `${bootOf()}/1`;
const network = 'shop';

function attach(containerId: string, called: readonly NetworkName[]): void {
  const key = { network, containerId, interface: 'eth0' };
  const attachment = pluginAttachments.attachment(namespaceId, key, `pc${containerId.slice(0, 8)}`);
  pluginAttachments.begin({
    attachment,
    key,
    type: 'bridge',
    netns: '',
    resources: [],
    result: { interfaces: [], ips: [], routes: [], dns: {} },
  });
  names.put({ namespaceId, network, holder: `${containerId}/eth0`, attachment }, called);
}

test('a reverse lookup returns the name that users know', () => {
  const table = createNameTable(reading);
  const address = (text: string): NonNullable<ReturnType<typeof parseIp>> => {
    const parsed = parseIp(text);
    assert.ok(parsed !== undefined);
    return parsed;
  };
  const nameOf = (text: string): string | undefined => {
    table.changed();
    const served = { namespaceId, name: network, gateways: [], subnets: [] };
    return table.seenBy(address('10.0.0.99'), served).networks[0]?.nameOf(ipBytes(address(text)));
  };
  const [podId, endpointId, bareId] = ['0a'.repeat(32), '0b'.repeat(32), '0c'.repeat(32)];

  const pod = {
    containerId: podId,
    pod: 'web-0',
    namespace: 'aa',
    aliases: ['a-front'],
    addresses: ['10.0.0.2', 'fd00::2'],
  };
  attach(podId, namesOf(pod));
  assert.deepEqual(
    [nameOf('10.0.0.2'), nameOf('fd00::2')],
    ['web-0', 'web-0'],
    'for a pod, its name without id, namespace or alias',
  );

  attach(endpointId, [
    ...namesAt(['10.0.0.3'], 'alias', ['1f00d1f00d1f', 'api']),
    ...namesAt(['10.0.0.3'], 'container', ['project_web_1']),
    ...namesAt(['10.0.0.3'], 'service', ['all', 'tasks.all']),
  ]);
  assert.equal(nameOf('10.0.0.3'), 'project_web_1', 'for a Docker container, its name');

  const call = { containerId: 'cnitool-77383ca0', pod: '', namespace: '', addresses: ['10.0.0.4'] };
  attach('cnitool-77383ca0', [
    ...namesOf({ ...call, aliases: ['tool'] }),
    ...namesAt(['10.0.0.4'], 'service', ['all']),
  ]);
  assert.equal(nameOf('10.0.0.4'), 'tool', 'for a caller of CNI, its alias rather than its id');
  attach('Blue', [
    ...namesOf({ ...call, containerId: 'Blue', aliases: [], addresses: ['10.0.0.5'] }),
    ...namesAt(['10.0.0.5'], 'service', ['all']),
  ]);
  assert.equal(nameOf('10.0.0.5'), 'blue', 'its id rather than a service that it shares');
  attach(bareId, namesOf({ ...call, containerId: bareId, aliases: [], addresses: ['10.0.0.6'] }));
  assert.equal(nameOf('10.0.0.6'), bareId.slice(0, 12));

  names.put({ namespaceId, network, holder: 'service all' }, namesAt(['10.96.0.1'], 'service', ['all']));
  assert.equal(nameOf('10.96.0.1'), 'all');
  assert.equal(nameOf('10.0.0.77'), undefined);
  names.put({ namespaceId, network, holder: 'service all' }, namesAt(['10.0.0.77'], 'service', ['all']));
  assert.deepEqual(
    [nameOf('10.0.0.77'), nameOf('10.96.0.1')],
    ['all', undefined],
    'nothing is cached beyond a change',
  );
});

test('a name in two namespaces resolves to the client’s namespace, otherwise to the first; a name with a dot is never the name of a pod', () => {
  const table = createNameTable(reading);
  const own = (containerId: string, namespace: string, pod: string, address: string): void => {
    const key = { network: 'mall', containerId, interface: 'eth0' };
    const attachment = pluginAttachments.attachment(namespaceId, key, `pd${containerId.slice(0, 8)}`);
    pluginAttachments.begin({
      attachment,
      key,
      type: 'bridge',
      netns: '',
      resources: [],
      result: { interfaces: [], ips: [], routes: [], dns: {} },
    });
    const called = namesOf({ containerId, pod, namespace, aliases: [pod], addresses: [address] });
    names.put(
      { namespaceId, network: 'mall', holder: `${containerId}/eth0`, attachment, owner: namespace },
      called,
    );
  };
  const seen = (asker: string, name: string, asked?: 'whole'): string[] => {
    table.changed();
    const served = { namespaceId, name: 'mall', gateways: [], subnets: [] };
    const from = parseIp(asker);
    assert.ok(from);
    const found = table.seenBy(from, served).networks[0]?.endpoints(name, asked) ?? [];
    return found.map(({ address }) => address.join('.')).toSorted();
  };
  own('one-web', 'one', 'web', '10.3.0.2');
  own('one-other', 'one', 'asker', '10.3.0.3');
  const late = Date.now() + 2;
  while (Date.now() < late);
  own('two-web', 'two', 'web', '10.3.0.4');
  own('two-more', 'two', 'web', '10.3.0.5');
  own('three', 'three', 'asks', '10.3.0.6');
  names.put(
    { namespaceId, network: 'mall', holder: 'service web', owner: 'evil' },
    namesAt(['10.3.9.9'], 'service', ['web', 'tasks.web']),
  );
  assert.deepEqual(seen('10.3.0.3', 'web'), ['10.3.0.2']);
  assert.deepEqual(seen('10.3.0.4', 'web'), ['10.3.0.4', '10.3.0.5']);
  assert.deepEqual(seen('10.3.0.6', 'web'), ['10.3.0.2']);
  assert.deepEqual(seen('10.3.0.6', 'web.two'), ['10.3.0.4', '10.3.0.5'], 'below the name of the network');
  assert.deepEqual(seen('10.3.0.6', 'web.two', 'whole'), [], 'it may be an outside domain');
  const isOfOthers = (asker: string, name: string, asked?: 'whole'): boolean => {
    table.changed();
    const from = parseIp(asker);
    assert.ok(from);
    const found =
      table
        .seenBy(from, { namespaceId, name: 'mall', gateways: [], subnets: [] })
        .networks[0]?.endpoints(name, asked) ?? [];
    return found.length > 0 && found.every(({ ofOthers }) => ofOthers);
  };
  assert.deepEqual(
    (['10.3.0.3', '10.3.0.4', '10.3.0.6', '10.3.99.99'] as const).map((asker) =>
      isOfOthers(asker, 'web', 'whole'),
    ),
    [false, false, true, true],
    'for another namespace and for the host, other name servers take precedence',
  );
  assert.equal(isOfOthers('10.3.0.6', 'web'), false, 'below the name of the network, nobody else has it');
  own('evil', 'evil', 'member', '10.3.0.7');
  names.put(
    { namespaceId, network: 'mall', holder: 'service com', owner: 'evil' },
    namesAt(['10.3.9.8'], 'service', ['com', 'tasks.com']),
  );
  names.put(
    { namespaceId, network: 'mall', holder: 'service all' },
    namesAt(['10.3.9.7'], 'service', ['all', 'tasks.all']),
  );
  for (const [name, address] of [
    ['tasks.web', '10.3.9.9'],
    ['tasks.com', '10.3.9.8'],
  ] as const) {
    assert.deepEqual(seen('10.3.0.7', name, 'whole'), [address], 'for the owner of the service');
    assert.deepEqual(seen('10.3.0.6', name), [address], 'below the name of the network');
    for (const other of ['10.3.0.6', '10.3.99.99'])
      assert.deepEqual(seen(other, name, 'whole'), [], 'for others, it is an outside domain');
  }
  assert.deepEqual(seen('10.3.0.6', 'tasks.all', 'whole'), ['10.3.9.7'], 'a service without an owner');
  for (const [at, pod] of [
    'example.com',
    'api.example.com',
    'kubernetes.default.svc.cluster.local',
    'Example.COM.',
    '7.0.3.10.in-addr.arpa',
    'web.one',
  ].entries()) {
    own(`dotted-${at}`, 'evil', pod, `10.3.1.${at}`);
    const asked = pod.toLowerCase().replace(/\.$/u, '');
    for (const way of ['whole', undefined] as const)
      for (const name of [asked, `${asked}.evil`])
        assert.equal(seen('10.3.0.6', name, way).includes(`10.3.1.${at}`), false, name);
  }
});

test('a name of two namespaces stays with the first one although the clock was set back', (context) => {
  const table = createNameTable(reading);
  const got = (owner: string, address: string): void => {
    const holder = `${owner}-web/eth0`;
    names.put({ namespaceId, network: 'clock', holder, owner }, namesAt([address], 'container', ['web']));
  };
  got('first', '10.4.0.2');
  const hourAgo = Date.now() - 3_600_000;
  context.mock.method(Date, 'now', () => hourAgo);
  got('evil', '10.4.0.3');
  table.changed();
  const asker = parseIp('10.4.0.9');
  assert.ok(asker);
  const { networks } = table.seenBy(asker, { namespaceId, name: 'clock', gateways: [], subnets: [] });
  const found = networks[0]?.endpoints('web') ?? [];
  assert.deepEqual(
    found.map(({ address }) => address.join('.')),
    ['10.4.0.2'],
  );
});

test('addresses without an attachment cause no query of the database, and displace no cached address with an attachment', () => {
  let queries = 0;
  const counting = {
    prepare(sql: string) {
      const statement = reading.db.prepare(sql);
      const counted =
        <T>(call: (...values: string[]) => T) =>
        (...values: string[]): T => {
          queries += 1;
          return call(...values);
        };
      return {
        get: counted((...values) => statement.get(...values)),
        all: counted((...values) => statement.all(...values)),
      };
    },
  } as unknown as typeof reading.db;
  const table = createNameTable({ db: counting });
  const addressOf = (text: string): NonNullable<ReturnType<typeof parseIp>> => {
    const parsed = parseIp(text);
    assert.ok(parsed !== undefined);
    return parsed;
  };
  const pod = addressOf('10.0.0.2');
  table.changed();
  assert.ok(table.seenOnHost(pod, namespaceId)?.isAttached);
  const before = queries;
  for (let one = 0; one < 20_000; one += 1)
    assert.equal(table.seenOnHost(addressOf(`10.99.${one >> 8}.${one & 255}`), namespaceId), undefined);
  assert.ok(table.seenOnHost(pod, namespaceId)?.isAttached);
  assert.equal(queries, before);
});

test('an attachment of a third-party plugin is found by the address in its result until it is removed', () => {
  const table = createNameTable(reading);
  const key = { network: 'others', containerId: 'other', interface: 'eth0' };
  const attachment = pluginAttachments.attachment(namespaceId, key, 'pcother');
  const asker = parseIp('fd00:99::2');
  assert.ok(asker !== undefined);
  table.changed();
  assert.equal(table.seenOnHost(asker, namespaceId), undefined);
  const part = { attachment, key, type: 'other', netns: '', resources: [] };
  const result = { interfaces: [], ips: [{ address: 'fd00:99::2/64' }], routes: [], dns: {} };
  pluginAttachments.begin({ ...part, result });
  assert.equal(table.changed(), true);
  assert.ok(table.seenOnHost(asker, namespaceId)?.isAttached);
  assert.equal(table.seenOnHost(asker, `${namespaceId}1`), undefined, 'in another host network namespace');
});

test('every asker gets all members of a service that several namespaces share, and no alias of another service', () => {
  const table = createNameTable(reading);
  const insert = writing.db.prepare(
    "INSERT INTO service_member (attachment, realm, network, service, document, owner) VALUES (?, ?, 'plaza', ?, '{}', ?)",
  );
  const join = (containerId: string, owner: string, address: string, service: string, ...more: string[]) => {
    const key = { network: 'plaza', containerId, interface: 'eth0' };
    const attachment = pluginAttachments.attachment(namespaceId, key, `pe${containerId.slice(0, 8)}`);
    insert.run(attachment, namespaceId, service, owner);
    names.put({ namespaceId, network: 'plaza', holder: `${containerId}/eth0`, attachment, owner }, [
      ...namesAt([address], 'container', [containerId]),
      ...namesAt([address], 'service', [`tasks.${service}`, service, ...more]),
    ]);
  };
  join('first', 'one', '10.4.0.2', 'db');
  const late = Date.now() + 2;
  while (Date.now() < late);
  join('second', 'two', '10.4.0.3', 'db');
  join('thief', 'evil', '10.4.0.4', 'other', 'db');
  join('asks', 'three', '10.4.0.5', 'mine');
  const seen = (asker: string, name: string, asked?: 'whole'): string[] => {
    table.changed();
    const from = parseIp(asker);
    assert.ok(from);
    const served = { namespaceId, name: 'plaza', gateways: [], subnets: [] };
    const found = table.seenBy(from, served).networks[0]?.endpoints(name, asked) ?? [];
    return found.map(({ address }) => address.join('.')).toSorted();
  };
  const members = ['10.4.0.2', '10.4.0.3'];
  for (const asker of ['10.4.0.2', '10.4.0.3']) {
    assert.deepEqual(seen(asker, 'tasks.db', 'whole'), members, asker);
    assert.deepEqual(seen(asker, 'db', 'whole'), members, asker);
  }
  assert.deepEqual(seen('10.4.0.5', 'tasks.db'), members, 'for another namespace');
  assert.deepEqual(seen('10.4.0.5', 'db'), members, 'for another namespace, by the service’s name');
  assert.deepEqual(seen('10.4.0.5', 'tasks.db', 'whole'), [], 'for others, it is an outside domain');
  assert.deepEqual(seen('10.4.0.4', 'db'), ['10.4.0.4'], 'the owner of an alias gets its own');
});
