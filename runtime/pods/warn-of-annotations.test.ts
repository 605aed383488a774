import assert from 'node:assert/strict';
import { test } from 'node:test';
import { warnOfUnknownAnnotations } from './warn-of-annotations.ts';
import type { SandboxRecord } from './record.ts';

test('a mistyped annotation of a pod is logged with the pod and the annotation that was meant', () => {
  const warned: unknown[] = [];
  const annotations = { 'portcullis.dev/profle': 'web', 'portcullis.dev/profile.web': 'web', 'a/b': 'c' };
  const metadata = { name: 'web', namespace: 'shop', uid: 'u', attempt: 0 };
  const config = { annotations, metadata } as unknown as SandboxRecord['config'];
  warnOfUnknownAnnotations({ warn: (fields: unknown) => void warned.push(fields) }, { id: 'a1', config });
  assert.deepEqual(warned, [
    { id: 'a1', pod: 'shop/web', annotation: 'portcullis.dev/profle', meant: 'portcullis.dev/profile' },
  ]);
});

test('a long annotation is logged in part', () => {
  const warned: { readonly annotation: string; readonly meant: string }[] = [];
  const annotations = { [`portcullis.dev/profil.${'a'.repeat(100_000)}`]: 'web' };
  const config = { annotations } as unknown as SandboxRecord['config'];
  warnOfUnknownAnnotations(
    { warn: (fields: unknown) => void warned.push(fields as never) },
    { id: 'a1', config },
  );
  assert.deepEqual(
    warned.map(({ annotation, meant }) => [annotation.length, meant.length]),
    [[200, 200]],
  );
});
