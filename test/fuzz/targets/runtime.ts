import { createRequire } from 'node:module';
import { counterImages, isBounded, passes } from '../../../runtime/checkpoints/images/counter.fixture.ts';
import { readRights } from '../../../runtime/checkpoints/images/read-rights.ts';
import { parseLogLine } from '../../../runtime/cri/log-line.ts';
import { rpcs } from '../../../runtime/cri/contract/services.ts';
import type {
  ContainerConfig,
  CreateContainerRequest,
  PodSandboxConfig,
} from '../../../runtime/cri/contract/contract.types.ts';
import { criCodec } from '../../../runtime/cri/contract/services.ts';
import { appArmorRequest } from '../../../runtime/containers/confinement/apparmor-request.ts';
import { askedCdiDevices } from '../../../runtime/containers/cdi/device-names.ts';
import { parseSpec } from '../../../runtime/containers/cdi/spec-file.ts';
import { containerLogPath } from '../../../runtime/containers/logs/log-path.ts';
import { seLinuxRequest } from '../../../runtime/containers/confinement/selinux-request.ts';
import { parseGroup, parsePasswd, userFrom } from '../../../runtime/containers/bundle/user.ts';
import { networkCapabilities } from '../../../runtime/pods/network-capabilities.ts';
import { podNetworks } from '../../../runtime/pods/pod-networks.ts';
import { toPortMappings } from '../../../runtime/pods/port-mappings.ts';
import { planSandbox } from '../../../runtime/pods/validate.ts';
import { parseSize } from '../../../runtime/streaming/command-streams.ts';
import {
  createHeaderReader,
  createHeaderWriter,
  formatHeaders,
  parseHeaders,
} from '../../../runtime/streaming/spdy/header-block.ts';
import {
  controlFrame,
  createFrameParser,
  dataHeader,
  frameTypes,
} from '../../../runtime/streaming/spdy/frames.ts';
import { decode } from '../../../runtime/streaming/websocket-command.ts';
import { editMessage } from '../../../runtime/proxy/wire.ts';
import { yamlLimits } from './target.ts';
import type { FuzzTarget } from './target.ts';

/**
 * The codec throws a RangeError for bytes that are not a message; the server answers it as INVALID_ARGUMENT
 * (runtime/cri/calls.ts).
 */
function decoded<T>(decode: (bytes: Buffer) => T, bytes: Buffer): T {
  try {
    return decode(bytes);
  } catch (error) {
    if (error instanceof RangeError) throw new Error(error.message, { cause: error });
    throw error;
  }
}

/** Reads frames for `ws`, as a server does; the package's types do not declare it. */
const { Receiver } = createRequire(import.meta.url)('ws') as {
  readonly Receiver: new (options: {
    readonly isServer: boolean;
    readonly maxPayload: number;
  }) => NodeJS.WritableStream;
};

/** Runs several readers; each may refuse, without an effect on the others. */
function each(...readers: readonly (() => unknown)[]): unknown[] {
  return readers.map((read) => {
    try {
      return read();
    } catch (error) {
      if (error instanceof TypeError || error instanceof RangeError || error instanceof SyntaxError)
        throw error;
      return `refused: ${(error as Error).message}`;
    }
  });
}

const podConfig = {
  metadata: { name: 'web', namespace: 'shop', uid: '0a1b', attempt: 1 },
  hostname: 'web',
  logDirectory: '/var/log/pods/a',
  dnsConfig: { servers: ['10.96.0.10'], searches: ['svc.cluster.local'], options: ['ndots:5'] },
  portMappings: [{ protocol: 0, containerPort: 80, hostPort: 8080, hostIp: '' }],
  labels: { 'io.kubernetes.pod.name': 'web' },
  annotations: {
    'portcullis.dev/profile': 'web',
    'portcullis.dev/networks': '[{"name":"a","interface":"net1"}]',
    'portcullis.dev/services': '[{"name":"x","ports":["80:8080"]}]',
    'kubernetes.io/ingress-bandwidth': '10M',
  },
  linux: {
    cgroupParent: '/kubepods/pod1',
    sysctls: { 'net.ipv4.ip_unprivileged_port_start': '0', 'kernel.shm_rmid_forced': '1' },
    securityContext: { namespaceOptions: { network: 0, pid: 1, ipc: 0 }, seccomp: { profileType: 0 } },
  },
};
const containerConfig = {
  metadata: { name: 'a', attempt: 0 },
  image: { image: 'sha256:aa', userSpecifiedImage: 'example.com/a:1' },
  command: ['/bin/sh'],
  args: ['-c', 'true'],
  workingDir: '/srv',
  envs: [{ key: 'A', value: Buffer.from('b') }],
  mounts: [{ containerPath: '/data', hostPath: '/var/lib/x', readonly: true, propagation: 0 }],
  annotations: { 'cdi.k8s.io/a': 'vendor.example/class=dev' },
  CDIDevices: [{ name: 'vendor.example/class=dev' }],
  logPath: 'a/0.log',
  linux: {
    resources: { cpuShares: 2, memoryLimitInBytes: 1_000_000 },
    securityContext: {
      runAsUser: { value: 1000 },
      supplementalGroups: [1, 2],
      apparmor: { profileType: 0 },
      selinuxOptions: { user: 'u', role: 'r', type: 't', level: 's0' },
      capabilities: { addCapabilities: ['NET_ADMIN'] },
    },
  },
};
const pods = criCodec<PodSandboxConfig>('PodSandboxConfig');
const containers = criCodec<ContainerConfig>('ContainerConfig');
const createRequests = criCodec<CreateContainerRequest>('CreateContainerRequest');
const codecOf = new Map(rpcs.map((rpc, at) => [at, rpc]));

const passwd = 'root:x:0:0:root:/root:/bin/sh\nweb:x:1000:1000::/srv:/bin/false\n';
const group = 'root:x:0:\nweb:x:1000:web,root\n';

function spdySeed(): Buffer {
  const write = createHeaderWriter();
  const block = write(
    new Map([
      ['streamtype', 'stdin'],
      ['port', '80'],
      ['requestid', '0'],
    ]),
  );
  return Buffer.concat([
    controlFrame(frameTypes.synStream, 0, 1, 0, 0, block),
    dataHeader(1, 5, true),
    Buffer.from('hello'),
    controlFrame(frameTypes.ping, 0, 1),
    controlFrame(frameTypes.settings, 0, 0),
  ]);
}

export const targets: readonly FuzzTarget[] = [
  {
    name: 'runtime-pod-config',
    group: 'runtime',
    words: ['portcullis.dev/', 'net.ipv4.', 'kernel.', '..', '\n', 'NODE'],
    seeds: () => [pods.encode(podConfig as never)],
    read(bytes) {
      const config = decoded(pods.decode, bytes);
      return each(
        () => ({ ...planSandbox(config), hostname: '' }),
        () => toPortMappings(config.portMappings),
        () => podNetworks(config.annotations, config.metadata?.namespace ?? ''),
        () => networkCapabilities(config, '/a'),
      );
    },
  },
  {
    name: 'runtime-container-config',
    group: 'runtime',
    words: ['vendor.example/class=', 'cdi.k8s.io/', '..', '\n'],
    seeds: () => [containers.encode(containerConfig as never)],
    read(bytes) {
      const config = decoded(containers.decode, bytes);
      const security = config.linux?.securityContext;
      return each(
        () => askedCdiDevices(config),
        () => containerLogPath('/var/log/pods/a', config.logPath),
        () => appArmorRequest(security),
        () => seLinuxRequest(security?.selinuxOptions, undefined),
        () =>
          userFrom({
            passwd: parsePasswd(passwd),
            groups: parseGroup(group),
            imageUser: 'web',
            asked: security,
          }),
      );
    },
  },
  {
    name: 'runtime-cri-messages',
    group: 'runtime',
    seeds: () => rpcs.map((_, at) => Buffer.from([at, 0x0a, 0x03, 0x0a, 0x01, 0x61])),
    // The first byte selects the request. A message that is decoded, encoded and decoded again is the same.
    read(bytes) {
      const rpc = codecOf.get((bytes[0] ?? 0) % rpcs.length);
      if (rpc === undefined) return undefined;
      const value = decoded(rpc.request.decode, bytes.subarray(1));
      const again = rpc.request.decode(rpc.request.encode(value as never));
      if (JSON.stringify(again) !== JSON.stringify(value))
        throw new TypeError(`${rpc.name} changes when it is encoded again`);
      return value;
    },
  },
  {
    name: 'runtime-passwd',
    group: 'runtime',
    words: ['root:x:0:0', ':', '\n', '4294967295', '-1', '+', '::::'],
    seeds: () => [passwd, group],
    read: (bytes) =>
      each(
        () => parsePasswd(bytes.toString()),
        () => parseGroup(bytes.toString()),
        () =>
          userFrom({
            passwd: parsePasswd(bytes.toString()),
            groups: parseGroup(group),
            imageUser: bytes.toString('utf8', 0, 40),
            asked: undefined,
          }),
      ),
  },
  {
    name: 'runtime-cdi',
    group: 'runtime',
    allows: yamlLimits,
    seeds: () => [
      JSON.stringify({
        cdiVersion: '0.8.0',
        kind: 'vendor.example/class',
        devices: [
          {
            name: 'dev',
            containerEdits: { deviceNodes: [{ path: '/dev/null', permissions: 'rw' }], env: ['A=b'] },
          },
        ],
        containerEdits: { mounts: [{ hostPath: '/a', containerPath: '/b', options: ['ro'] }], hooks: [] },
      }),
    ],
    read: (bytes) => parseSpec(bytes.toString(), 'file.json'),
  },
  {
    name: 'runtime-log-line',
    group: 'runtime',
    seeds: () => [
      '2026-01-01T00:00:00.000000000Z stdout F hello',
      '2026-01-01T00:00:00.000000000Z stderr P x',
    ],
    read: (bytes) => parseLogLine(bytes),
  },
  {
    name: 'runtime-spdy-frames',
    group: 'runtime',
    seeds: () => [spdySeed()],
    // In pieces or as a whole, the frames are the same, except for how data is split.
    read(bytes) {
      const frames = (piece: number): string => {
        const parse = createFrameParser();
        const seen: string[] = [];
        try {
          for (let at = 0; at < bytes.length; at += piece) {
            for (const frame of parse(Buffer.from(bytes.subarray(at, at + piece)))) {
              if (frame.kind === 'control')
                seen.push(`${frame.type} ${frame.flags} ${frame.payload.toString('hex')}`);
              else if (frame.fin) seen.push(`data ${frame.stream}`);
            }
          }
        } catch (error) {
          if (error instanceof TypeError || error instanceof RangeError) throw error;
          return (error as Error).message;
        }
        return seen.join('\n');
      };
      const [whole, pieces] = [frames(bytes.length + 1), frames(bytes.length > 65_536 ? 4099 : 7)];
      if (whole !== pieces)
        throw new TypeError(`read whole: ${whole.slice(0, 500)}; read in pieces: ${pieces.slice(0, 500)}`);
      return whole;
    },
  },
  {
    name: 'runtime-spdy-headers',
    group: 'runtime',
    seeds: () => [
      createHeaderWriter()(new Map([['streamtype', 'stdin']])),
      formatHeaders(
        new Map([
          ['a', 'b'],
          ['c', 'd\0e'],
        ]),
      ),
    ],
    async read(bytes) {
      const reader = createHeaderReader();
      const inflated = await reader.read(bytes).catch((error: unknown) => {
        if (error instanceof TypeError) throw error;
        return (error as Error).message;
      });
      reader.close();
      return [inflated, ...each(() => parseHeaders(bytes))];
    },
  },
  {
    name: 'runtime-websocket',
    group: 'runtime',
    seeds: () => [
      Buffer.from([0x82, 0x83, 1, 2, 3, 4, 1 ^ 0, 2 ^ 0x61, 3 ^ 0x62]),
      Buffer.from([0x81, 0x82, 0, 0, 0, 0, 0x30, 0x61]),
      Buffer.from([0x88, 0x82, 0, 0, 0, 0, 3, 0xe8]),
    ],
    // The library reads the frames as it does for a client of ours, and each message is decoded as a
    // command's.
    async read(bytes) {
      const receiver = new Receiver({ isServer: true, maxPayload: 1024 * 1024 });
      const seen: unknown[] = [];
      receiver.on('message', (data: Buffer, isBinary: boolean) => {
        const buffer = Buffer.from(data);
        seen.push(
          decode(buffer, isBinary, { base64: false }),
          decode(buffer, isBinary, { base64: true }),
          parseSize(buffer.toString('utf8', 1)),
        );
      });
      await new Promise<void>((resolve) => {
        receiver.on('error', (error: Error) => {
          seen.push(error.message);
          resolve();
        });
        receiver.on('finish', resolve);
        // The library unmasks in place.
        receiver.end(Buffer.from(bytes));
      });
      return seen;
    },
  },
  {
    // The rights that another reader sees in a core that passes must be within the bound of its container.
    name: 'runtime-checkpoint-core',
    group: 'runtime',
    seeds: () => [counterImages().read('core-30.img')],
    read: (bytes) => {
      const changed = { 'core-30.img': bytes };
      if (passes(changed) && !isBounded(bytes)) throw new TypeError('a core with more rights passes');
      return readRights(counterImages(changed)).threads.map(({ pid, comm, uids }) => [pid, comm, uids]);
    },
  },
  {
    // The backend must see the value that the proxy set, whatever the message of the kubelet is like.
    name: 'runtime-proxy-wire',
    group: 'runtime',
    seeds: () => {
      const request = {
        podSandboxId: 'p',
        config: {
          metadata: { name: 'app' },
          image: { image: 'r.test/a:1' },
          envs: [{ key: 'A', value: Buffer.from('b') }],
        },
      };
      const bytes = createRequests.encode(request);
      return [bytes, Buffer.concat([bytes, bytes])];
    },
    read(bytes) {
      const edit = (message: Uint8Array): Buffer =>
        editMessage(message, {
          message: 'CreateContainerRequest',
          fields: {
            config: {
              into: {
                message: 'ContainerConfig',
                fields: { image: { into: { message: 'ImageSpec', fields: { image: { set: 'sha256:1' } } } } },
              },
            },
          },
        });
      let edited: Buffer;
      try {
        edited = edit(bytes);
      } catch (thrown) {
        if (thrown instanceof RangeError && /cannot be read|number 0|is not a message/u.test(thrown.message))
          return thrown.message;
        throw thrown;
      }
      if (!edit(edited).equals(edited)) throw new TypeError('a second edit changes the message');
      let decoded;
      try {
        decoded = createRequests.decode(edited);
      } catch (thrown) {
        return (thrown as Error).message;
      }
      if (decoded.config?.image?.image !== 'sha256:1') throw new TypeError('the decoder sees another image');
      return edited.toString('hex');
    },
  },
];
