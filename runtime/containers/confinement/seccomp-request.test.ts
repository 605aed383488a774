import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, symlinkSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { ProfileType } from '../../cri/contract/contract.types.ts';
import type { LinuxContainerSecurityContext } from '../../cri/contract/contract.types.ts';
import { hostPathsHere } from '../../host-paths/in-process.fixture.ts';
import { seccompRequest } from './seccomp-request.ts';

const folder = mkdtempSync(join(tmpdir(), 'seccomp-'));
after(() => rmSync(folder, { recursive: true }));
const inside = (name: string): string => join(folder, name);
writeFileSync(inside('good.json'), '{"defaultAction":"SCMP_ACT_ALLOW"}');
symlinkSync('good.json', inside('link.json'));
writeFileSync(inside('secret'), 'root:$y$hash:1::');
execFileSync('mkfifo', [inside('fifo')]);
writeFileSync(inside('huge'), '');
truncateSync(inside('huge'), 2 ** 40);

const asked = (part: Partial<LinuxContainerSecurityContext>): LinuxContainerSecurityContext =>
  ({ seccompProfilePath: '', ...part }) as LinuxContainerSecurityContext;
const field = (profileType: number, localhostRef = ''): LinuxContainerSecurityContext =>
  asked({ seccomp: { profileType: profileType as ProfileType, localhostRef } });

for (const [name, security, type] of [
  ['nothing', asked({}), undefined],
  ['RuntimeDefault', field(ProfileType.RuntimeDefault), 'RuntimeDefault'],
  ['Unconfined', field(ProfileType.Unconfined), 'Unconfined'],
  ['Localhost', field(ProfileType.Localhost, inside('good.json')), 'Localhost'],
  ['Localhost through a link', field(ProfileType.Localhost, inside('link.json')), 'Localhost'],
  [
    'Localhost in the deprecated form',
    field(ProfileType.Localhost, `localhost/${inside('good.json')}`),
    'Localhost',
  ],
  ['the deprecated runtime/default', asked({ seccompProfilePath: 'runtime/default' }), 'RuntimeDefault'],
  ['the deprecated docker/default', asked({ seccompProfilePath: 'docker/default' }), 'RuntimeDefault'],
  ['the deprecated unconfined', asked({ seccompProfilePath: 'unconfined' }), 'Unconfined'],
  [
    'the deprecated localhost',
    asked({ seccompProfilePath: `localhost/${inside('good.json')}` }),
    'Localhost',
  ],
] as const) {
  test(`seccomp: ${name}`, async () =>
    assert.equal((await seccompRequest(security, hostPathsHere))?.type, type));
}

for (const [name, security] of [
  ['an unknown type', field(7)],
  ['a path for another type', field(ProfileType.RuntimeDefault, '/x')],
  ['an empty path', field(ProfileType.Localhost)],
  ['a relative path', field(ProfileType.Localhost, 'good.json')],
  ['a path with ".."', field(ProfileType.Localhost, `${folder}/../${folder}/good.json`)],
  ['a missing file', field(ProfileType.Localhost, inside('none'))],
  ['a folder', field(ProfileType.Localhost, folder)],
  ['a FIFO, which would block a read', field(ProfileType.Localhost, inside('fifo'))],
  ['a device that never ends', field(ProfileType.Localhost, '/dev/zero')],
  ['a file of a terabyte', field(ProfileType.Localhost, inside('huge'))],
  ['an unknown string', asked({ seccompProfilePath: 'default' })],
] as const) {
  test(`seccomp: ${name} is refused`, () =>
    assert.rejects(seccompRequest(security, hostPathsHere), { code: 'RUNTIME_BAD_SECCOMP' }));
}

test('seccomp: a refusal does not quote the file', async () => {
  await assert.rejects(
    seccompRequest(field(ProfileType.Localhost, inside('secret')), hostPathsHere),
    (error: Error) => !error.message.includes('hash'),
  );
});
