import '../fixtures/private-namespaces.ts';
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { connect } from 'node:net';
import { after, before, describe, it } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import { execute, runContainer, runPod } from '../fixtures/pod.ts';
import type { Pod } from '../fixtures/pod.ts';
import { openStage } from '../fixtures/stage.ts';
import type { Stage } from '../fixtures/stage.ts';
import { findTool } from '../fixtures/tools.ts';

const tool = findTool('crictl');

interface Ran {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** Streams as an administrator on a node opens them, over both transports. */
describe('crictl', { skip: tool.skip }, () => {
  let stage: Stage;
  let pod: Pod;
  let web = '';
  let shell = '';
  let terminal = '';
  before(async () => {
    stage = await openStage();
    const image = await stage.pull((await stage.publish('app/a:1')).reference);
    pod = await runPod(stage, 'streams');
    web = await runContainer(stage, pod, {
      image,
      name: 'web',
      command: ['httpd', '-f', '-p', '127.0.0.1:80', '-h', '/www'],
    });
    const command = ['sh', '-c', 'while read line; do echo "got $line"; done'];
    shell = await runContainer(stage, pod, { image, name: 'shell', command, more: { stdin: true } });
    terminal = await runContainer(stage, pod, {
      image,
      name: 'terminal',
      command,
      more: { stdin: true, tty: true },
    });
  });
  after(() => stage.close());

  const start = (args: readonly string[], program = tool.path): ChildProcess => {
    const endpoint = `unix://${stage.folders.socket}`;
    const env = {
      ...process.env,
      HOME: stage.folders.folder,
      CONTAINER_RUNTIME_ENDPOINT: endpoint,
      IMAGE_SERVICE_ENDPOINT: endpoint,
    };
    return spawn(program, args, { env, stdio: ['pipe', 'pipe', 'pipe'] });
  };
  const finish = async (child: ChildProcess, input = ''): Promise<Ran> => {
    let [stdout, stderr] = ['', ''];
    child.stdout?.on('data', (chunk: Buffer) => (stdout += chunk.toString()));
    child.stderr?.on('data', (chunk: Buffer) => (stderr += chunk.toString()));
    child.stdin?.end(input);
    const timer = setTimeout(() => child.kill('SIGKILL'), 20_000);
    const [code] = (await once(child, 'close')) as [number | null];
    clearTimeout(timer);
    return { code, stdout, stderr };
  };
  /** Runs crictl in a separate terminal (script(1)). */
  const inTerminal = (args: readonly string[]): ChildProcess =>
    start(['-qefc', [tool.path, ...args].join(' '), '/dev/null'], 'script');

  // The main thread has real-time scheduling (docs/decisions/0030). Processes that it waits for must not
  // starve.
  it('port-forward: fifty in a row beside a container that uses all CPU time it can get', async () => {
    const command = ['sh', '-c', 'while :; do :; done & while :; do :; done'];
    const image =
      (await stage.daemon.cri.runtime.containerStatus({ containerId: web })).status?.imageRef ?? '';
    const burner = await runContainer(stage, pod, {
      image,
      name: 'burner',
      command,
      resources: { cpuPeriod: 100_000, cpuQuota: 100_000 },
    });
    for (let port = 18_100; port < 18_150; port += 1) {
      const child = start(['port-forward', pod.id, `${port}:80`]);
      let opened = false;
      for (let waited = 0; waited < 30_000 && !opened; waited += 20) {
        const socket = connect(port, '127.0.0.1');
        opened = await once(socket, 'connect').then(
          () => true,
          () => false,
        );
        socket.destroy();
        if (!opened) await pause(20);
      }
      child.kill('SIGKILL');
      assert.ok(opened, `number ${port - 18_100} did not open its port`);
    }
    await stage.daemon.cri.runtime.stopContainer({ containerId: burner, timeout: 0 });
  });

  for (const transport of ['spdy', 'websocket']) {
    describe(`over ${transport}`, () => {
      it('exec: outputs, exit code, input', async () => {
        const ran = await finish(
          start(['exec', '--transport', transport, web, 'sh', '-c', 'echo out; echo err >&2; exit 3']),
        );
        assert.equal(ran.stdout, 'out\n');
        assert.match(ran.stderr, /^err$/m);
        assert.match(ran.stderr, /command terminated with exit code 3/);
        assert.notEqual(ran.code, 0);
        const text = 'a line\n'.repeat(100_000);
        const counted = await finish(start(['exec', '-i', '--transport', transport, web, 'wc', '-c']), text);
        assert.deepEqual([counted.code, counted.stdout.trim()], [0, String(text.length)]);
      });

      it('exec -it under a terminal', async () => {
        const child = inTerminal(['exec', '-it', '--transport', transport, web, 'sh']);
        let stdout = '';
        child.stdout?.on('data', (chunk: Buffer) => (stdout += chunk.toString()));
        for (const [wait, text] of [
          [/# (\u001b\[6n)?$/, 'stty size; tty\n'],
          [/\/dev\/pts\/\d+\r\n.*# (\u001b\[6n)?$/, 'echo $((6*7)); exit\n'],
        ] as const) {
          for (let waited = 0; waited < 60_000 && !wait.test(stdout); waited += 50) await pause(50);
          assert.match(stdout, wait);
          child.stdin?.write(text);
        }
        const [code] = (await once(child, 'close')) as [number];
        assert.equal(code, 0, stdout);
        assert.match(stdout, /^42\r$/m);
      });

      it('attach: input and output', async () => {
        const child = start(['attach', '-i', '--transport', transport, shell]);
        let stdout = '';
        child.stdout?.on('data', (chunk: Buffer) => (stdout += chunk.toString()));
        await pause(500);
        child.stdin?.write(`by ${transport}\n`);
        for (let waited = 0; waited < 60_000 && stdout === ''; waited += 50) await pause(50);
        assert.equal(stdout, `got by ${transport}\n`);
        child.kill('SIGKILL');
        assert.equal((await execute(stage, shell, 'true')).exitCode, 0);
      });

      it('attach: the end of piped input ends the session after the answer, not the container', async () => {
        const ran = await finish(start(['attach', '-i', '--transport', transport, shell]), 'piped\n');
        assert.deepEqual([ran.code, ran.stdout], [0, 'got piped\n']);
        assert.equal((await execute(stage, shell, 'true')).exitCode, 0);
      });

      it('attach: Ctrl-P Ctrl-Q detaches from a terminal', async () => {
        const child = inTerminal(['attach', '-it', '--transport', transport, terminal]);
        let stdout = '';
        child.stdout?.on('data', (chunk: Buffer) => (stdout += chunk.toString()));
        await pause(1_000);
        child.stdin?.write('word\r');
        for (let waited = 0; waited < 60_000 && !stdout.includes('got word'); waited += 50) await pause(50);
        assert.match(stdout, /got word\r\n/);
        child.stdin?.write('\u0010\u0011');
        const timer = setTimeout(() => child.kill('SIGKILL'), 60_000);
        const [code] = (await once(child, 'close')) as [number | null];
        clearTimeout(timer);
        assert.equal(code, 0, stdout);
        assert.equal((await execute(stage, terminal, 'true')).exitCode, 0);
      });

      it('port-forward: a page, and a port without a listener', async () => {
        const port = transport === 'spdy' ? 18_080 : 18_081;
        const child = start([
          'port-forward',
          '--transport',
          transport,
          pod.id,
          `${port}:80`,
          `${port + 10}:81`,
        ]);
        let reported = '';
        for (const output of [child.stdout, child.stderr])
          output?.on('data', (chunk: Buffer) => (reported += chunk.toString()));
        let page = '';
        for (let waited = 0; waited < 60_000 && page === ''; waited += 100) {
          page = await fetch(`http://127.0.0.1:${port}/`).then(
            (response) => response.text(),
            () => '',
          );
          await pause(100);
        }
        assert.equal(page, 'a page\n', reported);
        const pages = await Promise.all(
          Array.from({ length: 20 }, async () => (await fetch(`http://127.0.0.1:${port}/`)).text()),
        );
        assert.ok(pages.every((one) => one === 'a page\n'));
        await assert.rejects(fetch(`http://127.0.0.1:${port + 10}/`));
        for (let waited = 0; waited < 60_000 && !reported.includes('refused'); waited += 50) await pause(50);
        assert.match(reported, /error forwarding port 81 to pod .*connection refused/);
        child.kill('SIGKILL');
      });
    });
  }
});
