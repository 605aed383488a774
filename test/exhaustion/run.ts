/**
 * `npm run test:exhaustion [-- --only WORDS] [--seconds N] [--list]`: runs attacks that exhaust a resource,
 * one after the other, and measures another pod and other clients meanwhile; see README.md. Exits 1 when an
 * answer is late or missing, something is lost, memory grows, or an attack leaves something behind.
 */
import '../fixtures/private-namespaces.ts';
import { setPriority } from 'node:os';
import { parseArgs } from 'node:util';
import { attacks, wholeScale } from './attacks.ts';
import { outOfDescriptors } from './descriptors.ts';
import { judge } from './judge.ts';
import { openScene } from './scene.ts';

const { values } = parseArgs({
  options: {
    /** Runs only attacks whose name contains this. */
    only: { type: 'string', default: '' },
    /** The duration of each attack. */
    seconds: { type: 'string', default: '20' },
    list: { type: 'boolean', default: false },
  },
});
const chosen = attacks(wholeScale).filter(({ name }) => name.includes(values.only));
if (values.list) {
  for (const { name } of chosen) console.log(name);
  process.exit(0);
}
// The measuring process must not wait for a processor behind the processes that it starts.
setPriority(-10);
const begin = performance.now();
const failures: string[] = [];
// The first signal ends the running attack as usual, so that nothing of it is left. A second signal ends at
// once.
let isEnding = false;
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => (isEnding = true));
const scene = await openScene();
try {
  for (const attack of chosen) {
    if (isEnding) throw new Error('ended by a signal');
    const { lines, failures: found } = await judge(scene, attack, Number(values.seconds));
    console.log(`${found.length === 0 ? '✔' : '✖'} ${attack.name}`);
    for (const line of lines) console.log(`    ${line}`);
    for (const failure of found) console.log(`  ✖ ${failure}`);
    failures.push(...found.map((failure) => `${attack.name}: ${failure}`));
    if (!scene.stage.daemon.isAlive()) break;
  }
  if ('no descriptor left'.includes(values.only)) {
    const found = await outOfDescriptors(scene);
    console.log(`${found.length === 0 ? '✔' : '✖'} no descriptor left`);
    for (const failure of found) console.log(`  ✖ ${failure}`);
    failures.push(...found);
  }
} catch (thrown) {
  failures.push(thrown instanceof Error ? (thrown.stack ?? thrown.message) : String(thrown));
  console.log(`✖ ${failures.at(-1)}`);
} finally {
  await scene.close().catch((thrown: unknown) => {
    failures.push(`what is left: ${String(thrown)}`);
    console.log(`✖ ${failures.at(-1)}`);
  });
}
console.log(
  `${chosen.length} attacks, ${failures.length} failures, ${((performance.now() - begin) / 1000).toFixed(0)} s`,
);
process.exit(failures.length === 0 ? 0 : 1);
