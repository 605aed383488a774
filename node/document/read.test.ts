import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import { parseDocuments } from '../../base/schema/index.ts';
import { linesOf } from '../../cni-plugins/index.ts';
import { serviceDocument } from '../controllers/services.ts';
import type { NodeState, WantedService } from '../model/types.ts';
import { documentReader } from './read.ts';
import type { ReadDocument } from './read.ts';
import { nodeSchemas, testControllers } from './schemas.fixture.ts';

const reader = documentReader(testControllers());
const serviceDocumentNames = (service: WantedService): readonly string[] =>
  parseDocuments(serviceDocument(service), 'service').documents.map(
    ({ value }) => (value as { readonly metadata: { readonly name: string } }).metadata.name,
  );
const head = 'apiVersion: portcullis.dev/v1alpha1\nkind: NodeState\n';
const folder = mkdtempSync(join(tmpdir(), 'pc-node-document-'));
const read = (text: string) => reader.nodeState(`${head}${text}`, join(folder, 'state.yaml'));
async function problemsOf(text: string): Promise<readonly string[]> {
  const found = await read(text);
  return 'problems' in found ? linesOf(found.problems).map((line) => line.replace(`${folder}/`, '')) : [];
}

describe('a document of the kind NodeState', () => {
  after(() => rmSync(folder, { recursive: true }));

  it('reports every problem at its position in one run, also problems of services and of files', async () => {
    const lines = await problemsOf(`sysctl: {}
sysctls: { kernel.core_pattern: "|/x", net.ipv4.ip_forward: 1 }
networks: [{ name: pods, subnet: [10.99.0.0/24] }]
services: [{ name: web, addresses: [10.96.0.300], ports: [80] }]
policies: [{ name: a.yaml }, { name: b.yaml, from: gone.yaml }]
images: [{ image: a }, { image: a }]
`);
    assert.deepEqual(
      lines.map((line) => /^state\.yaml:\d+:\d+: [^:]*/u.exec(line)?.[0]),
      [
        'state.yaml:3:1: sysctl',
        'state.yaml:4:33: sysctls["kernel.core_pattern"]',
        'state.yaml:5:12: networks[0]',
        'state.yaml:5:26: networks[0].subnet',
        'state.yaml:6:37: services[0].addresses[0]',
        'state.yaml:7:12: policies[0]',
        'state.yaml:7:52: policies[1].from',
        'state.yaml:8:33: images[1].image',
      ],
      lines.join('\n'),
    );
    assert.match(lines[0] ?? '', /did you mean `sysctls`/u);
  });

  it('refuses items that no node could have, and items that exclude each other', async () => {
    const lines = await problemsOf(`networks:
  - { name: a, subnets: [nonsense] }
  - { name: b, subnets: [10.0.0.0/8] }
  - { name: c, subnets: [10.2.0.0/16], type: ptp }
  - { name: d, subnets: [127.0.0.0/8] }
  - { name: e, subnets: [11.0.0.0/8], link: br9 }
  - { name: f, subnets: [11.1.0.0/16], link: br9 }
  - { name: g, subnets: [10.3.0.0/16], type: macvlan }
images: [{ image: UPPER/x }, { image: nginx }]
services:
  - { name: x/a, addresses: [10.96.0.1], ports: [80] }
  - { name: x/b, addresses: [10.96.0.2, 10.96.0.1], ports: [{ port: 80, protocol: udp }, 80] }
  - { name: x/c, addresses: [10.96.0.1], ports: [81] }
staticPods:
  - { name: p, containers: [{ name: x, image: a@b }, { name: y, image: "${'0'.repeat(64)}" }] }
`);
    assert.deepEqual(
      lines.map((line) => /^state\.yaml:\d+:\d+: [^;]*/u.exec(line)?.[0]),
      [
        'state.yaml:4:5: networks[0]: "nonsense" is not a subnet such as 10.88.0.0/16',
        'state.yaml:6:5: networks[2]: 10.0.0.0/8 of the network b overlaps',
        'state.yaml:7:5: networks[3]: addresses of 127.0.0.0/8 are of loopback: no pod could be reached through them',
        'state.yaml:11:19: images[0].image: the repository must be lower case',
        'state.yaml:14:41: services[1].addresses[1]: 10.96.0.1 port 80/tcp belongs to the service x/a',
        'state.yaml:17:47: staticPods[0].containers[0].image: the part after @ is not a sha256 or sha512 digest',
      ],
      lines.join('\n'),
    );
  });

  it('refuses a setting that runs a program, that cannot be undone, or that leads out of /proc/sys', async () => {
    for (const name of [
      'kernel.modprobe',
      'kernel.modules_disabled',
      'vm.drop_caches',
      'net.ipv4/../../kernel.core_pattern',
      'net.//kernel.hostname',
      'network.x',
      'kernel.panic.x',
    ])
      assert.notDeepEqual(await problemsOf(`sysctls: { "${name}": "1" }\n`), [], name);
    assert.deepEqual(await problemsOf('sysctls: { net.ipv4.conf.eth0/100.rp_filter: 1 }\n'), []);
  });

  it('refuses two settings of which the kernel has only one', async () => {
    const lines = await problemsOf(`sysctls:
  vm.dirty_bytes: 100000000
  vm.dirty_ratio: 10
  net.ipv4.ip_forward: 1
  net.ipv4.conf.all.forwarding: 0
  net.nf_conntrack_max: 1000
  net.netfilter.nf_conntrack_max: " 1000"
`);
    assert.deepEqual(
      lines.map((line) => /^[^ ]*/u.exec(line)?.[0]),
      ['state.yaml:5:19:', 'state.yaml:6:24:'],
      lines.join('\n'),
    );
    assert.match(lines[0] ?? '', /vm\.dirty_bytes, and the kernel uses only one of the two/u);
    assert.match(lines[1] ?? '', /net\.ipv4\.conf\.all\.forwarding, which has the value 0/u);
  });

  it('refuses a service that would be applied under the name of another one', async () => {
    const fields = 'addresses: [10.96.0.10], ports: [80], backends: [10.88.0.2]';
    const lines = await problemsOf(`services: [{ name: web, metadata: { name: other }, ${fields} }]\n`);
    assert.equal(lines.length, 1, lines.join('\n'));
    assert.match(lines[0] ?? '', /services\[0\]\.metadata/u);
    const [service] = serviceDocumentNames({ name: 'web', metadata: { name: 'other' } });
    assert.equal(service, 'web');
  });

  it('includes the content of its files, so that it can be sent to other nodes', async () => {
    writeFileSync(join(folder, 'policy.yaml'), 'rules\n');
    const found = await read('policies: [{ name: a.yaml, from: policy.yaml }]\n');
    assert.ok('value' in found);
    assert.deepEqual(found.value.policies, [{ name: 'a.yaml', content: 'rules\n' }]);
    assert.equal(reader.refuses(structuredClone(found.value)), undefined);
  });

  it('reads no file outside the folder of the document, also not by a link', async () => {
    mkdirSync(join(folder, 'below'));
    writeFileSync(join(folder, 'secret'), 'content: secret\n');
    symlinkSync('../secret', join(folder, 'below/link.yaml'));
    symlinkSync('own.yaml', join(folder, 'below/own-link.yaml'));
    writeFileSync(join(folder, 'below/own.yaml'), 'rules\n');
    const policies = (from: string): Promise<ReadDocument<NodeState>> =>
      reader.nodeState(
        `${head}policies: [{ name: a.yaml, from: ${from} }]\n`,
        join(folder, 'below/state.yaml'),
      );
    for (const from of ['../secret', join(folder, 'secret'), 'link.yaml', '/etc/passwd', '.']) {
      const found = await policies(from);
      assert.ok('problems' in found, from);
      assert.match(linesOf(found.problems).join('\n'), /not in the folder of the document; move/u, from);
    }
    assert.ok('value' in (await policies('own-link.yaml')));
  });

  it('is refused from etcd when it is not a valid state, or has settings that may not be set', async () => {
    const found = await read('');
    assert.ok('value' in found);
    assert.match(
      reader.refuses({ ...found.value, sysctls: { 'kernel.modprobe': '/x' } }) ?? '',
      /kernel\.modprobe/u,
    );
    const network = { name: 'pods', subnets: ['10.0.0.0/24'] };
    assert.match(reader.refuses({ ...found.value, networks: [network, network] }) ?? '', /occurs twice/u);
    assert.match(reader.refuses({ ...found.value, policies: [{ name: 'a' }] }) ?? '', /no content/u);
    const service = { name: 'web', metadata: { name: 'other' }, addresses: ['10.96.0.300'] };
    assert.match(reader.refuses({ ...found.value, services: [service] }) ?? '', /metadata.*ports/su);
    assert.match(reader.refuses({ ...found.value, sysctls: 'x' }) ?? '', /sysctls/u);
    assert.match(reader.refuses({}) ?? '', /no section/u);
    for (const value of [null, 'x', 5, []]) assert.notEqual(reader.refuses(value), undefined);
  });

  it('is not a NodeGroup, for which there is another command', async () => {
    const group = 'apiVersion: portcullis.dev/v1alpha1\nkind: NodeGroup\nmetadata: { name: web }\n';
    const state = await reader.nodeState(group, join(folder, 'web.yaml'));
    assert.ok('problems' in state);
    assert.match(
      linesOf(state.problems).join('\n'),
      /^\S+:2:7: kind: it is a NodeGroup, .* use `portcullis node group apply`$/u,
    );
    const other = await reader.nodeGroup(`${head}sysctls: {}\n`, join(folder, 'node.yaml'));
    assert.ok('problems' in other);
    assert.match(
      linesOf(other.problems).join('\n'),
      /^\S+:2:7: kind: it is a NodeState, .* use `portcullis node apply`$/u,
    );
  });

  it('has a kind that is a text', async () => {
    for (const kind of ['{ toString: x }', '[NodeGroup]', '5', 'null']) {
      const found = await reader.nodeState(head.replace('NodeState', kind), join(folder, 'node.yaml'));
      assert.ok('problems' in found);
      assert.match(linesOf(found.problems).join('\n'), /^\S+:2:7: kind: must be "NodeState"/mu, kind);
    }
  });

  it('is one document of a megabyte at most', async () => {
    assert.match((await problemsOf('---\nkind: NodeState\n')).join('\n'), /second document/u);
    const large = `policies: [{ name: a, content: "${'x'.repeat(1024 * 1024)}" }]\n`;
    assert.match((await problemsOf(large)).join('\n'), /more than 1048576 bytes/u);
  });
});

it('the published schemas are those of the controllers', () => {
  for (const [name, schema] of Object.entries(nodeSchemas()))
    assert.deepEqual(
      JSON.parse(readFileSync(new URL(`../../docs/schemas/${name}.json`, import.meta.url), 'utf8')),
      JSON.parse(JSON.stringify(schema)),
      `sh packaging/node test/house/node-reference.ts writes ${name}.json`,
    );
});
