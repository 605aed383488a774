/**
 * `npm run test:vm [-- NAME…]`: runs the named stages, or all, each in an emulated machine with Debian's
 * kernel (see `run`). Prints the output of each stage and, at the end, one line of figures per stage. Exit 0:
 * all passed · 1: one failed · 2: unknown stage · 4: a dependency is missing.
 */
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { stages } from './stages.ts';
import type { Stage } from './stages.ts';

const here = import.meta.dirname;
const repository = join(here, '../..');
const peers = process.env['PEERS'] ?? '/var/cache/portcullis-peers';

const asked = process.argv.slice(2);
const unknown = asked.filter((name) => !stages.some((stage) => stage.name === name));
if (unknown.length > 0) {
  console.error(`test:vm: unknown stage ${unknown.join(', ')}; the stages are:`);
  for (const { name, what } of stages) console.error(`  ${name.padEnd(16)} ${what}`);
  process.exit(2);
}
const chosen = stages.filter((stage) => asked.length === 0 || asked.includes(stage.name));

const missing = [
  ...['qemu-system-x86_64', 'cpio', 'depmod'].filter(
    (name) => spawnSync('sh', ['-c', `command -v ${name}`]).status !== 0,
  ),
  ...chosen.flatMap((stage) => stage.host).filter((file) => !existsSync(file)),
  ...chosen.flatMap((stage) => stage.peers).filter((name) => !existsSync(join(peers, 'bin', name))),
];
if (missing.length > 0) {
  console.error(`test:vm: missing: ${[...new Set(missing)].join(', ')}`);
  console.error(
    'apt-get install --no-install-recommends qemu-system-x86 qemu-system-common busybox-static cpio kmod systemd dbus',
  );
  console.error('test/peers/get crictl critest images');
  process.exit(4);
}

/** Builds once, outside the machine, which is slow and sees the same files. */
const build = spawnSync(process.execPath, ['packaging/build.ts', '--bundle-only'], {
  cwd: repository,
  stdio: ['ignore', 'ignore', 'inherit'],
});
if (build.status !== 0) process.exit(build.status ?? 1);
for (const [program = '', ...args] of chosen.flatMap((stage) =>
  stage.prepare === undefined ? [] : [stage.prepare],
)) {
  if (spawnSync(program, args, { cwd: repository, stdio: ['ignore', 'ignore', 'inherit'] }).status !== 0)
    process.exit(4);
}
if (chosen.some((stage) => stage.peers.includes('critest'))) {
  const parser = spawnSync('bash', [join(here, 'apparmor-parser'), 'fetch'], {
    stdio: ['ignore', 'ignore', 'inherit'],
  });
  if (parser.status !== 0) process.exit(4);
}

const diskMiB = 2048;

async function run(stage: Stage): Promise<{ readonly ok: boolean; readonly line: string }> {
  console.log(`\n=== ${stage.name}: ${stage.what}`);
  const begin = performance.now();
  const figures = new Map<string, string>();
  let [last, code]: [string, number | null] = ['', 0];
  const lasting = stage.boots === undefined ? undefined : mkdtempSync(join(tmpdir(), 'portcullis-vm-'));
  for (let boot = 1; boot <= (stage.boots ?? 1) && code === 0; boot += 1)
    code = await runBoot(stage, boot, lasting, (line) => {
      console.log(line);
      if (line.trim() !== '') last = line.trim();
      // If several lines match, the last one counts.
      const match = stage.figures.exec(line);
      if (match !== null) figures.set(match[1] ?? '', line.replace(/^# /, '').trim());
    });
  if (lasting !== undefined) rmSync(lasting, { recursive: true, force: true });
  const reported = stage.name === 'quickstart' ? last : [...figures.values()].join(', ');
  const minutes = ((performance.now() - begin) / 60_000).toFixed(1);
  return {
    ok: code === 0,
    line: `${code === 0 ? '✔' : '✖'} ${stage.name} (${minutes} min): ${reported || `no figures: it ended with ${String(code)}`}`,
  };
}

/** @param lasting the folder for data that survives a boot @returns the command's exit code */
async function runBoot(
  stage: Stage,
  boot: number,
  lasting: string | undefined,
  report: (line: string) => void,
): Promise<number | null> {
  const args = [
    join(here, 'run'),
    '-m',
    String(stage.memoryMiB),
    '-t',
    String(stage.limitMinutes * 60),
    '-g',
    stage.cgroups ?? 'v2',
    ...(stage.kernel === undefined ? [] : ['-c', stage.kernel]),
    ...(lasting === undefined ? [] : ['-d', join(lasting, 'disk')]),
    ...stage.command,
  ];
  const env = {
    ...process.env,
    VM_BOOT: String(boot),
    ...(lasting !== undefined && { VM_OUT: join(lasting, 'out') }),
  };
  if (lasting !== undefined && boot === 1) {
    writeFileSync(join(lasting, 'disk'), '');
    truncateSync(join(lasting, 'disk'), diskMiB * 2 ** 20);
  }
  const child = spawn('bash', args, { cwd: repository, env, stdio: ['ignore', 'pipe', 'inherit'] });
  const closed = once(child, 'close') as Promise<[number | null]>;
  for await (const line of createInterface({ input: child.stdout })) report(line);
  const [code] = await closed;
  return code;
}

const results = [];
for (const stage of chosen) results.push(await run(stage));
console.log('');
for (const { line } of results) console.log(line);
const failed = results.filter((result) => !result.ok).length;
console.log(`${results.length - failed} stages passed, ${failed} failed`);
process.exit(failed === 0 ? 0 : 1);
