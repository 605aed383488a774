import assert from 'node:assert/strict';
import { cpSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { debContents } from './contents.ts';

test('each unit is installed, and starts a program of the Debian package', (t) => {
  const layout = mkdtempSync(join(tmpdir(), 'portcullis-deb-contents-'));
  t.after(() => rmSync(layout, { recursive: true }));
  cpSync(join(import.meta.dirname, '../systemd'), join(layout, 'packaging/systemd'), { recursive: true });
  const files = debContents({
    ...{ layout, packages: {}, bundled: [], manuals: [], documents: [], version: '0.0.0', time: 0 },
    completions: { bash: '', zsh: '', fish: '' },
  });
  const programs = files.flatMap(({ path, content }) => {
    if (!path.endsWith('.service') || !('bytes' in content)) return [];
    const [, program] = /^ExecStart=(\S+)/mu.exec(Buffer.from(content.bytes).toString()) ?? [];
    return [[path, program]];
  });
  assert.deepEqual(programs.sort(), [
    ['lib/systemd/system/portcullis-node.service', '/usr/bin/portcullis'],
    ['lib/systemd/system/portcullisd.service', '/usr/bin/portcullisd'],
    ['usr/lib/portcullis/packaging/systemd/portcullis-node.service', '/usr/bin/portcullis'],
    ['usr/lib/portcullis/packaging/systemd/portcullisd.service', '/usr/bin/portcullisd'],
  ]);
});
