import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { PodSandboxConfig } from '../cri/contract/contract.types.ts';
import { networkCapabilities } from './network-capabilities.ts';

const ofAnnotations = (annotations: Record<string, string>): unknown =>
  networkCapabilities({ annotations, labels: {} } as unknown as PodSandboxConfig, '')['bandwidth'];

const rates: readonly (readonly [text: string, rate: number | undefined])[] = [
  ['10M', 10_000_000],
  ['1k', 1000],
  ['1P', 1e15],
  ['1.5Mi', 1_572_864],
  ['2e6', 2_000_000],
  ['1000', 1000],
  ['999', undefined],
  ['2P', undefined],
  ['-5M', undefined],
  ['10 M', undefined],
  ['much', undefined],
  ['', undefined],
];
for (const [text, rate] of rates) {
  test(`bandwidth ${JSON.stringify(text)} is ${rate ?? 'refused'}`, () => {
    const limits = () => ofAnnotations({ 'kubernetes.io/egress-bandwidth': text });
    if (rate === undefined) assert.throws(limits, { code: 'RUNTIME_BAD_BANDWIDTH' });
    else assert.equal((limits() as { egressRate: number }).egressRate, rate);
  });
}

test('a burst fits the kernel: less than 274 s at the rate, and 32 bits', () => {
  for (const rate of ['1k', '10k', '1M', '1G', '1P']) {
    const { ingressRate = 0, ingressBurst = 0 } = ofAnnotations({
      'kubernetes.io/ingress-bandwidth': rate,
    }) as Record<string, number>;
    assert.ok(ingressBurst <= 0xffff_ffff && ingressBurst / ingressRate < 274, rate);
  }
  assert.equal(ofAnnotations({}), undefined);
});

test('services that a pod joins are passed on unchanged, and refused with their position', () => {
  const services = (text: string): unknown =>
    networkCapabilities(
      { annotations: { 'portcullis.dev/services': text }, labels: {} } as unknown as PodSandboxConfig,
      '',
    )['services'];
  assert.deepEqual(services('[{"name":"web","ports":["80:8080"]}]'), [{ name: 'web', ports: ['80:8080'] }]);
  assert.throws(() => services('[{"name":"web"}]'), /portcullis\.dev\/services\[0\]\.ports/u);
  assert.equal(
    'services' in networkCapabilities({ annotations: {}, labels: {} } as unknown as PodSandboxConfig, ''),
    false,
  );
});
