import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { generateKeyPairSync } from 'node:crypto';
import { once } from 'node:events';
import { chmodSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { describe, it } from 'node:test';
import type { TestContext } from 'node:test';
import { packageRoot } from '../../environment/package-root.ts';
import type { Finding } from '../finding.ts';
import { isPortcullisError } from '../../../base/errors/index.ts';
import { verdictOf } from '../print.ts';
import { loadDaemonConfig } from '../../../runtime/index.ts';
import { crictlFindings } from './crictl.ts';
import { daemonFindings } from './daemon.ts';
import { enforcementFindings } from './enforcement.ts';
import { flagsOf, readKubelet } from './kubelet-settings.ts';
import { kubeletFindings } from './kubelet.ts';
import { nodeChapters, wrongConfiguration } from './node.ts';
import { serviceFindings } from './service-unit.ts';
import { readDirectives, readUnit } from './unit-file.ts';

const socket = '/run/portcullis/portcullis.sock';
const shipped = (name: string): string =>
  readFileSync(join(packageRoot(), 'packaging/systemd', name), 'utf8');

/** Creates the root of a file system with these files; a path that ends with `/` is a folder. */
function machine(t: TestContext, files: Readonly<Record<string, string>>): string {
  const root = mkdtempSync(join(tmpdir(), 'pc-doctor-'));
  t.after(() => rmSync(root, { recursive: true, force: true }));
  for (const [path, text] of Object.entries(files)) {
    mkdirSync(path.endsWith('/') ? join(root, path) : dirname(join(root, path)), { recursive: true });
    if (!path.endsWith('/')) writeFileSync(join(root, path), text);
  }
  return root;
}

/** Returns the topics that are not fine, with their findings. */
const complaints = (findings: readonly Finding[]): Record<string, string> =>
  Object.fromEntries(
    findings
      .filter(({ state }) => state !== 'fine')
      .map(({ topic, found, meaning = [], fix = '' }) => [topic, [found, ...meaning, fix].join(' | ')]),
  );

describe('the service', () => {
  const systemd = { 'run/systemd/system/': '', 'usr/local/bin/portcullisd': '#!/bin/sh\n' };
  const unit = 'etc/systemd/system/portcullisd.service';
  const enable = (root: string): void => {
    const wants = join(root, 'etc/systemd/system/multi-user.target.wants');
    mkdirSync(wants, { recursive: true });
    symlinkSync('../portcullisd.service', join(wants, 'portcullisd.service'));
  };
  const look = (root: string): Record<string, string> => complaints(serviceFindings(root, packageRoot()));

  it('needs no unit if systemd does not run', (t) => {
    assert.deepEqual(look(machine(t, {})), {});
  });

  it('has no finding as shipped and enabled, with the kubelet ordered after it', (t) => {
    const root = machine(t, {
      ...systemd,
      [unit]: shipped('portcullisd.service'),
      'lib/systemd/system/kubelet.service': '[Service]\nExecStart=/usr/bin/kubelet\n',
      'etc/systemd/system/kubelet.service.d/20-portcullis.conf': shipped('kubelet-portcullis.conf'),
      'etc/systemd/system/portcullisd.service.d/50-restricted.conf': shipped('portcullisd-restricted.conf'),
    });
    enable(root);
    assert.deepEqual(look(root), {});
    assert.ok(serviceFindings(root, packageRoot()).some(({ found }) => found.startsWith('restricted')));
  });

  it('is reported with a fix when it is missing, disabled, or starts a missing program', (t) => {
    assert.match(
      look(machine(t, systemd))['portcullisd.service'] ?? '',
      /not installed.*nothing starts the daemon.*systemctl enable --now/,
    );
    assert.match(
      look(machine(t, { ...systemd, [unit]: shipped('portcullisd.service') }))['portcullisd.service'] ?? '',
      /systemctl enable portcullisd/,
    );
    const root = machine(t, { 'run/systemd/system/': '', [unit]: shipped('portcullisd.service') });
    assert.match(
      look(root)['portcullisd.service'] ?? '',
      /starts \/usr\/local\/bin\/portcullisd, which does not exist/,
    );
  });

  it('is reported when it lacks the watchdog, hides mounts or restricts containers', (t) => {
    const root = machine(t, {
      ...systemd,
      [unit]: shipped('portcullisd.service').replace('WatchdogSec=1min\n', ''),
      'etc/systemd/system/portcullisd.service.d/10-mine.conf':
        '[Service]\nProtectSystem=full\nNoNewPrivileges=yes\nKillMode=\nKillMode=control-group\nPrivateTmp=no\n',
      'etc/systemd/system/kubelet.service': '[Unit]\nAfter=network.target\n',
    });
    enable(root);
    const found = look(root);
    assert.match(found['its hardening'] ?? '', /WatchdogSec=1min of the shipped unit is not in force/);
    assert.match(found['its hardening'] ?? '', /KillMode=process of the shipped unit is not in force/);
    assert.match(found['its hardening'] ?? '', /ProtectSystem=full hides/);
    assert.match(found['its hardening'] ?? '', /NoNewPrivileges=yes also restricts every container/);
    assert.doesNotMatch(found['its hardening'] ?? '', /PrivateTmp/);
    assert.match(found['kubelet.service'] ?? '', /20-portcullis\.conf/);
  });

  it('is read as systemd reads it: drop-ins in order of their names, folders by precedence, and an empty value resets a directive', (t) => {
    const root = machine(t, {
      'lib/systemd/system/a.service': '[Service]\nEnvironment=ONE\nExecStart=/bin/a \\\n  --b\n',
      'lib/systemd/system/a.service.d/20-x.conf': '[Service]\nEnvironment=TWO\n',
      'lib/systemd/system/a.service.d/10-y.conf': '[Service]\nEnvironment=NEVER\n',
      'etc/systemd/system/a.service.d/10-y.conf': '[Service]\nEnvironment=\nEnvironment=FIRST\n',
    });
    const read = readUnit('a.service', root);
    assert.deepEqual(read?.directives.get('Service.Environment'), ['FIRST', 'TWO']);
    assert.deepEqual(read.directives.get('Service.ExecStart'), ['/bin/a --b']);
    assert.equal(read.enabled, false);
    assert.deepEqual([...readDirectives(['# A=1\n; B=2\n[X]\nC = 3 \n'])], [['X.C', ['3']]]);
  });
});

describe('the kubelet', () => {
  const side = (
    more: Partial<Parameters<typeof kubeletFindings>[1]> = {},
  ): Parameters<typeof kubeletFindings>[1] => ({
    config: { socket, kubeletRoot: '/var/lib/kubelet', logs: { maxSize: '0', maxFiles: 5 } },
    cgroupDriver: 'systemd',
    unified: true,
    swap: false,
    root: '/',
    ...more,
  });
  const settings = (
    flags: Readonly<Record<string, string>>,
    configuration: Readonly<Record<string, unknown>> = {},
  ) => ({
    source: 'a test',
    flags: new Map(Object.entries({ kubeconfig: '/etc/kubernetes/kubelet.conf', ...flags })),
    configuration,
    problems: [],
  });
  const endpoint = { containerRuntimeEndpoint: `unix://${socket}` };

  it('has no finding when set up as in docs/kubelet.md', () => {
    assert.deepEqual(complaints(kubeletFindings(settings({}, endpoint), side())), {});
    assert.deepEqual(
      complaints(
        kubeletFindings(
          settings({ 'container-runtime-endpoint': socket }, { cgroupDriver: 'systemd' }),
          side(),
        ),
      ),
      {},
    );
    const byFlags = settings({ 'fail-cgroupv1': 'false', 'fail-swap-on': 'false' }, endpoint);
    assert.deepEqual(complaints(kubeletFindings(byFlags, side({ unified: false, swap: true }))), {});
    const v1 = settings({}, { ...endpoint, failCgroupV1: false, failSwapOn: false });
    assert.deepEqual(complaints(kubeletFindings(v1, side({ unified: false, swap: true }))), {});
  });

  const cases: readonly {
    readonly what: string;
    readonly topic: string;
    readonly says: RegExp;
    readonly flags?: Readonly<Record<string, string>>;
    readonly configuration?: Readonly<Record<string, unknown>>;
    readonly side?: Partial<Parameters<typeof kubeletFindings>[1]>;
  }[] = [
    {
      what: 'no endpoint',
      topic: 'its runtime',
      says: /containerd.*another runtime.*containerRuntimeEndpoint: unix:/,
      configuration: { containerRuntimeEndpoint: undefined },
    },
    {
      what: 'a flag that overrides the file',
      topic: 'its runtime',
      says: /crio\.sock/,
      flags: { 'container-runtime-endpoint': 'unix:///run/crio/crio.sock' },
    },
    {
      what: 'another image service',
      topic: 'its images',
      says: /leave imageServiceEndpoint out/,
      configuration: { imageServiceEndpoint: 'unix:///x' },
    },
    {
      what: 'another cgroup driver',
      topic: 'cgroup driver',
      says: /kubelet cgroupfs, here systemd/,
      configuration: { cgroupDriver: 'cgroupfs' },
    },
    {
      what: 'cgroup version 1',
      topic: 'failCgroupV1',
      says: /failCgroupV1: false/,
      side: { unified: false },
    },
    { what: 'swap', topic: 'failSwapOn', says: /swapoff/, side: { swap: true } },
    {
      what: 'no cgroups for pods',
      topic: 'cgroupsPerQOS',
      says: /panic/,
      configuration: { cgroupsPerQOS: false },
    },
    {
      what: 'no folder of static pods',
      topic: 'static pods',
      says: /mkdir -p \/nonexistent/,
      configuration: { staticPodPath: '/nonexistent' },
    },
    {
      what: 'another root folder',
      topic: 'its folder',
      says: /kubeletRoot: \/data\/kubelet/,
      flags: { 'root-dir': '/data/kubelet' },
    },
    {
      what: 'two who rotate',
      topic: 'log rotation',
      says: /both remove/,
      side: { config: { socket, kubeletRoot: '/var/lib/kubelet/', logs: { maxSize: '10Mi', maxFiles: 5 } } },
    },
    {
      what: 'flags of dockershim',
      topic: 'flags',
      says: /--network-plugin, --pod-infra-container-image/,
      flags: { 'network-plugin': 'cni', 'pod-infra-container-image': 'x' },
    },
  ];
  for (const { what, topic, says, flags = {}, configuration = {}, side: more = {} } of cases) {
    it(`with ${what} gets this finding and no other`, () => {
      const found = complaints(
        kubeletFindings(settings(flags, { ...endpoint, ...configuration }), side(more)),
      );
      assert.deepEqual(Object.keys(found), [topic]);
      assert.match(found[topic] ?? '', says);
    });
  }

  it('standalone and without static pods has no source of pods', () => {
    const found = kubeletFindings({ ...settings({}, endpoint), flags: new Map() }, side());
    assert.deepEqual(Object.keys(complaints(found)), ['static pods']);
  });

  it('of kubeadm is put together from its unit, its environment files, its configuration and the drop-ins', (t) => {
    const root = machine(t, {
      'lib/systemd/system/kubelet.service': '[Service]\nExecStart=/usr/bin/kubelet\n',
      'usr/lib/systemd/system/kubelet.service.d/10-kubeadm.conf':
        '[Service]\nEnvironment="KUBELET_KUBECONFIG_ARGS=--bootstrap-kubeconfig=/etc/kubernetes/b.conf --kubeconfig=/etc/kubernetes/kubelet.conf"\n' +
        'Environment="KUBELET_CONFIG_ARGS=--config=/var/lib/kubelet/config.yaml"\nEnvironmentFile=-/var/lib/kubelet/kubeadm-flags.env\n' +
        'EnvironmentFile=-/etc/default/kubelet\nExecStart=\nExecStart=/usr/bin/kubelet $KUBELET_KUBECONFIG_ARGS $KUBELET_CONFIG_ARGS\n',
      'var/lib/kubelet/kubeadm-flags.env':
        'KUBELET_KUBEADM_ARGS="--node-ip=10.0.0.1 --config-dir /etc/kubelet.d"\n',
      'var/lib/kubelet/config.yaml':
        'kind: KubeletConfiguration\ncontainerRuntimeEndpoint: ""\ncgroupDriver: systemd\n',
      'etc/kubelet.d/10-runtime.conf': `containerRuntimeEndpoint: unix://${socket}\n`,
      'etc/kubelet.d/README': 'not: read',
    });
    const kubelet = readKubelet(root);
    assert.equal(kubelet?.source, join(root, 'lib/systemd/system/kubelet.service'));
    assert.deepEqual(
      [kubelet.flags.get('kubeconfig'), kubelet.flags.get('config'), kubelet.flags.get('node-ip')],
      ['/etc/kubernetes/kubelet.conf', '/var/lib/kubelet/config.yaml', '10.0.0.1'],
    );
    assert.deepEqual(kubelet.configuration, {
      kind: 'KubeletConfiguration',
      containerRuntimeEndpoint: `unix://${socket}`,
      cgroupDriver: 'systemd',
    });
    assert.deepEqual(complaints(kubeletFindings(kubelet, side({ root }))), {});
  });

  it('is read from the arguments of its process; an unreadable file is reported', (t) => {
    const root = machine(t, {
      'proc/7/cmdline': '/bin/sh\0-c\0kubelet\0',
      'proc/42/cmdline': '/usr/local/bin/kubelet\0--config\0/etc/k.yaml\0--v=2\0--fail-swap-on=false\0',
      'lib/systemd/system/kubelet.service':
        '[Service]\nExecStart=/usr/bin/kubelet --container-runtime-endpoint=unix:///never\n',
    });
    const kubelet = readKubelet(root);
    assert.equal(kubelet?.source, 'process 42');
    assert.deepEqual(
      [...kubelet.flags],
      [
        ['config', '/etc/k.yaml'],
        ['v', '2'],
        ['fail-swap-on', 'false'],
      ],
    );
    assert.match(
      complaints(kubeletFindings(kubelet, side()))['kubelet'] ?? '',
      /\/etc\/k\.yaml: it does not exist/,
    );
    assert.equal(readKubelet(machine(t, {})), undefined);
    assert.deepEqual(
      [...flagsOf(['--a', '--b', 'c', 'd', '-v=3'])],
      [
        ['a', 'true'],
        ['b', 'c'],
        ['v', '3'],
      ],
    );
  });
});

describe('crictl', () => {
  it('must name the socket in its file', (t) => {
    assert.match(
      complaints(crictlFindings(machine(t, {}), socket))['crictl.yaml'] ?? '',
      /does not exist.*runtime-endpoint: unix:/,
    );
    const other = machine(t, {
      'etc/crictl.yaml': `runtime-endpoint: unix://${socket}\nimage-endpoint: unix:///run/crio/crio.sock\n`,
    });
    assert.match(
      complaints(crictlFindings(other, socket))['crictl.yaml'] ?? '',
      /image-endpoint: unix:\/\/\/run\/crio/,
    );
    const right = machine(t, { 'etc/crictl.yaml': `runtime-endpoint: "unix://${socket}"\ntimeout: 10\n` });
    assert.deepEqual(complaints(crictlFindings(right, socket)), {});
  });
});

describe('the daemon, judged by its configuration while it does not run', () => {
  const key = generateKeyPairSync('ec', { namedCurve: 'P-256' }).publicKey.export({
    type: 'spki',
    format: 'pem',
  });
  const policy = (rules: string): string =>
    `apiVersion: portcullis.dev/v1alpha1\nkind: TrustPolicy\ndefault: deny\nrules:\n${rules}`;
  const network = `{"cniVersion":"1.0.0","name":"n","plugins":[{"type":"bridge","bridge":"b0","isGateway":true,"ipMasq":true,"ipam":{"type":"host-local","ranges":[[{"subnet":"10.9.0.0/16"}]]}}]}`;
  const files = (root: string, more = ''): string =>
    `root: ${root}/lib\nstate: ${root}/run\nsocket: ${root}/run/x.sock\npolicy: [${root}/policy]\ncni: { confDir: ${root}/cni }\n` +
    `runtimes: { one: { path: ${root}/one } }\ndefaultRuntime: one\n${more}`;
  const look = async (root: string, config: string): Promise<Record<string, string>> => {
    writeFileSync(join(root, 'config.yaml'), config);
    const chapters = await nodeChapters({
      root,
      config: join(root, 'config.yaml'),
      packageRoot: packageRoot(),
    });
    return complaints(chapters.flatMap(({ findings }) => findings));
  };

  it('names what is wrong with its file, its policy, its network and its handlers', async (t) => {
    const root = machine(t, { 'policy/': '', 'cni/': '' });
    assert.match(
      (await look(root, 'sokket: /x\n'))['configuration'] ?? '',
      /does not start.*config\.yaml:1:1.*sokket/,
    );
    const found = await look(root, files(root));
    assert.match(found['policy'] ?? '', /none in force \| everything new is denied/);
    assert.match(found['network'] ?? '', /no \.conflist.*no pod gets an address/);
    assert.match(found['handler one'] ?? '', /there is no such program/);
    assert.match(found['daemon'] ?? '', /nothing listens at .*x\.sock/);
  });

  it('keeps a running daemon running although its file has become invalid', async (t) => {
    const root = machine(t, { 'config.yaml': 'sokket: /x\n' });
    const error = await loadDaemonConfig({ file: join(root, 'config.yaml') }).catch(
      (thrown: unknown) => thrown,
    );
    assert.ok(isPortcullisError(error));
    const answers = {
      version: '1.0.0',
      network: { ready: true, message: '' },
      policy: { inForce: true, revision: 'sha256:0', rules: 1, unverified: [] },
      cgroupDriver: 'systemd',
    } as const;
    const findings = wrongConfiguration(error, answers, socket);
    assert.equal(verdictOf(findings), 'Ready; 1 degraded, see above.');
    assert.match(complaints(findings)['configuration'] ?? '', /keeps the configuration of its start.*sokket/);
    assert.equal(
      verdictOf(wrongConfiguration(error, 'nothing listens', socket)),
      'Not ready. No pod can start: configuration.',
    );
    const stuck = { ...answers, obstacle: 'no runtime works' };
    assert.match(verdictOf(wrongConfiguration(error, stuck, socket)), /No pod can start: daemon/);
  });

  it('is asked at a socket that is named, whatever the configuration says', async (t) => {
    const root = machine(t, { 'policy/': '', 'cni/': '' });
    const named = join(root, 'named.sock');
    let asked = 0;
    const daemon = createServer((connection) => {
      asked += 1;
      connection.destroy();
    }).listen(named);
    t.after(() => daemon.close());
    await once(daemon, 'listening');
    for (const text of ['sokket: /x\n', files(root)]) {
      const before = asked;
      writeFileSync(join(root, 'config.yaml'), text);
      const config = join(root, 'config.yaml');
      await nodeChapters({ root, config, socket: named, packageRoot: packageRoot() });
      assert.ok(asked > before, text);
    }
  });

  it('warns of policy files that a user other than root can change', async (t) => {
    const root = machine(t, { 'policy/': '', 'cni/': '' });
    chmodSync(join(root, 'policy'), 0o777);
    assert.match(
      (await look(root, files(root)))['policy files'] ?? '',
      /policy \| every user may write to it/,
    );
  });

  it('does not report on policy files of a node that follows releases or objects of its cluster', async (t) => {
    const root = machine(t, { 'policy/': '', 'cni/': '' });
    const own = files(root).replace(/^policy: .*\n/m, '');
    const releases = `${own}policySubscription: { service: 'https://p.test/policy', root: /r.json }\n`;
    for (const [config, source] of [
      [releases, /releases of https:\/\/p\.test\/policy, channel stable/],
      [`${own}cluster: { policies: true }\n`, /objects of the cluster/],
    ] as const) {
      const { policy = '' } = await look(root, config);
      assert.match(policy, source);
      assert.match(policy, /only a running daemon knows what is in force/);
    }
  });

  it('reports evidence and roots that a running daemon could not renew, and a reload that failed', async (t) => {
    const root = machine(t, { 'policy/': '', 'cni/': '' });
    writeFileSync(join(root, 'config.yaml'), files(root));
    const config = await loadDaemonConfig({ file: join(root, 'config.yaml') });
    const since = '2026-11-20T12:00:00.000Z';
    const policy = {
      inForce: true,
      revision: 'sha256:0123456789abcdef',
      rules: 3,
      unverified: [],
      problem: 'p.yaml:4:1: this is broken',
      endedEvidence: [{ names: ['a.test/app:1', 'a.test/app:2'], since }],
      failingRoots: [
        { url: 'https://tuf.a.test', why: 'connection refused', until: since },
        { url: 'https://tuf.b.test', why: 'it is malformed' },
      ],
    };
    const network = { ready: true, message: '' };
    const found = complaints(
      await daemonFindings(config, { version: '1', network, policy, cgroupDriver: 'cgroupfs' }),
    );
    assert.match(found['policy'] ?? '', /0123456789ab, 3 rules \| p\.yaml:4:1: this is broken/);
    assert.match(
      found['ended evidence'] ?? '',
      /1 images \| a\.test\/app:1, a\.test\/app:2: not admitted since 2026-11-20/,
    );
    assert.match(found['sigstore root'] ?? '', /it could not be updated: it is malformed/);
    // The daemon got the folder by a flag.
    const flagged = { ready: false, message: 'load the pod network /other: empty' };
    const unready = complaints(
      await daemonFindings(config, {
        version: '1',
        network: flagged,
        cniConfDir: '/other',
        policy,
        cgroupDriver: 'cgroupfs',
      }),
    );
    assert.match(unready['network'] ?? '', /correct \/other: it is read again at once/);
  });

  it('reports the findings of a running daemon about its enforcement, without accepted findings, and that the result is unknown', () => {
    const finding = { on: 'rule p.yaml:3', text: 'It only reports.', fix: 'remove it' };
    const state = {
      result: 'fail' as const,
      since: '2026-11-22T00:00:00.000Z',
      findings: [
        { ...finding, code: 'REPORT_MODE' as const, effect: 'fail' as const },
        { ...finding, code: 'PLAIN_HTTP' as const, effect: 'note' as const },
        {
          ...finding,
          code: 'RULE_NEVER_MATCHED' as const,
          effect: 'unknown' as const,
          accepted: true as const,
        },
      ],
    };
    const policy = { inForce: true, revision: '', rules: 1, unverified: [] };
    const answers = {
      version: '1',
      network: { ready: true, message: '' },
      policy,
      cgroupDriver: 'cgroupfs' as const,
    };
    const found = complaints(enforcementFindings({ ...answers, enforcement: state }));
    assert.match(found['enforcement'] ?? '', /^fail \| since 2026-11-22.* never tried/);
    assert.match(found['REPORT_MODE'] ?? '', /rule p\.yaml:3 \| It only reports\. \| remove it/);
    assert.deepEqual(Object.keys(found), ['enforcement', 'REPORT_MODE']);
    assert.deepEqual(
      complaints(
        enforcementFindings({ ...answers, enforcement: { ...state, result: 'pass', findings: [] } }),
      ),
      {},
    );
    assert.match(complaints(enforcementFindings('nothing listens'))['enforcement'] ?? '', /^could not tell/);
  });

  it('reports each rule that does not refuse: report mode, break-glass, and levels that only log', async (t) => {
    const k = 'require: { cosign: { key: k.pub } }';
    const root = machine(t, {
      'policy/p.yaml': policy(
        `  - images: ["a.test/**"]\n    mode: report\n    ${k}\n` +
          `  - images: ["b.test/**"]\n    ${k}\n    breakGlass: { until: 2999-01-01, reason: outage, by: ann }\n` +
          `  - images: ["c.test/**"]\n    require: { any: [ { notation: { certificates: { ca: [root.crt] }, level: audit } } ] }\n`,
      ),
      'policy/k.pub': String(key),
      'cni/10-n.conflist': network,
    });
    const made = [
      'req',
      '-x509',
      '-newkey',
      'ec',
      '-pkeyopt',
      'ec_paramgen_curve:P-256',
      '-nodes',
      '-subj',
      '/C=US/ST=WA/O=o/CN=r',
    ];
    execFileSync(
      'openssl',
      [...made, '-keyout', join(root, 'root.key'), '-out', join(root, 'policy/root.crt')],
      { stdio: 'ignore' },
    );
    const found = await look(root, files(root));
    assert.match(
      found['policy reports only'] ?? '',
      /p\.yaml:\d+ .*of a\.test\/\*\* that the rule would refuse are admitted, and only reported/,
    );
    assert.match(found['break-glass'] ?? '', /it admits b\.test\/\*\* until 2999-01-01.*outage \(ann\)/);
    assert.match(found['policy logs only'] ?? '', /any signer of c\.test\/\*\* is admitted/);
  });

  it('shows images that the policy admits without verification, and features that the handler lacks', async (t) => {
    const root = machine(t, {
      'policy/p.yaml': policy(
        '  - images: ["localhost:*/dev/**"]\n    allow: unverified\n  - images: ["a.test/**"]\n    require: { cosign: { key: k.pub } }\n',
      ),
      'policy/k.pub': String(key),
      'cni/10-n.conflist': network,
      one: '#!/bin/sh\n',
    });
    chmodSync(join(root, 'one'), 0o755);
    const features = {
      recursiveReadOnlyMounts: true,
      idmappedMounts: true,
      userNamespaces: false,
      bindsKeepSubmounts: true,
      timeNamespaces: true,
      whyNoUserNamespaces: 'too old',
    };
    mkdirSync(join(root, 'lib'));
    writeFileSync(
      join(root, 'lib/handler-features.json'),
      JSON.stringify({ [join(root, 'one')]: { key: 'k', features } }),
    );
    const found = await look(root, files(root));
    assert.match(found['unverified images'] ?? '', /admits localhost:\*\/dev\/\*\* without any proof/);
    assert.match(found['handler one'] ?? '', /no user namespaces \(hostUsers: false\): too old/);
    assert.deepEqual(Object.keys(found).toSorted(), [
      'crictl.yaml',
      'daemon',
      'enforcement',
      'handler one',
      'unverified images',
    ]);
  });
});
