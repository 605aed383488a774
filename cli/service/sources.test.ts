import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { portcullis } from '../../test/fixtures/command.ts';

const document = (name: string, address: string): string =>
  `apiVersion: portcullis.dev/v1alpha1\nkind: Service\nmetadata: { name: ${name} }\naddresses: [${address}]\nports: [80]\n`;

describe('files that services are applied from', () => {
  const folder = mkdtempSync(join(tmpdir(), 'pc-service-files-'));
  const at = (name: string): string => join(folder, name);
  before(() => {
    mkdirSync(at('many'));
    writeFileSync(at('first.yaml'), document('first', '10.96.0.1'));
    writeFileSync(at('many/second.yaml'), document('second', '10.96.0.2'));
    symlinkSync('circle.yaml', at('many/circle.yaml'));
  });
  after(() => rmSync(folder, { recursive: true, force: true }));

  it('an unreadable file is refused with its place, the others are read', async () => {
    const files = [
      '-f',
      at('gone.yaml'),
      '-f',
      at('first.yaml'),
      '-f',
      at('many'),
      '-f',
      at('first.yaml/below.yaml'),
    ];
    const { code, stdout, stderr } = await portcullis(['service', 'apply', '--check', ...files]);
    assert.deepEqual([code, stdout], [1, 'first valid\nsecond valid\n'], stderr);
    assert.match(stderr, /\/gone\.yaml: it cannot be read: it does not exist/u);
    assert.match(stderr, /\/many\/circle\.yaml: it cannot be read: its symbolic links form a loop/u);
    assert.match(
      stderr,
      /\/first\.yaml\/below\.yaml: it cannot be read: a part of its path is not a folder/u,
    );
  });

  it('an endless or binary file is refused with its place, and no more of it is read than the size limit', async () => {
    writeFileSync(at('latin.yaml'), Buffer.from(`# caf\u00e9\n${document('latin', '10.96.0.3')}`, 'latin1'));
    const files = ['-f', '/dev/zero', '-f', at('latin.yaml'), '-f', at('first.yaml')];
    const { code, stdout, stderr } = await portcullis(['service', 'apply', '--check', ...files]);
    assert.deepEqual([code, stdout], [1, 'first valid\n'], stderr);
    assert.match(stderr, /^\/dev\/zero:1:1: the file is larger than 33554432 bytes; split it$/mu);
    assert.match(stderr, /\/latin\.yaml:1:1: the file is not UTF-8/u);
  });

  it('when no file can be read nothing is applied, and the error code says so', async () => {
    const { code, stdout, stderr } = await portcullis([
      'service',
      'apply',
      '-f',
      at('gone.yaml'),
      '-f',
      at('nor.yaml'),
    ]);
    assert.deepEqual([code === 0, stdout], [false, ''], stderr);
    assert.match(stderr, /CLI_FILE_UNREADABLE/u);
    assert.match(stderr, /gone\.yaml/u);
  });
});
