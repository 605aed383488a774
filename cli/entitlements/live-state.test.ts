import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { capabilityNames } from '../../base/capabilities/index.ts';
import { linkFindings } from './link-findings.ts';
import type { LinkAnswer } from './link-findings.ts';
import { heldAgainst } from './live-state.ts';
import type { LiveState, ReportedState } from './live-state.ts';

const reported: ReportedState = {
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
const ids = ['/', '/proc/kcore', '/proc/sys', '/proc/other'];
const mount = (path: string, options: string, id = ids.indexOf(path)): string =>
  `${id} 2 0:3 / ${path} ${options},nosuid - proc proc rw`;
/** The view of the container at a path that is a mount, or is masked. */
const seen = (path: string, id = ids.indexOf(path)): ReturnType<LiveState['resolve']> => ({
  path,
  mount: id,
  isNull: path === '/proc/kcore',
  isEmptyFolder: false,
});
const live: LiveState = {
  status:
    'CapInh:\t0\nCapPrm:\t0000000000000001\nCapEff:\t0\nCapBnd:\t0000000000000021\nCapAmb:\t0\nNoNewPrivs:\t1\nSeccomp:\t2\n',
  limits:
    'Limit Soft Hard Units\nMax open files            64                   100                  files     \n',
  mountinfo: [mount('/', 'ro'), mount('/proc/kcore', 'rw'), mount('/proc/sys', 'ro')].join('\n'),
  label: 'portcullis-default (enforce)\n',
  namespaces: { net: 'net:[2]', mnt: 'mnt:[2]' },
  hostNamespaces: { net: 'net:[1]', mnt: 'mnt:[1]' },
  devices: 'c 1:3 rwm\nc 10:229 rw\n',
  resolve: (path) => (path === '/absent' ? undefined : seen(path.replace('/link', '/proc'))),
};

function looser(change: Partial<LiveState>): string[] {
  return heldAgainst(reported, { ...live, ...change }, capabilityNames).flatMap(({ part, verdict }) =>
    verdict === 'looser' ? [part] : [],
  );
}

describe('the state of a running container, compared with the requested state', () => {
  it('is held when it grants the same or less', () => {
    assert.deepEqual(looser({}), []);
    assert.deepEqual(looser({ status: live.status.replace('0000000000000021', '0') }), []);
  });

  it('is held when a limit is unlimited, as a plugin or the node may set it', () => {
    // The largest number of 64 bits means unlimited (setrlimit(2)). It is read without rounding.
    const rlimits = [{ type: 'RLIMIT_NOFILE', hard: 2n ** 64n - 1n }];
    const limits = live.limits.replace(' 100 ', ' unlimited ');
    const found = heldAgainst(
      { ...reported, process: { ...reported.process, rlimits } },
      { ...live, limits },
      capabilityNames,
    );
    assert.equal(found.find(({ part }) => part === 'RLIMIT_NOFILE')?.verdict, 'held');
  });

  it('is held when the kernel lists stacked AppArmor profiles in another order, and looser when one is missing', () => {
    const stacked = { ...reported.process, apparmorProfile: 'portcullis-default//&nginx' };
    const verdict = (label: string): string | undefined =>
      heldAgainst({ ...reported, process: stacked }, { ...live, label }, capabilityNames).find(
        ({ part }) => part === 'AppArmor',
      )?.verdict;
    assert.equal(verdict('nginx//&portcullis-default (enforce)\n'), 'held');
    for (const label of [
      'portcullis-default (enforce)',
      'nginx (enforce)',
      'nginx//&portcullis-default (mixed)',
    ])
      assert.equal(verdict(`${label}\n`), 'looser', label);
  });

  it('is held when masked and read-only paths lead through links, and looser when their targets are open', () => {
    const linux = { ...reported.linux, maskedPaths: ['/link/kcore'], readonlyPaths: ['/link/sys'] };
    const found = (mountinfo: string): string[] =>
      heldAgainst({ ...reported, linux }, { ...live, mountinfo }, capabilityNames).flatMap(
        ({ part, verdict }) => (verdict === 'looser' ? [part] : []),
      );
    assert.deepEqual(found(live.mountinfo), []);
    assert.deepEqual(found(mount('/', 'ro')), ['masked paths', 'read-only paths']);
  });

  it('is held when masked paths contain a blank or a backslash, which the kernel escapes', () => {
    const masked = ['/proc/some file', '/proc/a\\b'];
    const mountinfo = [
      live.mountinfo,
      mount('/proc/some\\040file', 'rw', 8),
      mount('/proc/a\\134b', 'rw', 9),
    ];
    const resolve: LiveState['resolve'] = (path) => {
      const id = masked.indexOf(path);
      return id < 0 ? live.resolve(path) : { path, mount: 8 + id, isNull: true, isEmptyFolder: false };
    };
    const found = heldAgainst(
      { ...reported, linux: { ...reported.linux, maskedPaths: masked } },
      { ...live, mountinfo: mountinfo.join('\n'), resolve },
      capabilityNames,
    );
    assert.deepEqual(
      found.filter(({ verdict }) => verdict === 'looser'),
      [],
    );
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
    ['root file system', { mountinfo: live.mountinfo.replace('/ ro', '/ rw') }],
    ['masked paths', { mountinfo: live.mountinfo.replace('/proc/kcore', '/proc/other') }],
    ['read-only paths', { mountinfo: live.mountinfo.replace('/proc/sys ro', '/proc/sys rw') }],
    ['devices', { devices: 'c 10:229 rwm\n' }],
    // runc before 1.2 allows /dev/net/tun to every container.
    ['devices', { devices: 'c 10:229 rw\nc 10:200 rwm\n' }],
    ['devices', { devices: 'a *:* rwm\n' }],
  ];
  it('is looser where another mount hides the one that masks a path, or a file is mounted in its place', () => {
    const mountinfo = [live.mountinfo, mount('/proc', 'rw', 8)].join('\n');
    for (const place of [
      { path: '/proc/kcore', mount: 8, isNull: false, isEmptyFolder: false },
      { path: '/proc/kcore', mount: 1, isNull: false, isEmptyFolder: false },
    ])
      assert.deepEqual(
        looser({ mountinfo, resolve: (path) => (path === place.path ? place : live.resolve(path)) }),
        ['masked paths'],
      );
  });

  it('is held where an empty read-only folder masks a folder, on any file system', () => {
    for (const type of ['tmpfs', 'ext4'])
      for (const [isEmptyFolder, mode, found] of [
        [true, 'ro', []],
        [true, 'rw', ['masked paths']],
        [false, 'ro', ['masked paths']],
      ] as const) {
        const line = `/proc/kcore ${mode},nosuid - ${type}`;
        const mountinfo = live.mountinfo.replace('/proc/kcore rw,nosuid - proc', line);
        const folder = { path: '/proc/kcore', mount: 1, isNull: false, isEmptyFolder };
        const resolve: LiveState['resolve'] = (path) => (path === folder.path ? folder : live.resolve(path));
        assert.deepEqual(looser({ mountinfo, resolve }), found);
      }
  });

  for (const [part, change] of faults)
    it(`is looser in ${part}: ${JSON.stringify(change).slice(0, 60)}`, () =>
      assert.deepEqual(looser(change), [part]));

  it('says what cannot be read', () => {
    const { devices: _devices, ...rest } = live;
    const found = heldAgainst(reported, rest, capabilityNames).find(({ part }) => part === 'devices');
    assert.equal(found?.verdict, 'unreadable');
  });
});

describe('a link, compared with its class and peer rules', () => {
  const https = { cidr: '10.0.0.0/8', protocol: 'tcp', ports: { low: 443, high: 443 } } as const;
  const reported: LinkAnswer['told'] = { class: 'user', egress: [https] };
  const held: LinkAnswer['held'] = { lets: 'own packets', egress: [https], problems: [] };
  const verdicts = (answer: LinkAnswer | undefined, own = 'user'): string[] =>
    linkFindings(own, answer).map(({ part, verdict, found }) => `${part} ${verdict}: ${found}`);

  it('is held when it is as requested, or tighter', () => {
    assert.deepEqual(verdicts({ told: reported, held }), [
      'network class held: user: the link lets through own packets',
      'egress held: 1 rules of peers',
    ]);
    assert.deepEqual(
      verdicts({ told: reported, held: { ...held, egress: [] } })[1],
      'egress held: 0 rules of peers',
    );
    assert.deepEqual(verdicts({ told: reported, held: { lets: 'nothing', problems: [] } }, 'none'), [
      'network class held: user, which a container of the pod has; its own is none: the link lets through nothing',
    ]);
  });

  for (const [answer, message] of [
    [{ told: { class: 'none' }, held }, /^network class looser: none.*own packets/],
    [
      { told: reported, held: { ...held, lets: 'unknown', problems: ['the chain x'] } },
      /^network class looser: user.*not known; the chain x/,
    ],
    [
      { told: reported, held: { lets: 'own packets', problems: [] } },
      /egress looser: no rules are in force: .* is let through/,
    ],
    [
      { told: reported, held: { ...held, egress: [https, { ...https, cidr: '192.0.2.1/32' }] } },
      /egress looser: 2 rules of peers: tcp to 192\.0\.2\.1:443 is let through/,
    ],
  ] as const)
    it(`is looser: ${String(message)}`, () =>
      assert.match(verdicts(answer).find((line) => line.includes('looser')) ?? '', message));

  it('says that there is no link', () => {
    assert.match(verdicts(undefined).join(), /^network class unreadable/);
    assert.match(verdicts(undefined, 'host').join(), /^network class held: host/);
  });
});
