/**
 * `npm run bench:streams`: 1 GiB through a port-forward, 200 exec streams at once, 2,000 exec and attach
 * sessions opened and dropped. Measures what each leaves in memory, descriptors and processes. `-- --sessions
 * N`, `-- --mebibytes N`, `-- --streams N`, `-- --runtime NAME`.
 */
import './bundle.ts';
import '../test/fixtures/private-namespaces.ts';
import { createHash } from 'node:crypto';
import { readFileSync, readdirSync } from 'node:fs';
import { setTimeout as pause } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { execute, runContainer, runPod } from '../test/fixtures/pod.ts';
import { openStage } from '../test/fixtures/stage.ts';
import { openCommand, openSpdy } from '../test/fixtures/stream-client.ts';

const { values } = parseArgs({
  options: {
    sessions: { type: 'string', default: '2000' },
    mebibytes: { type: 'string', default: '1024' },
    streams: { type: 'string', default: '200' },
    runtime: { type: 'string', default: 'crun' },
  },
});
const [sessions, mebibytes, streams] = [
  Number(values.sessions),
  Number(values.mebibytes),
  Number(values.streams),
];
const outputs = { tty: false, stdin: false, stdout: true, stderr: true };
const stage = await openStage();
const { runtime } = stage.daemon.cri;
const image = await stage.pull((await stage.publish('app/a:1')).reference);
const pod = await runPod(stage, 'bench', {}, values.runtime);
// A first process that reaps orphans. As in any container, zombies would stay otherwise.
const command = ['sh', '-c', 'httpd -p 80 -h /www; while :; do sleep 0.2; done'];
const containerId = await runContainer(stage, pod, { image, command });
const failures: string[] = [];

interface Usage {
  readonly residentMiB: number;
  readonly descriptors: number;
  readonly children: number;
  readonly inContainer: number;
}

async function usage(): Promise<Usage> {
  const { residentMiB, descriptors } = stage.daemon.usage();
  const children = readdirSync('/proc').filter(
    (name) => /^\d+$/.test(name) && parentOf(name) === stage.daemon.pid,
  ).length;
  const inContainer = Number(
    (await execute(stage, containerId, 'sh', '-c', 'ps -o args | grep -c "[s]leep 9999\\|[c]at$"')).stdout,
  );
  return { residentMiB: Math.round(residentMiB), descriptors, children, inContainer };
}

function parentOf(pid: string): number {
  try {
    return Number(/^PPid:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]);
  } catch {
    return 0;
  }
}

function report(what: string, use: Usage): void {
  console.log(
    `${what.padEnd(44)} ${use.residentMiB} MiB resident, ${use.descriptors} descriptors, ${use.children} children, ${use.inContainer} commands in the container`,
  );
}

/** Returns a command that takes some time. */
async function slowly(command: string): Promise<string> {
  const { stdout } = await runtime.execSync(
    { containerId, cmd: ['sh', '-c', command], timeout: 300 },
    { timeoutMs: 300_000 },
  );
  return Buffer.from(stdout).toString();
}

async function forward(): Promise<void> {
  const [expected] = (
    await slowly(`head -c ${mebibytes * 2 ** 20} /dev/urandom > /www/big; sha256sum /www/big`)
  ).split(' ');
  const hash = createHash('sha256');
  let [head, size] = [Buffer.alloc(0), 0];
  const { url } = await runtime.portForward({ podSandboxId: pod.id, port: [] });
  const client = await openSpdy(url, 'portforward.k8s.io', (stream, bytes) => {
    if (stream !== 3) return;
    let content = bytes;
    if (!head.includes('\r\n\r\n')) {
      head = Buffer.concat([head, bytes]);
      const at = head.indexOf('\r\n\r\n');
      if (at === -1) return;
      content = head.subarray(at + 4);
      head = head.subarray(0, at + 4);
    }
    hash.update(content);
    size += content.length;
  });
  client.open({ streamtype: 'error', port: '80', requestid: '0' });
  const data = client.open({ streamtype: 'data', port: '80', requestid: '0' });
  const began = performance.now();
  client.send(data, Buffer.from('GET /big HTTP/1.0\r\n\r\n'));
  let most = 0;
  while (size < mebibytes * 2 ** 20 && !client.socket.destroyed) {
    await pause(100);
    most = Math.max(most, stage.daemon.usage().residentMiB);
  }
  const seconds = (performance.now() - began) / 1000;
  client.drop();
  const intact = hash.digest('hex') === expected;
  if (!intact) failures.push('port-forward');
  console.log(
    `${mebibytes} MiB forwarded in ${seconds.toFixed(1)} s (${(mebibytes / seconds).toFixed(0)} MiB/s), ${intact ? 'intact' : 'DAMAGED'}; at most ${Math.round(most)} MiB resident`,
  );
  await execute(stage, containerId, 'rm', '/www/big');
}

async function manyAtOnce(): Promise<void> {
  const began = performance.now();
  const clients = await Promise.all(
    Array.from({ length: streams }, async (_, index) => {
      const { url } = await runtime.exec(
        { containerId, cmd: ['sh', '-c', `echo ready; cat; echo ${index}`], ...outputs, stdin: true },
        { timeoutMs: 60_000 },
      );
      return openCommand(url);
    }),
  );
  while (clients.some((client) => client.stdout() === '') && performance.now() - began < 120_000)
    await pause(50);
  report(
    `${streams} exec streams at once, ${((performance.now() - began) / 1000).toFixed(1)} s`,
    await usage(),
  );
  const wrong = await Promise.all(
    clients.map(async (client, index) => {
      client.send(`to ${index}\n`);
      client.endInput();
      const { status } = await client.status;
      return status === 'Success' && client.stdout() === `ready\nto ${index}\n${index}\n` ? 0 : 1;
    }),
  );
  const count = wrong.reduce((sum: number, one) => sum + one, 0);
  if (count > 0) failures.push(`${count} of ${streams} exec streams`);
}

async function dropped(count: number): Promise<void> {
  const batch = 20;
  for (let done = 0; done < count; done += batch) {
    await Promise.all(
      Array.from({ length: Math.min(batch, count - done) }, async (_, index) => {
        const { url } =
          index % 2 === 0
            ? await runtime.exec({
                containerId,
                cmd: ['sh', '-c', 'sleep 9999 & sleep 9999'],
                ...outputs,
                stdin: true,
                tty: index % 4 === 0,
                stderr: index % 4 !== 0,
              })
            : await runtime.attach({ containerId, ...outputs });
        (await openCommand(url)).drop();
      }),
    );
  }
  for (let waited = 0; waited < 30_000 && (await usage()).inContainer > 0; waited += 200) await pause(200);
}

process.once('uncaughtExceptionMonitor', () =>
  console.log(
    stage.daemon
      .log()
      .split('\n')
      .filter((line) => /"level":[456]0/.test(line))
      .join('\n'),
  ),
);
report('at rest', await usage());
await forward();
await manyAtOnce();
await pause(2_000);
// The first sessions load code and grow buffers. Only later ones must be flat.
await dropped(Math.min(400, sessions));
const before = await usage();
report('after the first sessions', before);
const began = performance.now();
await dropped(sessions);
await pause(2_000);
const after = await usage();
report(`${sessions} sessions dropped, ${((performance.now() - began) / 1000).toFixed(0)} s`, after);
if (after.residentMiB > before.residentMiB * 1.15 + 5) failures.push('memory grew');
if (after.descriptors > before.descriptors + 2) failures.push('descriptors grew');
if (after.children > before.children || after.inContainer > before.inContainer)
  failures.push('processes are left');
await stage.close();
console.log(failures.length === 0 ? 'streams: all well' : `streams: ${failures.join(', ')}`);
process.exit(failures.length === 0 ? 0 : 1);
