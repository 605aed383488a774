import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, unlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, it } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import { deviceOf } from './cached-device.ts';
import { leadsElsewhere } from './folder-links.ts';

/** A tick of the file system's clock, with room. */
const tickMs = 30;

describe('a folder leads', () => {
  let top = '';
  let folder = '';
  let device = '';
  beforeEach(() => {
    top = mkdtempSync(join(tmpdir(), 'portcullis-links-'));
    folder = join(top, 'folder');
    mkdirSync(folder);
    device = deviceOf(folder, () => true) ?? '';
    assert.match(device, /^\d+:\d+$/);
  });
  afterEach(() => rmSync(top, { recursive: true }));

  it('nowhere without links', () => {
    writeFileSync(join(folder, 'a.yaml'), '');
    mkdirSync(join(folder, 'inner'));
    assert.equal(leadsElsewhere(folder, device), false);
  });

  it('nowhere by links within its own file system, such as in a ConfigMap', () => {
    mkdirSync(join(folder, '..2026'));
    writeFileSync(join(folder, '..2026/a.yaml'), '');
    symlinkSync('..2026', join(folder, '..data'));
    symlinkSync('..data/a.yaml', join(folder, 'a.yaml'));
    assert.equal(leadsElsewhere(folder, device), false);
  });

  it('nowhere by a path with a link that was not followed yet', async () => {
    symlinkSync('folder', join(top, 'link'));
    symlinkSync('folder', join(top, 'another'));
    await pause(tickMs);
    assert.equal(
      deviceOf(join(top, 'link'), () => true),
      device,
    );
    assert.equal(
      deviceOf(join(top, 'another/none/below'), () => true),
      device,
    );
  });

  it('elsewhere by a link to a file of another file system, until the link is gone', () => {
    symlinkSync('/proc/version', join(folder, 'a.yaml'));
    assert.equal(leadsElsewhere(folder, device), true);
    unlinkSync(join(folder, 'a.yaml'));
    assert.equal(leadsElsewhere(folder, device), false);
  });

  it('elsewhere by a link to a link, and by a link in a subfolder', () => {
    symlinkSync('/proc/version', join(top, 'outer'));
    symlinkSync('../outer', join(folder, 'a.yaml'));
    assert.equal(leadsElsewhere(folder, device), true);
    unlinkSync(join(folder, 'a.yaml'));
    mkdirSync(join(folder, 'inner'));
    symlinkSync('/proc/version', join(folder, 'inner/a.conf'));
    assert.equal(leadsElsewhere(folder, device), true);
  });

  it('elsewhere by endless links', () => {
    symlinkSync('a.yaml', join(folder, 'a.yaml'));
    assert.equal(leadsElsewhere(folder, device), true);
  });

  it('nowhere if it does not exist', () =>
    assert.equal(leadsElsewhere(join(folder, 'missing'), device), false));
});
