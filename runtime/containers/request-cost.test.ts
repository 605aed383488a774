import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { assertNearLinearWork } from '../../test/fixtures/cost.ts';
import type { CostCases } from '../../test/fixtures/cost.ts';
import { askedFromSecurityContext, meet } from '../../entitlements/index.ts';
import { followContainerLog } from '../cri/log-file.ts';
import { MountPropagation } from '../cri/contract/contract.types.ts';
import type { Mount, PodSandboxConfig, PortMapping } from '../cri/contract/contract.types.ts';
import { parseImageConfig } from '../images/manifest/image-config.ts';
import { chooseManifest } from '../images/manifest/image-index.ts';
import { defaultLimits } from '../images/limits/limits.ts';
import { mountPointsBelow, parseMountinfo } from '../container-mounts/mountinfo.ts';
import { containerMounts } from '../oci/mounts.ts';
import { noFeatures } from '../oci/handler-features.ts';
import { toPortMappings } from '../pods/port-mappings.ts';
import { planSandbox } from '../pods/validate.ts';
import { askedCdiDevices } from './cdi/device-names.ts';
import { parseSpec } from './cdi/spec-file.ts';
import { askedPaths } from './confinement/asked-paths.ts';
import { containerLogPath } from './logs/log-path.ts';
import { checkPropagation } from './mount-sources.ts';
import { parseGroup, parsePasswd, userFrom } from './bundle/user.ts';

/**
 * The time to read the input of pods, images and the tables of the host grows at most linearly with its size.
 */

const folder = mkdtempSync(join(tmpdir(), 'request-cost-'));
after(() => rmSync(folder, { recursive: true }));

const range = <T>(n: number, make: (index: number) => T): T[] =>
  Array.from({ length: n }, (_, index) => make(index));
const entries = (n: number, key: string): Record<string, string> =>
  Object.fromEntries(range(n, (index) => [`${key}${index}`, 'value']));
const mountOf = (
  index: number,
  propagation: MountPropagation = MountPropagation.PROPAGATION_PRIVATE,
): Mount => ({
  containerPath: `/data/${index}`,
  hostPath: `/srv/${index}`,
  readonly: false,
  selinuxRelabel: false,
  propagation,
  uidMappings: [],
  gidMappings: [],
  recursiveReadOnly: false,
  imageSubPath: '',
  mountOptions: [],
});
const mountinfo = (n: number): string =>
  range(
    n,
    (index) => `${index} 1 0:${index} / /srv/${index}/m\\040x rw,relatime shared:${index} - tmpfs tmpfs rw`,
  ).join('\n');
const sandbox = (part: object): PodSandboxConfig => ({
  metadata: { name: 'web', namespace: 'shop', uid: 'u-1', attempt: 0 },
  hostname: '',
  logDirectory: '',
  portMappings: [],
  labels: {},
  annotations: {},
  ...part,
});
const platform = { os: 'linux', architecture: 'amd64' };

const cases: CostCases = {
  'users and groups of an image': [
    500,
    (n) => {
      const passwd = range(n, (index) => `user${index}:x:${index}:${index}::/home/${index}:/bin/sh`).join(
        '\n',
      );
      const group = range(n, (index) => `group${index}:x:${index}:user${index},last`).join('\n');
      return () =>
        userFrom({
          passwd: parsePasswd(passwd),
          groups: parseGroup(group),
          imageUser: `user${n - 1}:group${n - 1}`,
          asked: undefined,
        });
    },
  ],
  'mounts of the host': [
    500,
    (n) => {
      const text = mountinfo(n);
      return () => mountPointsBelow(parseMountinfo(text), '/srv');
    },
  ],
  'mounts with propagation, on a host with as many mounts': [
    200,
    (n) => {
      const sources = range(n, (index) => ({
        mount: mountOf(index, MountPropagation.PROPAGATION_HOST_TO_CONTAINER),
        path: `/srv/${index}/m x`,
      }));
      const text = mountinfo(n);
      return () => checkPropagation(sources as never, text);
    },
  ],
  'mounts of a container': [
    300,
    (n) => {
      const asked = range(n, (index) => mountOf(index));
      const podFiles = { shm: '/s', resolvConf: '/r', hostname: '/n', hosts: '/h' };
      return () =>
        containerMounts({
          ...{
            asked,
            podFiles,
            readonlyRootfs: false,
            writableSys: false,
            cgroups: { namespace: true, writable: false, delegated: false },
            hostNetwork: false,
            features: noFeatures,
          },
          userNamespace: undefined,
        });
    },
  ],
  'masked and read-only paths of a container': [
    500,
    (n) => {
      const request = {
        ...{ privileged: false, noNewPrivs: false, readonlyRootfs: false },
        ...{ hostNetwork: false, hostPid: false, hostIpc: false },
        ...{ addCapabilities: [], dropCapabilities: [], addAmbient: [], boundingCapabilities: [] },
        maskedPaths: askedPaths(
          'masked_paths',
          range(n, (index) => `/m/${index}`),
        ),
        readonlyPaths: range(n, (index) => `/r/${index}`),
      };
      const { asked: other } = askedFromSecurityContext(request);
      return () => meet(askedFromSecurityContext(request).asked, { ...other });
    },
  ],
  'labels, annotations and sysctls of a pod': [
    2000,
    (n) => {
      const sysctls = Object.fromEntries(range(n, (index) => [`net.ipv4.x${index}`, '1']));
      const config = sandbox({
        labels: entries(n, 'l'),
        annotations: entries(n, 'a'),
        linux: { cgroupParent: '', sysctls },
      });
      return () => planSandbox(config);
    },
  ],
  'port mappings of a pod': [
    1000,
    (n) => {
      const asked = range(n, (index): PortMapping => ({
        protocol: 0,
        containerPort: 80,
        hostPort: 1 + (index % 65_000),
        hostIp: '',
      }));
      return () => toPortMappings(asked);
    },
  ],
  'the parts of a log’s path': [
    500,
    (n) => () => containerLogPath('/var/log/pods/p', 'a/'.repeat(n) + '0.log'),
  ],
  'CDI devices of a container': [
    // Four times this number is the maximum that is read.
    256,
    (n) => {
      const config = { CDIDevices: range(n, (index) => ({ name: `v/c=${index}` })), annotations: {} };
      return () => askedCdiDevices(config);
    },
  ],
  'CDI devices that annotations name': [
    // Four times this number stays below 1020: V8 stores objects with more properties in another form, whose
    // keys cost ten times as much.
    250,
    (n) => {
      const annotations = Object.fromEntries(range(n, (index) => [`cdi.k8s.io/${index}`, `v/c=${index}`]));
      return () => askedCdiDevices({ CDIDevices: [], annotations });
    },
  ],
  'devices of a CDI spec': [
    40,
    (n) => {
      const devices = range(n, (index) => ({ name: `d${index}`, containerEdits: { env: ['A=b'] } }));
      const text = JSON.stringify({ cdiVersion: '0.3.0', kind: 'vendor.example/class', devices });
      return () => parseSpec(text, 'a.json');
    },
  ],
  'the configuration of an image': [
    1000,
    (n) => {
      const config = {
        Env: range(n, (index) => `E${index}=x`),
        Labels: entries(2 * n, 'l'),
        Volumes: entries(1, '/v'),
      };
      const bytes = Buffer.from(
        JSON.stringify({ ...platform, config, rootfs: { type: 'layers', diff_ids: [] } }),
      );
      return () => parseImageConfig(bytes, 'sha256:0', 0, platform);
    },
  ],
  'entries of an image index': [
    100,
    (n) => {
      const manifests = range(n, (index) => ({
        mediaType: 'application/vnd.oci.image.manifest.v1+json',
        digest: `sha256:${index.toString(16).padStart(64, '0')}`,
        size: 10,
        platform: { os: 'linux', architecture: index === n - 1 ? 'amd64' : 'arm64' },
      }));
      const bytes = Buffer.from(JSON.stringify({ schemaVersion: 2, manifests }));
      return () => chooseManifest(bytes, 'sha256:0', platform, defaultLimits);
    },
  ],
  'lines of a log': [5000, (n) => logOf(`${n}.log`, '2026-01-01T00:00:00Z stdout F line\n'.repeat(n))],
};

function logOf(name: string, text: string): () => Promise<void> {
  const path = join(folder, name);
  writeFileSync(path, text);
  return async () => {
    for await (const entry of followContainerLog(path)) if (entry.content.length === Infinity) return;
  };
}

for (const [what, [n, make]] of Object.entries(cases))
  test(`${what}: twice as many take about twice the time`, () => assertNearLinearWork(what, make, { n }));
