import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { flagsOfSources } from '../../test/fixtures/bundled-workers-flag.ts';
import { findRegistry, startRegistry } from '../../test/fixtures/registry.ts';
import { openKit, pushImage, tarOf } from './test-kit.ts';

const skip = findRegistry() === undefined ? 'no docker-registry' : false;
const moments = Number(process.env['PORTCULLIS_KILLS'] ?? 5);

/** The process that is killed: opens a store in the folder, reports this, and pulls. */
const child = `
import { openKit } from ${JSON.stringify(new URL('./test-kit.ts', import.meta.url).href)};
const [host, folder, name] = process.argv.slice(1);
const kit = await openKit(host, { folder });
await kit.store.reconcile(new Set());
process.stdout.write('pulling\\n');
await kit.store.pull({ reference: kit.reference(name), namespace: '' });
process.stdout.write('pulled\\n');
setInterval(() => undefined, 1000);
`;

test(
  `the next start removes everything that a process killed during a pull has left, at ${moments} moments`,
  { skip, timeout: 600_000 },
  async (t) => {
    const registry = await startRegistry();
    const folder = mkdtempSync('/var/tmp/portcullis-crash-');
    const outcomes = { acknowledged: 0, recorded: 0, gone: 0 };
    try {
      let kit = await openKit(registry.host, { folder });
      const layers = await Promise.all(
        [1, 2, 3].map(async (part) => ({
          tar: await tarOf(
            Array.from({ length: 100 }, (_, index) => ({
              name: `d${part}/f${index}`,
              body: randomBytes(9000),
            })),
          ),
        })),
      );
      const image = await pushImage(kit.repository('open/app'), { layers, tag: '1' });
      // How long a pull takes in a new process: the kills are spread over that time and a little more.
      await kit.close({ keep: true });
      const whole = await killed([registry.host, folder, 'open/app'], Infinity);
      kit = await openKit(registry.host, { folder });
      await kit.store.reconcile(new Set());
      await kit.store.remove(image.id);
      for (let moment = 0; moment < moments; moment++) {
        await kit.close({ keep: true });
        const { acknowledged } = await killed(
          [registry.host, folder, 'open/app'],
          (moment / (moments - 1)) * 1.4 * whole.took,
        );
        kit = await openKit(registry.host, { folder });
        await kit.store.reconcile(new Set());
        const found = kit.store.find(image.id) !== undefined;
        if (acknowledged) assert.ok(found, 'an acknowledged pull was lost');
        outcomes[acknowledged ? 'acknowledged' : found ? 'recorded' : 'gone']++;
        const count = (name: string): number => readdirSync(`${kit.root}/${name}`).length;
        assert.deepEqual(
          ['ingest', 'staging', 'blobs/sha256', 'layers'].map(count),
          found ? [0, 0, 3, 3] : [0, 0, 0, 0],
        );
        const pulled = await kit.store.pull({ reference: kit.reference('open/app'), namespace: '' });
        assert.equal(pulled.image.id, image.id);
        await kit.store.remove(image.id);
        assert.deepEqual(['ingest', 'staging', 'blobs/sha256', 'layers'].map(count), [0, 0, 0, 0]);
      }
      await kit.close({ keep: true });
    } finally {
      rmSync(folder, { recursive: true });
      await registry.close();
    }
    t.diagnostic(JSON.stringify(outcomes));
  },
);

/** Kills the process `delay` milliseconds after its pull began; Infinity: when the pull was acknowledged. */
async function killed(
  args: readonly string[],
  delay: number,
): Promise<{ readonly acknowledged: boolean; readonly took: number }> {
  const program = [...flagsOfSources(), '--input-type=module-typescript', '-e', child, '--', ...args];
  const running = spawn(process.execPath, program, { stdio: ['ignore', 'pipe', 'inherit'] });
  const ended = once(running, 'exit');
  let said = '';
  const heard = Promise.withResolvers<void>();
  const done = Promise.withResolvers<void>();
  running.stdout.on('data', (chunk: Buffer) => {
    said += chunk.toString();
    heard.resolve();
    if (said.includes('pulled')) done.resolve();
  });
  await Promise.race([heard.promise, ended]);
  const began = performance.now();
  await (delay === Infinity ? Promise.race([done.promise, ended]) : sleep(delay));
  const took = performance.now() - began;
  running.kill('SIGKILL');
  await ended;
  assert.ok(said.includes('pulling'), 'the child did not start');
  return { acknowledged: said.includes('pulled'), took };
}
