import '../fixtures/private-namespaces.ts';
import assert from 'node:assert/strict';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { after, before, describe, it } from 'node:test';
import { ContainerState, PodSandboxState } from '../../runtime/client.ts';
import { readShimRecord } from '../../runtime/shim/shim-record.ts';
import { openTaskApi } from '../../runtime/shim/task-api.ts';
import { portcullis } from '../fixtures/command.ts';
import { createContainer, execute, exitOf, removePod, runContainer, runPod } from '../fixtures/pod.ts';
import type { Pod } from '../fixtures/pod.ts';
import { failureOf, mountsBelow, openStage, policyOf, registryName } from '../fixtures/stage.ts';
import type { Stage } from '../fixtures/stage.ts';
import { openCommand, openSpdy } from '../fixtures/stream-client.ts';
import { findTool } from '../fixtures/tools.ts';

const tools = {
  crun: findTool('crun'),
  runc: findTool('runc'),
  runsc: findTool('runsc'),
  runcShim: findTool('containerd-shim-runc-v2'),
  runscShim: findTool('containerd-shim-runsc-v1'),
};

interface Handler {
  readonly name: string;
  readonly config: Readonly<Record<string, string>>;
  readonly skip: string | false;
  readonly isShim: boolean;
}

const handlers: readonly Handler[] = [
  { name: 'crun', config: { path: tools.crun.path }, skip: tools.crun.skip, isShim: false },
  { name: 'runc', config: { path: tools.runc.path }, skip: tools.runc.skip, isShim: false },
  {
    name: 'shim-runc',
    config: { path: tools.runcShim.path, type: 'shim', runtimePath: tools.runc.path },
    skip: tools.runcShim.skip === false ? tools.runc.skip : tools.runcShim.skip,
    isShim: true,
  },
  {
    name: 'gvisor',
    config: { path: tools.runscShim.path, type: 'shim', runtimePath: tools.runsc.path },
    skip: tools.runscShim.skip === false ? tools.runsc.skip : tools.runscShim.skip,
    isShim: true,
  },
];
const present = handlers.filter(({ skip }) => skip === false);

const policy = `${policyOf(
  `  - images: ["${registryName}/app/**"]
    require: { cosign: { key: k.pub } }
    entitlements: { ceiling: privileged }
  - images: ["${registryName}/bound/**"]
    require: { cosign: { key: k.pub } }
    entitlements: { ceiling: baseline }
`,
)}---
apiVersion: portcullis.dev/v1alpha1
kind: EntitlementProfile
metadata: { name: few-processes }
resources: { pids: 40 }
`;
const admin = { addCapabilities: ['SYS_ADMIN'], dropCapabilities: [], addAmbientCapabilities: [] };

/** Processes whose arguments contain a text: shims and sandboxes have the id of their pod there. */
function processesOf(text: string): string[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .flatMap((pid) => {
      try {
        const line = readFileSync(`/proc/${pid}/cmdline`, 'utf8').replaceAll('\0', ' ').trim();
        return line.includes(text) ? [`${pid} ${line}`] : [];
      } catch {
        return [];
      }
    });
}

describe('pods of every handler in one daemon', () => {
  let stage: Stage;
  let image = '';
  let bounded = '';
  let folder = '';
  before(async () => {
    folder = mkdtempSync(join(tmpdir(), 'pc-handlers-'));
    const config = join(folder, 'config.yaml');
    const runtimes = Object.fromEntries(present.map(({ name, config: runtime }) => [name, runtime]));
    const cdi = { specDirs: [join(folder, 'cdi')] };
    writeFileSync(config, JSON.stringify({ runtimes, defaultRuntime: present[0]?.name, cdi }));
    stage = await openStage({ flags: ['--config', config], policy });
    image = await stage.pull((await stage.publish('app/a:1')).reference);
    bounded = await stage.pull((await stage.publish('bound/a:1')).reference);
  });
  after(async () => {
    await stage.close();
    rmSync(folder, { recursive: true, force: true });
  });
  const runtime = () => stage.daemon.cri.runtime;
  const logOf = (pod: Pod, name: string): string =>
    readFileSync(join(pod.config.logDirectory ?? '', name, '0.log'), 'utf8');

  /** No process of the pod is left, no folder of its shim, and no mount. */
  const expectGone = (pod: Pod): void => {
    assert.deepEqual(processesOf(pod.id), []);
    assert.deepEqual(
      mountsBelow(stage.folders.folder).filter((path) => path.includes(pod.id)),
      [],
    );
    assert.ok(!existsSync(join(stage.folders.state, 'shims', pod.id)));
  };

  for (const { name, skip, isShim } of handlers)
    describe(name, { skip }, () => {
      it('runs two containers in one pod, with logs, exit codes, commands and statistics', async () => {
        const pod = await runPod(stage, `${name}-life`, {}, name);
        const first = await runContainer(stage, pod, {
          image,
          name: 'first',
          command: ['sh', '-c', 'echo out; echo err >&2; trap "exit 7" TERM; while true; do sleep 0.1; done'],
        });
        const second = await runContainer(stage, pod, {
          image,
          name: 'second',
          command: ['sh', '-c', 'echo short; exit 3'],
        });
        const ended = await exitOf(stage, second);
        assert.equal(ended.exitCode, 3);
        assert.equal(ended.reason, 'Error');
        assert.match(logOf(pod, 'second'), / stdout F short\n/);
        assert.match(logOf(pod, 'first'), / stdout F out\n/);
        assert.match(logOf(pod, 'first'), / stderr F err\n/);
        assert.deepEqual(await execute(stage, first, 'sh', '-c', 'echo hello; echo bad >&2; exit 5'), {
          exitCode: 5,
          stdout: 'hello\n',
          stderr: 'bad\n',
        });
        const refused = await failureOf(execute(stage, first, '/no/such/program'));
        assert.match(refused.code, /RUNTIME_EXEC_REFUSED|CRI_/);
        const { stats } = await runtime().containerStats({ containerId: first });
        assert.equal(stats?.attributes?.id, first);
        assert.ok((stats.memory?.workingSetBytes?.value ?? 0) > 0, 'memory of the container');
        assert.ok((stats.cpu?.usageCoreNanoSeconds?.value ?? 0) > 0, 'processor time of the container');
        const { stats: all } = await runtime().podSandboxStats({ podSandboxId: pod.id });
        assert.ok((all?.linux?.memory?.workingSetBytes?.value ?? 0) > 0, 'memory of the pod');
        await runtime().stopContainer({ containerId: first, timeout: 5 });
        assert.equal((await exitOf(stage, first)).exitCode, 7);
        // gVisor takes the addresses of the link into its own network stack.
        assert.doesNotMatch(stage.daemon.log(), /was changed in the pod's network namespace/);
        await removePod(stage, pod);
        expectGone(pod);
        assert.deepEqual(processesOf(first), []);
      });

      it('kills a container that ignores its stop signal', async () => {
        const pod = await runPod(stage, `${name}-kill`, {}, name);
        const id = await runContainer(stage, pod, {
          image,
          command: ['sh', '-c', 'trap "" TERM; echo ready; while true; do sleep 0.1; done'],
        });
        for (let waited = 0; waited < 60_000 && !logOf(pod, 'main').includes('ready'); waited += 50)
          await pause(50);
        await runtime().stopContainer({ containerId: id, timeout: 1 });
        assert.equal((await exitOf(stage, id)).exitCode, 137);
        await runtime().removeContainer({ containerId: id });
        await removePod(stage, pod);
      });

      it('stops and removes containers that were never started', async () => {
        const pod = await runPod(stage, `${name}-created`, {}, name);
        const ids = [
          await createContainer(stage, pod, { image, name: 'stopped', command: ['sleep', '600'] }),
          await createContainer(stage, pod, { image, name: 'removed', command: ['sleep', '600'] }),
          await createContainer(stage, pod, { image, name: 'left', command: ['sleep', '600'] }),
        ] as const;
        await runtime().stopContainer({ containerId: ids[0], timeout: 1 });
        await runtime().removeContainer({ containerId: ids[0] });
        await runtime().removeContainer({ containerId: ids[1] });
        await removePod(stage, pod);
        expectGone(pod);
        for (const id of ids) assert.deepEqual(processesOf(id), []);
      });

      it('reports a program that is not in the image', async () => {
        const pod = await runPod(stage, `${name}-missing`, {}, name);
        const id = await createContainer(stage, pod, { image, command: ['/no/such/program'] });
        await failureOf(runtime().startContainer({ containerId: id }));
        await removePod(stage, pod);
        expectGone(pod);
      });

      it('streams exec with a terminal and attach', async () => {
        const pod = await runPod(stage, `${name}-streams`, {}, name);
        const id = await runContainer(stage, pod, {
          image,
          command: ['sh', '-c', 'while read -r line; do echo "got $line"; done'],
          more: { stdin: true },
        });
        const exec = await runtime().exec({
          containerId: id,
          cmd: ['sh', '-c', 'read -r x; stty size; echo "tty $x"; exit 4'],
          tty: true,
          stdin: true,
          stdout: true,
        });
        const terminal = await openCommand(exec.url);
        terminal.resize(100, 40);
        await pause(500);
        terminal.send('typed\n');
        const status = await terminal.status;
        assert.match(terminal.stdout(), /tty typed/);
        assert.match(terminal.stdout(), /40 100/);
        assert.match(JSON.stringify(status), /"4"/);
        const attach = await runtime().attach({ containerId: id, stdin: true, stdout: true });
        const attached = await openCommand(attach.url);
        attached.send('line\n');
        for (let waited = 0; waited < 60_000 && !attached.stdout().includes('got line'); waited += 20)
          await pause(20);
        assert.match(attached.stdout(), /got line/);
        attached.drop();
        await removePod(stage, pod);
      });

      it('gives a container and a command the end of their input', { timeout: 60_000 }, async () => {
        const pod = await runPod(stage, `${name}-input`, {}, name);
        const id = await runContainer(stage, pod, {
          image,
          command: ['sh', '-c', 'cat; exit 5'],
          more: { stdin: true, stdinOnce: true },
        });
        const exec = await runtime().exec({
          containerId: id,
          cmd: ['sh', '-c', 'cat; exit 6'],
          stdin: true,
          stdout: true,
        });
        const command = await openCommand(exec.url);
        command.send('to the command\n');
        command.endInput();
        assert.match(JSON.stringify(await command.status), /"6"/);
        assert.equal(command.stdout(), 'to the command\n');
        const attach = await runtime().attach({ containerId: id, stdin: true, stdout: true });
        const attached = await openCommand(attach.url);
        attached.send('to the container\n');
        attached.endInput();
        assert.equal((await exitOf(stage, id)).exitCode, 5);
        assert.match(logOf(pod, 'main'), / stdout F to the container\n/);
        await removePod(stage, pod);
      });

      it('does not wait for what a command leaves, and ends it at the timeout', async () => {
        const pod = await runPod(stage, `${name}-left`, {}, name);
        const id = await runContainer(stage, pod, { image, command: ['sleep', '600'] });
        const started = performance.now();
        assert.equal((await execute(stage, id, 'sh', '-c', 'sleep 30 & echo done')).stdout, 'done\n');
        const cmd = ['sh', '-c', 'sleep 1234 & sleep 30'];
        const late = await failureOf(runtime().execSync({ containerId: id, cmd, timeout: 1 }));
        assert.equal(late.code, 'RUNTIME_EXEC_TIMEOUT');
        assert.ok(performance.now() - started < 20_000);
        if (name !== 'gvisor') assert.doesNotMatch((await execute(stage, id, 'ps')).stdout, /sleep 1234/);
        await removePod(stage, pod);
      });

      // The first process of a gVisor container is not a process of the node.
      it('reports the first process of a container', { skip: name === 'gvisor' }, async () => {
        const pod = await runPod(stage, `${name}-pid`, {}, name);
        const id = await runContainer(stage, pod, { image, command: ['sleep', '600'] });
        const { info } = await runtime().containerStatus({ containerId: id, verbose: true });
        const { pid } = JSON.parse(info['info'] ?? '{}') as { pid: number };
        const program = (): string => readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0')[0] ?? '';
        // crun answers a moment before the process executes the program.
        for (let waited = 0; waited < 10_000 && program() !== 'sleep'; waited += 20) await pause(20);
        assert.equal(program(), 'sleep');
        await removePod(stage, pod);
      });

      // The ports of a gVisor sandbox are in its own network stack, not in the network namespace of the pod.
      it('forwards a port', { skip: name === 'gvisor' }, async () => {
        const pod = await runPod(stage, `${name}-port`, {}, name);
        const id = await runContainer(stage, pod, {
          image,
          command: [
            'sh',
            '-c',
            'mkdir /tmp/www; echo a page >/tmp/www/index.html; exec httpd -f -p 80 -h /tmp/www',
          ],
        });
        const listens = async (): Promise<boolean> =>
          (await execute(stage, id, 'netstat', '-ltn')).stdout.includes(':80 ');
        for (let waited = 0; waited < 60_000 && !(await listens()); waited += 50) await pause(50);
        const { url } = await runtime().portForward({ podSandboxId: pod.id, port: [] });
        const client = await openSpdy(url, 'portforward.k8s.io');
        const header = { port: '80', requestid: '0' };
        client.open({ streamtype: 'error', ...header });
        const data = client.open({ streamtype: 'data', ...header });
        client.send(data, Buffer.from('GET / HTTP/1.0\r\n\r\n'));
        for (let waited = 0; waited < 60_000 && !client.ended(data); waited += 20) await pause(20);
        assert.match(client.received(data).toString(), /a page/);
        client.drop();
        await removePod(stage, pod);
      });

      it('survives kill -9 of the daemon, and reports containers that ended meanwhile', async () => {
        const pod = await runPod(stage, `${name}-restart`, {}, name);
        const stays = await runContainer(stage, pod, {
          image,
          name: 'stays',
          command: [
            'sh',
            '-c',
            'trap "exit 9" TERM; i=0; while true; do i=$((i+1)); echo $i; sleep 0.1; done',
          ],
        });
        const ends = await runContainer(stage, pod, {
          image,
          name: 'ends',
          command: ['sh', '-c', 'sleep 2; echo last; exit 6'],
        });
        await stage.restart({ kill: true, meanwhile: () => pause(4_000) });
        const exited = await exitOf(stage, ends);
        assert.equal(exited.exitCode, 6);
        assert.match(logOf(pod, 'ends'), / stdout F last\n/);
        const { status } = await runtime().containerStatus({ containerId: stays });
        assert.equal(status?.state, ContainerState.CONTAINER_RUNNING);
        assert.equal((await execute(stage, stays, 'echo', 'again')).stdout, 'again\n');
        const numbers = [...logOf(pod, 'stays').matchAll(/ stdout F (\d+)\n/g)].map((match) =>
          Number(match[1]),
        );
        assert.deepEqual(
          numbers,
          numbers.map((_, index) => index + 1),
          'no line is lost',
        );
        await runtime().stopContainer({ containerId: stays, timeout: 5 });
        assert.equal((await exitOf(stage, stays)).exitCode, 9);
        await removePod(stage, pod);
        expectGone(pod);
      });

      if (isShim)
        it('ends the shim of a pod that is stopped without killing it', async () => {
          const times: number[] = [];
          // A busy machine may be slow once.
          for (let round = 0; round < 3 && !times.some((time) => time < 2_000); round += 1) {
            const pod = await runPod(stage, `${name}-shutdown-${round}`, {}, name);
            await runContainer(stage, pod, { image, command: ['sleep', '600'] });
            const started = performance.now();
            await runtime().stopPodSandbox({ podSandboxId: pod.id });
            times.push(performance.now() - started);
            await removePod(stage, pod);
            expectGone(pod);
          }
          // After 2 seconds, the shim is killed.
          assert.ok(Math.min(...times) < 2_000, times.join(', '));
        });

      if (isShim)
        it('stops a task that another client paused', async () => {
          const pod = await runPod(stage, `${name}-paused`, {}, name);
          const id = await runContainer(stage, pod, { image, command: ['sleep', '600'] });
          const shim = await readShimRecord(join(stage.folders.state, 'containers', id));
          assert.ok(shim);
          const api = await openTaskApi(shim);
          await api.pause({ id });
          await runtime().stopContainer({ containerId: id, timeout: 1 });
          api.close();
          assert.equal((await exitOf(stage, id)).exitCode, 137);
          await removePod(stage, pod);
          expectGone(pod);
        });

      if (isShim)
        it('ends the pod when its shim is killed, and leaves nothing', async () => {
          const pod = await runPod(stage, `${name}-shim`, {}, name);
          const id = await runContainer(stage, pod, { image, command: ['sleep', '600'] });
          const shims = processesOf(`-id ${pod.id}`);
          assert.equal(shims.length, 1, shims.join('\n'));
          process.kill(Number(shims[0]?.split(' ')[0]), 'SIGKILL');
          assert.equal((await exitOf(stage, id)).exitCode, 137);
          const { status } = await runtime().podSandboxStatus({ podSandboxId: pod.id });
          assert.equal(status?.state, PodSandboxState.SANDBOX_NOTREADY);
          await removePod(stage, pod);
          expectGone(pod);
          assert.deepEqual(processesOf(id), []);
        });

      if (isShim)
        it('completes the stop of a container whose shim hangs, and leaves nothing', async () => {
          const pod = await runPod(stage, `${name}-hang`, {}, name);
          const id = await runContainer(stage, pod, { image, command: ['sleep', '600'] });
          const [shim] = processesOf(`-id ${pod.id}`);
          process.kill(Number(shim?.split(' ')[0]), 'SIGSTOP');
          const started = performance.now();
          await runtime().stopContainer({ containerId: id, timeout: 1 }, { timeoutMs: 120_000 });
          assert.ok(performance.now() - started < 60_000);
          assert.equal((await exitOf(stage, id)).exitCode, 137);
          await stage.daemon.logged(/a shim no longer answers/);
          await removePod(stage, pod);
          expectGone(pod);
          assert.deepEqual(processesOf(id), []);
        });

      if (isShim)
        it('starts the daemon with a pod whose shim hangs in its stop, and completes the stop', async () => {
          const pod = await runPod(stage, `${name}-hung-start`, {}, name);
          await runContainer(stage, pod, { image, command: ['sleep', '600'] });
          const [shim] = processesOf(`-id ${pod.id}`);
          process.kill(Number(shim?.split(' ')[0]), 'SIGSTOP');
          void runtime()
            .stopPodSandbox({ podSandboxId: pod.id })
            .catch(() => undefined);
          await pause(2000);
          const restarted = performance.now();
          await stage.restart({ kill: true });
          assert.ok(performance.now() - restarted < 25_000, 'the start waited for the shim');
          await runtime().removePodSandbox({ podSandboxId: pod.id }, { timeoutMs: 120_000 });
          expectGone(pod);
        });
    });

  it('denies requests beyond the ceiling in each handler, and reports what a handler cannot enforce', async () => {
    for (const { name } of present) {
      const pod = await runPod(stage, `${name}-ceiling`, {}, name);
      const denied = await failureOf(
        createContainer(stage, pod, { image: bounded, security: { privileged: false, capabilities: admin } }),
      );
      assert.equal(denied.kind, 'denied', denied.message);
      const id = await runContainer(stage, pod, { image: bounded, command: ['sleep', '600'] });
      const status = (await execute(stage, id, 'cat', '/proc/self/status')).stdout;
      assert.match(status, /^Seccomp:\s*2$/m, `${name} filters system calls`);
      const { info } = await runtime().containerStatus({ containerId: id, verbose: true });
      const isGuest = name === 'gvisor';
      assert.equal(/a separate kernel/.test(JSON.stringify(info)), isGuest, name);
      const tunnel = await execute(stage, id, 'sh', '-c', 'mknod /tmp/tun c 10 200 && head -c 1 /tmp/tun');
      if (!isGuest) assert.match(tunnel.stderr, /not permitted/, `${name} denies network tunnels`);
      await removePod(stage, pod);
    }
  });

  it('hides masked paths in each handler, also below a read-only path, or refuses them', async () => {
    for (const { name } of present) {
      const pod = await runPod(stage, `${name}-masked`, {}, name);
      const masked = mkdtempSync(join(folder, 'volume-'));
      mkdirSync(join(masked, 'secret'));
      const ask = {
        image,
        command: ['sleep', '600'],
        security: { maskedPaths: ['/www', '/data/secret'], readonlyPaths: ['/data'] },
        more: { mounts: [{ hostPath: masked, containerPath: '/data' }] },
      };
      if (name === 'gvisor') {
        const refused = await failureOf(createContainer(stage, pod, ask));
        assert.equal(refused.code, 'RUNTIME_GUEST_UNENFORCEABLE');
      } else {
        const id = await runContainer(stage, pod, ask);
        assert.equal((await execute(stage, id, 'ls', '/www')).stdout, '', name);
        const { stderr } = await execute(stage, id, 'touch', '/data/secret/file');
        assert.match(stderr, /Read-only file system/, name);
      }
      await removePod(stage, pod);
    }
  });

  it('hides masked paths in a mount of a CDI device at /sys in each handler, or refuses them', async () => {
    const firmware = join(folder, 'firmware');
    for (const made of [join(folder, 'cdi'), join(firmware, 'secret')]) mkdirSync(made, { recursive: true });
    writeFileSync(join(firmware, 'secret/key'), 'key');
    const mounts = [{ hostPath: firmware, containerPath: '/sys/firmware', options: ['ro', 'rbind'] }];
    const devices = [{ name: 'one', containerEdits: { mounts } }];
    const spec = { cdiVersion: '0.5.0', kind: 'vendor.example/firmware', devices };
    writeFileSync(join(folder, 'cdi/firmware.json'), JSON.stringify(spec));
    for (const { name } of present) {
      const pod = await runPod(stage, `${name}-device-mount`, {}, name);
      const ask = {
        image,
        command: ['sleep', '600'],
        security: { maskedPaths: ['/sys/firmware/secret'] },
        more: { CDIDevices: [{ name: 'vendor.example/firmware=one' }] },
      };
      if (name === 'gvisor') {
        const refused = await failureOf(createContainer(stage, pod, ask));
        assert.equal(refused.code, 'RUNTIME_GUEST_UNENFORCEABLE');
      } else {
        const id = await runContainer(stage, pod, ask);
        assert.equal((await execute(stage, id, 'ls', '/sys/firmware/secret')).stdout, '', name);
      }
      await removePod(stage, pod);
    }
  });

  it('limits the processes of a container to its profile in each handler, or refuses it', async () => {
    for (const { name } of present) {
      const annotations = { 'portcullis.dev/profile': 'few-processes' };
      const pod = await runPod(stage, `${name}-limited`, { annotations }, name);
      const ask = { image, command: ['sleep', '600'] };
      if (name === 'gvisor') {
        const refused = await failureOf(createContainer(stage, pod, ask));
        assert.equal(refused.code, 'RUNTIME_GUEST_UNENFORCEABLE');
      } else {
        const id = await runContainer(stage, pod, ask);
        const fork = 'for n in $(seq 80); do sleep 5 & done; echo no end';
        assert.doesNotMatch((await execute(stage, id, 'sh', '-c', fork)).stdout, /no end/, name);
      }
      await removePod(stage, pod);
    }
  });

  it('proves and inspects containers that run on the kernel of the node, and refuses others', async () => {
    for (const { name } of present) {
      const pod = await runPod(stage, `${name}-proved`, {}, name);
      const id = await runContainer(stage, pod, { image: bounded, command: ['sleep', '600'] });
      for (const verb of [['prove', '--container'], ['inspect']]) {
        const words = ['entitlements', ...verb, id, '--socket', stage.folders.socket];
        const { code, stdout, stderr } = await portcullis(words);
        assert.equal(code, name === 'gvisor' ? 4 : 0, `${name}: ${stdout}${stderr}`);
        if (name === 'gvisor') assert.match(stderr, /a separate kernel, .*CLI_UNPROVABLE/);
      }
      await removePod(stage, pod);
    }
  });

  it('keeps a pod of every handler after kill -9 of the daemon', async () => {
    const pods: (readonly [Pod, string])[] = [];
    for (const { name } of present) {
      const pod = await runPod(stage, `${name}-all`, {}, name);
      const command = ['sh', '-c', 'trap "exit 8" TERM; while true; do sleep 0.1; done'];
      pods.push([pod, await runContainer(stage, pod, { image, command })]);
    }
    await stage.restart({ kill: true });
    for (const [pod, id] of pods) {
      assert.equal((await execute(stage, id, 'echo', 'here')).stdout, 'here\n');
      await runtime().stopContainer({ containerId: id, timeout: 10 });
      assert.equal((await exitOf(stage, id)).exitCode, 8);
      await removePod(stage, pod);
      expectGone(pod);
    }
  });
});
