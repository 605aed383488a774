import assert from 'node:assert/strict';
import { test } from 'node:test';
import { isPortcullisError } from '../../base/errors/index.ts';
import { podNetworks } from './pod-networks.ts';

const read = (text: string): unknown => podNetworks({ 'k8s.v1.cni.cncf.io/networks': text }, 'team');

test('both forms of the annotation are read', () => {
  for (const [text, expected] of [
    ['', []],
    ['shop', [{ network: 'shop' }]],
    [
      '[{"name":"shop","ips":["10.0.0.9/24","fd00::9/64"]}]',
      [{ network: 'shop', ips: ['10.0.0.9/24', 'fd00::9/64'] }],
    ],
    [' shop , team/mail@mail0', [{ network: 'shop' }, { network: 'mail', interface: 'mail0' }]],
    [
      '[{"name":"shop","ips":["10.0.0.9"],"mac":"02:00:00:00:00:01","interface":"net9"},{"name":"mail","namespace":"team"}]',
      [
        { network: 'shop', interface: 'net9', ips: ['10.0.0.9'], mac: '02:00:00:00:00:01' },
        { network: 'mail' },
      ],
    ],
  ] as const)
    assert.deepEqual(read(text), expected);
  assert.deepEqual(podNetworks({}, 'team'), []);
});

test('an annotation that cannot be parsed is refused', () => {
  for (const [text, why] of [
    ['a/b/c', /not \[NAMESPACE/u],
    ['shop,', /not \[NAMESPACE/u],
    ['../x', /not the name|not \[NAMESPACE|namespace/u],
    ['other/shop', /namespace of the pod/u],
    ['[{"name":"shop","default-route":["10.0.0.1"]}]', /default-route/u],
    ['[{"name":"shop","ips":"10.0.0.1"}]', /ips must/u],
    // If only the plugins refused these, they would also refuse to remove the half-created attachment.
    ['[{"name":"shop","ips":["10.0.0.999"]}]', /10\.0\.0\.999.* not an address/u],
    ['[{"name":"shop","ips":["10.0.0.9/33"]}]', /not an address/u],
    ['[{"name":"shop","ips":[""]}]', /not an address/u],
    ['[{"name":"shop","mac":"02:00:00:00:00"}]', /not a MAC/u],
    ['[{"name":"shop","mac":"x"}]', /not a MAC/u],
    ['[{"name":7}]', /name must/u],
    ['[{}]', /not the name/u],
    ['[7]', /not an object/u],
    ['{"name":"shop"}', /not a list/u],
    ['[', /JSON/u],
    [Array.from({ length: 33 }, () => 'a').join(','), /32/u],
  ] as const)
    assert.throws(
      () => read(text),
      (thrown) =>
        isPortcullisError(thrown) && thrown.code === 'RUNTIME_BAD_NETWORKS' && why.test(thrown.message),
      text,
    );
});
