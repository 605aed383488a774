import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ProfileType } from '../../cri/contract/contract.types.ts';
import { appArmorRequest } from './apparmor-request.ts';

const field = (profileType: number, localhostRef = '') => ({
  apparmor: { profileType: profileType as ProfileType, localhostRef },
  apparmorProfile: '',
});
const text = (apparmorProfile: string) => ({ apparmorProfile });

for (const [name, security, request] of [
  ['nothing', text(''), undefined],
  ['RuntimeDefault', field(ProfileType.RuntimeDefault), { type: 'RuntimeDefault' }],
  ['Unconfined', field(ProfileType.Unconfined), { type: 'Unconfined' }],
  ['Localhost', field(ProfileType.Localhost, 'web'), { type: 'Localhost', name: 'web' }],
  [
    'Localhost in the deprecated form',
    field(ProfileType.Localhost, 'localhost/web'),
    { type: 'Localhost', name: 'web' },
  ],
  ['the deprecated runtime/default', text('runtime/default'), { type: 'RuntimeDefault' }],
  ['the deprecated unconfined', text('unconfined'), { type: 'Unconfined' }],
  ['the deprecated localhost', text('localhost/web'), { type: 'Localhost', name: 'web' }],
  [
    'both forms: the new field takes precedence',
    { ...field(ProfileType.Unconfined), apparmorProfile: 'localhost/web' },
    { type: 'Unconfined' },
  ],
] as const) {
  test(`AppArmor: ${name}`, () => assert.deepEqual(appArmorRequest(security), request));
}

for (const [name, security] of [
  ['an unknown type', field(9)],
  ['a name for another type', field(ProfileType.RuntimeDefault, 'web')],
  ['no name', field(ProfileType.Localhost)],
  ['the name of no profile at all', field(ProfileType.Localhost, 'unconfined')],
  ['two labels in one', field(ProfileType.Localhost, 'web//&other')],
  ['a line feed', field(ProfileType.Localhost, 'web\nexec other')],
  ['an unknown string', text('default')],
] as const) {
  test(`AppArmor: ${name} is refused`, () =>
    assert.throws(() => appArmorRequest(security), { code: 'RUNTIME_BAD_APPARMOR' }));
}
