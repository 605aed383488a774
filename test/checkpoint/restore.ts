/**
 * `npm run test:checkpoint`: restores of checkpoints by criu and runc, in the machine of test/vm, whose
 * kernel has what criu needs.
 */
import '../fixtures/private-namespaces.ts';
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import { gzipSync } from 'node:zlib';
import { createContainer, execute, exitOf, runContainer, runPod } from '../fixtures/pod.ts';
import type { Pod } from '../fixtures/pod.ts';
import { patience } from '../fixtures/daemon.ts';
import { layerOf, sha256 } from '../fixtures/image.ts';
import { failureOf, mountsBelow, openStage, policyOf } from '../fixtures/stage.ts';
import type { Stage } from '../fixtures/stage.ts';
import { findTool } from '../fixtures/tools.ts';

const criu = findTool('criu');

/** Counts in the memory of a shell, and ends with its own code when it is asked to. */
const counter =
  'trap "exit 7" TERM; mark=in-the-; mark=${mark}memory; rm /etc/deleted; echo kept > /tmp/kept; n=0; while true; do n=$((n+1)); echo "$n $mark"; sleep 0.2; done';
/** Seccomp RuntimeDefault, and no_new_privs. */
const security = { seccomp: { profileType: 0, localhostRef: '' }, noNewPrivs: true } as const;
const annotations = { 'org.criu.checkpoint.container.name': 'counter' };
const rule = (images: string, more: string): string =>
  `  - images: ["good.test/${images}"]\n    ${more}\n    entitlements: { ceiling: privileged }\n`;
const policy = policyOf(
  rule('app/**', 'namespaces: [shop]\n    require: { cosign: { key: k.pub } }') +
    rule('ck/**', 'require: { cosign: { key: k.pub } }') +
    rule('loose/**', 'allow: unverified'),
);

describe('restores of checkpoints', { skip: criu.skip }, () => {
  let stage: Stage;
  let folder = '';
  let out = '';
  let number = 0;
  let counted = 0;
  before(async () => {
    folder = mkdtempSync(join(tmpdir(), 'pc-restore-'));
    const config = join(folder, 'config.yaml');
    mkdirSync(join(folder, 'archives'), { mode: 0o700 });
    writeFileSync(
      config,
      JSON.stringify({
        runtimes: { runc: { path: '/usr/sbin/runc' }, crun: { path: '/usr/bin/crun' } },
        defaultRuntime: 'runc',
        checkpoint: {
          ...{ enabled: true, restore: true, folders: [join(folder, 'archives')] },
          ...{ maxSize: '48Mi', keepFree: '16Mi', timeout: 600 },
        },
      }),
    );
    stage = await openStage({ flags: ['--config', config], policy });
    const image = await stage.pull(
      (await stage.publish('app/a:1', { layers: [await layerOf([{ name: 'etc/deleted', body: 'x' }])] }))
        .reference,
    );
    const pod = await runPod(stage, 'origin', {}, 'runc');
    const id = await proved(() => runContainer(stage, pod, ask(image)));
    await until(() => countIn(pod) > 5);
    const archive = join(folder, 'archives/counter.tar');
    await stage.daemon.cri.runtime.checkpointContainer(
      { containerId: id, location: archive, timeout: 0 },
      { timeoutMs: patience * 3 },
    );
    out = join(folder, 'out');
    mkdirSync(out);
    execFileSync('tar', ['-xf', archive, '-C', out]);
    counted = Number(/^.* (\d+) in-the-memory$/m.exec(lastLine(join(out, 'container.log')))?.[1]);
    await stage.daemon.cri.runtime.removePodSandbox({ podSandboxId: pod.id });
  });
  after(async () => {
    await stage.close();
    rmSync(folder, { recursive: true, force: true });
  });
  /**
   * In the emulated machine, the first proof of a filter and the first look for signatures may take more time
   * than they have.
   */
  const proved = async <Value>(act: () => Promise<Value>): Promise<Value> => {
    for (let attempt = 1; ; attempt += 1) {
      try {
        return await act();
      } catch (cause) {
        if (attempt === 10 || !/ENTITLEMENTS_TOO_COMPLEX|IMAGES_UNDECIDED/.test(String(cause))) throw cause;
      }
    }
  };
  const lastLine = (path: string): string => readFileSync(path, 'utf8').trim().split('\n').at(-1) ?? '';
  const logOf = (pod: Pod): string => join(pod.config.logDirectory ?? '', 'counter/0.log');
  const countIn = (pod: Pod): number =>
    existsSync(logOf(pod)) ? Number(/ (\d+) in-the-memory$/.exec(lastLine(logOf(pod)))?.[1] ?? 0) : 0;
  const until = async (holds: () => boolean): Promise<void> => {
    for (let waited = 0; waited < 120_000 && !holds(); waited += 200) await pause(200);
    assert.ok(holds());
  };
  /** Publishes the archive, or a changed copy of it, as an image, and pulls it. */
  const imageOf = async (
    change?: (folder: string) => void,
    name = 'ck/counter',
    sign: 'bundle' | false = 'bundle',
  ): Promise<string> => {
    number += 1;
    const copy = join(folder, `archive-${number}`);
    cpSync(out, copy, { recursive: true });
    change?.(copy);
    const tar = execFileSync('tar', ['-c', '-C', copy, '.'], { maxBuffer: 2 ** 30 });
    rmSync(copy, { recursive: true });
    const { reference } = await stage.publish(
      `${name}:${number}`,
      {
        ...{ base: false, config: { Cmd: [], Env: [] }, manifest: { annotations } },
        layers: [{ blob: gzipSync(tar, { level: 1 }), diffId: sha256(tar) }],
      },
      { sign },
    );
    return proved(() => stage.pull(reference));
  };
  /** Nothing of a container is left on the node, after probes of the handlers have ended. */
  const expectNothingLeft = async (): Promise<void> => {
    const left = (): string[] => [
      ...['root/restores', 'root/images/rootfs', 'state/containers', 'state/oci/runc'].flatMap((place) => {
        const path = join(stage.folders.folder, place);
        return existsSync(path) ? readdirSync(path).map((name) => join(path, name)) : [];
      }),
      ...mountsBelow(stage.folders.folder).filter((path) => /rootfs|volumes|criu/.test(path)),
    ];
    for (let waited = 0; waited < 60_000 && left().length > 0; waited += 500) await pause(500);
    assert.deepEqual(left(), []);
  };
  const ask = (image: string) => ({ name: 'counter', image, security, command: ['sh', '-c', counter] });

  it('continue the count in another pod, with the log, the exit code and the rights of the request', async () => {
    const image = await imageOf();
    const pod = await runPod(stage, 'restored', {}, 'runc');
    const id = await createContainer(stage, pod, ask(image));
    const { runtime } = stage.daemon.cri;
    await pause(2_000);
    assert.equal(countIn(pod), 0, 'it ran before its start');
    await runtime.startContainer({ containerId: id }, { timeoutMs: patience });
    await until(() => countIn(pod) > counted + 5);
    const first = Number(/ (\d+) in-the-memory$/m.exec(readFileSync(logOf(pod), 'utf8'))?.[1]);
    // The log of the archive is read after the container was thawed.
    assert.ok(first > 5 && first <= counted + 1, `it counted on from ${first}, not from ${counted}`);
    assert.equal((await execute(stage, id, 'cat', '/tmp/kept')).stdout, 'kept\n');
    assert.notEqual((await execute(stage, id, 'cat', '/etc/deleted')).exitCode, 0);
    assert.equal((await execute(stage, id, 'hostname')).stdout, 'restored\n');
    const status = (await execute(stage, id, 'cat', '/proc/1/status')).stdout;
    for (const line of [/^NoNewPrivs:\s*1$/m, /^Seccomp:\s*2$/m, /^Seccomp_filters:\s*1$/m])
      assert.match(status, line);
    await stage.restart({ kill: true });
    const before = countIn(pod);
    await until(() => countIn(pod) > before + 5);
    await stage.daemon.cri.runtime.stopContainer({ containerId: id, timeout: 60 }, { timeoutMs: patience });
    assert.equal((await exitOf(stage, id)).exitCode, 7);
    await stage.daemon.cri.runtime.removePodSandbox({ podSandboxId: pod.id });
    await expectNothingLeft();
  });

  it('leave nothing when the daemon is killed during one, and succeed afterwards', async () => {
    const image = await imageOf();
    const pod = await runPod(stage, 'killed', {}, 'runc');
    const cut = proved(() => createContainer(stage, pod, ask(image))).catch(() => undefined);
    await until(() => criuIs('restore'));
    await stage.restart({ kill: true });
    await cut;
    await expectNothingLeft();
    assert.ok(!criuIs(''));
    const id = await proved(() => runContainer(stage, pod, ask(image)));
    await until(() => countIn(pod) > counted + 2);
    await stage.daemon.cri.runtime.stopContainer({ containerId: id, timeout: 0 }, { timeoutMs: patience });
    await stage.daemon.cri.runtime.removePodSandbox({ podSandboxId: pod.id });
    await expectNothingLeft();
  });

  describe('are refused, with nothing left, for', () => {
    let pod: Pod;
    before(async () => {
      pod = await runPod(stage, 'refusing', {}, 'runc');
    });
    after(async () => {
      await stage.daemon.cri.runtime.removePodSandbox({ podSandboxId: pod.id });
    });
    const expectRefusal = async (
      image: string,
      why: RegExp,
      more: Parameters<typeof createContainer>[2]['more'] = {},
      place = pod,
    ): Promise<void> => {
      const failure = await failureOf(proved(() => createContainer(stage, place, { ...ask(image), more })));
      assert.match(failure.message, why);
      await expectNothingLeft();
    };
    /** Replaces the bytes of an image of the archive, which keep their length. */
    const bytes =
      (name: string, from: string | Uint8Array, to: string | Uint8Array) =>
      (archive: string): void => {
        const path = join(archive, 'checkpoint', name);
        const content = readFileSync(path);
        const [old, fresh] = [Buffer.from(from), Buffer.from(to)];
        assert.equal(old.length, fresh.length);
        let replaced = 0;
        for (let at = content.indexOf(old); at !== -1; at = content.indexOf(old, at + 1)) {
          fresh.copy(content, at);
          replaced += 1;
        }
        assert.ok(replaced > 0, name);
        writeFileSync(path, content);
      };
    const image = (name: string): ((archive: string) => string) => {
      return (archive) => join(archive, 'checkpoint', name);
    };
    const pages = image('pages-1.img');

    it('an image that the policy admits without a signature', async () => {
      await expectRefusal(await imageOf(undefined, 'loose/counter', false), /without a signature/);
    });

    it('a base image that is not on the node, or not admitted in the namespace', async () => {
      const unknown = await imageOf((archive) => {
        const path = join(archive, 'config.dump');
        writeFileSync(path, readFileSync(path, 'utf8').replace(/[0-9a-f]{64}/g, 'f'.repeat(64)));
      });
      await expectRefusal(unknown, /is not on this node/);
      const metadata = { name: 'elsewhere', uid: 'u-elsewhere', namespace: 'other', attempt: 0 };
      const other = await runPod(stage, 'elsewhere', { metadata }, 'runc');
      await expectRefusal(await imageOf(), /no rule|not admit|SignatureValidationFailed/, {}, other);
      await stage.daemon.cri.runtime.removePodSandbox({ podSandboxId: other.id });
    });

    it('more capabilities than the request has', async () => {
      // The bounding set as a number of protobuf, without and with CAP_SYS_ADMIN.
      const [own, mighty] = [0xa80425fbn, 0xa82425fbn].map(varint);
      assert.ok(own && mighty);
      await expectRefusal(
        await imageOf(bytes('core-1.img', own, mighty)),
        /bounding capabilities .*SYS_ADMIN/,
      );
    });

    it('processes without the filter of the request', async () => {
      await expectRefusal(
        await imageOf((archive) => rmSync(image('seccomp.img')(archive))),
        /images cannot be read|no filter of system calls/,
      );
    });

    it('a file outside the root file system, and a path that leaves it', async () => {
      await expectRefusal(await imageOf(bytes('files.img', '/dev/null', '/dev/kmsg')), /"\/dev\/kmsg"/);
      await expectRefusal(
        await imageOf(bytes('files.img', '/bin/busybox', '/bin/../../x')),
        /"\/bin\/\.\.\/\.\.\/x" is not a plain path/,
      );
    });

    it('mounts that the request does not have, and those that the archive does not have', async () => {
      const mounts = readdirSync(join(out, 'checkpoint')).find((name) => name.startsWith('mountpoints-'));
      await expectRefusal(
        await imageOf(bytes(mounts ?? '', '/etc/hosts', '/etc/hostt')),
        /"\/etc\/hostt" is not in the specification/,
      );
      const volume = join(folder, 'volume');
      mkdirSync(volume, { recursive: true });
      await expectRefusal(await imageOf(), /the mount "\/data" is missing/, {
        mounts: [{ containerPath: '/data', hostPath: volume }],
      });
    });

    it('images of other kinds, and files that are none', async () => {
      await expectRefusal(
        await imageOf((archive) => writeFileSync(image('ghost-file-1.img')(archive), 'x')),
        /the image "ghost-file-1.img"/,
      );
      await expectRefusal(
        await imageOf((archive) => {
          rmSync(pages(archive));
          symlinkSync('/etc/passwd', pages(archive));
        }),
        /pages-1.img cannot be opened/,
      );
      await expectRefusal(
        await imageOf((archive) => {
          rmSync(pages(archive));
          execFileSync('mknod', [pages(archive), 'c', '1', '3']);
        }),
        /pages-1.img is not a regular file/,
      );
    });

    it('a handler and a terminal that a restore does not support', async () => {
      const restored = await imageOf();
      const other = await runPod(stage, 'of-crun', {}, 'crun');
      await expectRefusal(restored, /only runc/, {}, other);
      await stage.daemon.cri.runtime.removePodSandbox({ podSandboxId: other.id });
      await expectRefusal(restored, /it has a terminal/, { tty: true, stdin: true });
    });
  });
});

/** Whether a process of criu runs that has this word among its arguments. */
function criuIs(word: string): boolean {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .some((name) => {
      try {
        const isCriu = readFileSync(`/proc/${name}/comm`, 'utf8').trim() === 'criu';
        return isCriu && readFileSync(`/proc/${name}/cmdline`, 'utf8').includes(word);
      } catch {
        return false;
      }
    });
}

/** Encodes a number as protobuf does (protobuf.dev, "Encoding"). */
function varint(value: bigint): Uint8Array {
  const digits: number[] = [];
  for (let rest = value; ; rest >>= 7n) {
    if (rest < 0x80n) return Uint8Array.from([...digits, Number(rest)]);
    digits.push(Number(rest & 0x7fn) | 0x80);
  }
}
