import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { describe, it } from 'node:test';
import type { OciSpec } from '../../oci/spec.types.ts';
import { devArchive, emptyArchive } from './dev-archive.ts';
import { archiveEnd, headerOf } from './tar-headers.ts';

const listed = (archive: Uint8Array, ...more: string[]): string[] =>
  execFileSync('tar', ['--list', '--verbose', '--numeric-owner', '--file', '-', ...more], {
    input: archive,
    encoding: 'utf8',
  })
    .trim()
    .split('\n')
    .map((line) => line.replace(/ +/g, ' ').replace(/\d{4}-\d\d-\d\d \d\d:\d\d /, ''));
const spec = (...destinations: string[]): Pick<OciSpec, 'mounts'> => ({
  mounts: destinations.map((destination) => ({ destination, type: 'bind', source: '/s', options: [] })),
});

describe('the archive of /dev', () => {
  it('has the devices and links that every container has, and the places of mounts', () => {
    const archive = devArchive(
      spec('/dev/shm', '/dev/a/file', '/etc/hosts'),
      (place) => place === '/dev/a/file',
    );
    assert.deepEqual(listed(archive, '--gzip'), [
      'drwxr-xr-x 0/0 0 ./',
      'drwxr-xr-x 0/0 0 a/',
      ...['1,3 null', '1,5 zero', '1,7 full', '1,8 random', '1,9 urandom', '5,0 tty'].map(
        (device) => `crw-rw-rw- 0/0 ${device}`,
      ),
      'lrwxrwxrwx 0/0 0 fd -> /proc/self/fd',
      'lrwxrwxrwx 0/0 0 stdin -> /proc/self/fd/0',
      'lrwxrwxrwx 0/0 0 stdout -> /proc/self/fd/1',
      'lrwxrwxrwx 0/0 0 stderr -> /proc/self/fd/2',
      'lrwxrwxrwx 0/0 0 ptmx -> pts/ptmx',
      'drwxr-xr-x 0/0 0 shm/',
      '-rw-r--r-- 0/0 0 a/file',
    ]);
  });

  it('has no place that leaves the folder', () => {
    const archive = devArchive(spec('/dev/../etc', '/dev//x', '/dev/.', '/devil'), () => true);
    assert.ok(listed(archive, '--gzip').every((line) => !/etc| x$|devil/.test(line)));
  });

  it('is empty for other temporary file systems', () => {
    assert.deepEqual(listed(emptyArchive(), '--gzip'), ['drwxr-xr-x 0/0 0 ./']);
  });
});

describe('headers of archives', () => {
  it('have names of any length', () => {
    const names = [99, 100, 101, 968, 980, 1_000].map((length) => 'n'.repeat(length));
    const archive = Buffer.concat([
      ...names.map((name) => headerOf({ name, type: 'file', mode: 0o644 })),
      archiveEnd,
    ]);
    assert.deepEqual(
      listed(archive).map((line) => line.split(' ').at(-1)),
      names,
    );
  });
});
