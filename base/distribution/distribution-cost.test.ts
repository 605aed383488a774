import { test } from 'node:test';
import { assertNearLinearWork, untilRefused } from '../../test/fixtures/cost.ts';
import type { CostCases } from '../../test/fixtures/cost.ts';
import { parseChallenges } from './challenge.ts';
import { mediaTypes, parseManifest } from './manifest.ts';
import { parseReference } from './reference.ts';

/** Data from a registry or a pod is read in time that grows linearly with its size. */

const range = <T>(n: number, make: (index: number) => T): T[] =>
  Array.from({ length: n }, (_, index) => make(index));
const task = { attempted: 'read', on: 'x' };
const descriptor = (index: number, annotations = {}): object => ({
  mediaType: 'application/vnd.oci.image.layer.v1.tar',
  digest: `sha256:${index.toString(16).padStart(64, '0')}`,
  size: index,
  annotations,
});

const manifest = (value: object, type: string): (() => unknown) => {
  const bytes = Buffer.from(JSON.stringify({ schemaVersion: 2, mediaType: type, ...value }));
  return () => parseManifest(bytes, type, task);
};
const cases: CostCases = {
  'layers of a manifest': [
    100,
    (n) =>
      manifest(
        { config: descriptor(0), layers: range(n, (index) => descriptor(index)) },
        mediaTypes.ociManifest,
      ),
  ],
  'manifests of an index': [
    200,
    (n) => manifest({ manifests: range(n, (index) => descriptor(index)) }, mediaTypes.ociIndex),
  ],
  'annotations of a manifest': [
    2000,
    (n) =>
      manifest(
        {
          config: descriptor(0),
          layers: [],
          annotations: Object.fromEntries(range(n, (index) => [`key.${index}`, 'value'])),
        },
        mediaTypes.ociManifest,
      ),
  ],
  ...Object.fromEntries(
    ['a-', 'a__', 'a.', '/'].map((part) => [
      `characters of a name: ${part}`,
      [
        200,
        (n: number) => () =>
          untilRefused(() => parseReference(`host.example/${part.repeat(n / part.length)}!`)),
      ] as const,
    ]),
  ),
  ...Object.fromEntries(
    ['Bearer a="b",', '"\\', 'a ', 'a='].map((part) => [
      `characters of a challenge: ${part}`,
      [1500, (n: number) => () => parseChallenges([`Bearer x=${part.repeat(n / part.length)}`])] as const,
    ]),
  ),
};
for (const [what, [n, make]] of Object.entries(cases))
  test(`${what}: the cost grows linearly`, () => assertNearLinearWork(what, make, { n }));
