import assert from 'node:assert/strict';
import { test } from 'node:test';
import { linkGroups } from '../../database/record.ts';
import type { AttachmentRecord, AttachmentState } from '../../database/record.ts';
import type { Link } from '../../../base/netlink/index.ts';
import { planReconciliation } from './plan.ts';

const tag = 'portcullis:1';
const link = (name: string, more: Partial<Link> = {}): Link => ({
  index: 9,
  name,
  up: true,
  mtu: 1500,
  mac: '',
  group: linkGroups.pod,
  master: 3,
  peer: 2,
  kind: 'veth',
  alias: tag,
  promiscuous: false,
  ...more,
});
const bridge = link('cni0', { index: 3, group: linkGroups.bridge, master: 0, kind: 'bridge' });

function record(state: AttachmentState): AttachmentRecord {
  const spec: AttachmentRecord['spec'] = {
    network: 'n',
    pod: { name: 'p', namespace: 'd', uid: 'u' },
    netns: '/pinned',
    hostInterface: 'pcaaaaaaaaaaaa',
    interface: 'eth0',
    mac: '0a:58:0a:01:00:02',
    mtu: 1500,
    bridge: { name: 'cni0', mac: '0a:58:0a:01:00:01', addresses: [], hairpin: false, promiscuous: false },
    addresses: [],
    routes: [],
    portMappings: [],
    snat: false,
    masquerade: false,
    subnets: [],
  };
  return { id: 'a', state, class: 'deny', rules: {}, spec };
}

const own = link('pcaaaaaaaaaaaa');
const rows: [what: string, records: AttachmentRecord[], links: Link[], namespace: boolean, plan: string[]][] =
  [
    ['nothing anywhere', [], [], true, []],
    ['everything as recorded', [record('ready')], [bridge, own], true, []],
    ['half attached', [record('attaching')], [bridge, own], true, ['release a', 'delete-bridge cni0']],
    ['half attached, link not made yet', [record('attaching')], [], true, ['release a']],
    [
      'half detached',
      [record('detaching')],
      [bridge, { ...own, group: linkGroups.deleting, master: 0 }],
      true,
      ['release a', 'delete-bridge cni0'],
    ],
    ['link lost, namespace exists', [record('ready')], [bridge], true, ['remake a']],
    ['link lost, namespace gone (a reboot)', [record('ready')], [], false, ['release a']],
    ['off its bridge', [record('ready')], [bridge, { ...own, master: 0 }], true, ['rejoin a']],
    ['down', [record('ready')], [bridge, { ...own, up: false }], true, ['rejoin a']],
    ['bridge lost', [record('ready')], [{ ...own, master: 0 }], true, ['rejoin a']],
    [
      'an unclaimed link',
      [record('ready')],
      [bridge, own, link('pcbbbbbbbbbbbb')],
      true,
      ['delete-link pcbbbbbbbbbbbb'],
    ],
    [
      "another root's link, and its idle bridge",
      [],
      [
        link('pcbbbbbbbbbbbb', { alias: 'portcullis:2' }),
        link('pccccccccccccc', { alias: '' }),
        link('other0', { ...bridge, index: 4, name: 'other0', alias: 'portcullis:2' }),
      ],
      true,
      [],
    ],
    [
      "a bridge of ours with another root's link on it",
      [],
      [bridge, link('pcbbbbbbbbbbbb', { alias: 'portcullis:2' })],
      true,
      [],
    ],
    [
      'half attached by an older version: its link and bridge have no alias',
      [record('attaching')],
      [
        { ...bridge, alias: '' },
        { ...own, alias: '' },
      ],
      true,
      ['release a', 'delete-bridge cni0'],
    ],
    ['in no group of ours', [record('ready')], [bridge, { ...own, group: 0 }], true, ['rejoin a']],
    [
      "of another kind, under the link's name",
      [record('ready')],
      [bridge, { ...own, kind: 'dummy' }],
      true,
      ['remake a'],
    ],
    [
      "somebody else's links",
      [],
      [
        link('pcap0', { group: 0 }),
        link('eth0', { group: linkGroups.pod }),
        link('cni0', { group: 0, kind: 'bridge' }),
      ],
      true,
      [],
    ],
    ['a bridge of ours with a third-party link on it', [], [bridge, link('tap0', { group: 0 })], true, []],
  ];
for (const [what, records, links, namespace, plan] of rows) {
  test(what, () => {
    const operations = planReconciliation(records, { links, tag, namespaceStands: () => namespace });
    assert.deepEqual(
      operations.map((operation) => `${operation.do} ${'id' in operation ? operation.id : operation.name}`),
      plan,
    );
  });
}
