import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { capabilityNames } from '../../base/kernel/index.ts';
import { heldAgainst } from './live-state.ts';
import type { LiveState, ToldState } from './live-state.ts';

const told: ToldState = {
  process: {
    capabilities: { bounding: ['CAP_CHOWN', 'CAP_KILL'], permitted: ['CAP_CHOWN'] },
    rlimits: [{ type: 'RLIMIT_NOFILE', hard: 100 }],
    noNewPrivileges: true,
    apparmorProfile: 'portcullis-default',
  },
  root: { readonly: true },
  linux: {
    namespaces: [{ type: 'network' }, { type: 'mount' }],
    seccomp: {},
    maskedPaths: ['/proc/kcore', '/absent'],
    readonlyPaths: ['/proc/sys'],
    resources: {
      devices: [
        { allow: false, access: 'rwm' },
        { allow: true, type: 'c', major: 10, minor: 229, access: 'rw' },
      ],
    },
  },
};
const mount = (path: string, options: string): string => `1 2 0:3 / ${path} ${options},nosuid - tmpfs tmpfs rw`;
const live: LiveState = {
  status: 'CapInh:\t0\nCapPrm:\t0000000000000001\nCapEff:\t0\nCapBnd:\t0000000000000021\nCapAmb:\t0\nNoNewPrivs:\t1\nSeccomp:\t2\n',
  limits: 'Limit Soft Hard Units\nMax open files            64                   100                  files     \n',
  mountinfo: [mount('/', 'ro'), mount('/proc/kcore', 'rw'), mount('/proc/sys', 'ro')].join('\n'),
  label: 'portcullis-default (enforce)\n',
  namespaces: { net: 'net:[2]', mnt: 'mnt:[2]' },
  hostNamespaces: { net: 'net:[1]', mnt: 'mnt:[1]' },
  devices: 'c 1:3 rwm\nc 10:229 rw\n',
  exists: (path) => path !== '/absent',
};

function looser(change: Partial<LiveState>): string[] {
  return heldAgainst(told, { ...live, ...change }, capabilityNames).flatMap(({ part, verdict }) => (verdict === 'looser' ? [part] : []));
}

describe('the state of a running container beside what it was told', () => {
  it('is held when it is that, or less', () => {
    assert.deepEqual(looser({}), []);
    assert.deepEqual(looser({ status: live.status.replace('0000000000000021', '0') }), []);
  });

  const faults: readonly (readonly [part: string, change: Partial<LiveState>])[] = [
    ['capabilities, bounding', { status: live.status.replace('21\n', '31\n') }],
    ['capabilities, ambient', { status: live.status.replace('CapAmb:\t0', 'CapAmb:\t1') }],
    ['no_new_privs', { status: live.status.replace('NoNewPrivs:\t1', 'NoNewPrivs:\t0') }],
    ['seccomp', { status: live.status.replace('Seccomp:\t2', 'Seccomp:\t0') }],
    ['AppArmor', { label: 'unconfined\n' }],
    ['AppArmor', { label: 'portcullis-default (complain)\n' }],
    ['network namespace', { namespaces: { ...live.namespaces, net: 'net:[1]' } }],
    ['RLIMIT_NOFILE', { limits: live.limits.replace(' 100 ', ' 101 ') }],
    ['RLIMIT_NOFILE', { limits: live.limits.replace(' 100 ', ' unlimited ') }],
    ['root file system', { mountinfo: `${live.mountinfo}\n${mount('/', 'rw')}` }],
    ['masked paths', { mountinfo: live.mountinfo.replace('/proc/kcore', '/proc/other') }],
    ['read-only paths', { mountinfo: live.mountinfo.replace('/proc/sys ro', '/proc/sys rw') }],
    ['devices', { devices: 'c 10:229 rwm\n' }],
    ['devices', { devices: 'a *:* rwm\n' }],
  ];
  for (const [part, change] of faults)
    it(`is looser in ${part}: ${JSON.stringify(change).slice(0, 60)}`, () => assert.deepEqual(looser(change), [part]));

  it('says what can not be read', () => {
    const { devices: _devices, ...rest } = live;
    const found = heldAgainst(told, rest, capabilityNames).find(({ part }) => part === 'devices');
    assert.equal(found?.verdict, 'unreadable');
  });
});
