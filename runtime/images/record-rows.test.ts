import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { manifestColumn, recordedForm } from './record-rows.ts';

const [metadata, chunks] = ['a'.repeat(64), 'b'.repeat(64)];

describe('the recorded form of a layer', () => {
  it('contains the digest of the chunks of a layer with holes', () => {
    const form = { form: 'erofs', manifestSha256: metadata, lazy: true, chunksSha256: chunks } as const;
    assert.deepEqual(recordedForm(manifestColumn(form)), form);
  });

  it('has unknown chunks when an earlier release recorded a layer with holes', () => {
    assert.deepEqual(recordedForm(`erofs:${metadata}:lazy`), {
      form: 'erofs',
      manifestSha256: metadata,
      lazy: true,
    });
  });
});
