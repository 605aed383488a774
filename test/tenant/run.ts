/**
 * `npm run test:tenant [-- --only WORDS] [--some N] [--ceiling baseline|restricted] [--list] [--verbose]`:
 * see README.md.
 */
import './pid-namespace.ts';
import '../fixtures/private-namespaces.ts';
import { parseArgs } from 'node:util';
import { runCampaign, tableOf } from './campaign.ts';
import type { Result } from './campaign.ts';
import { openScene } from './scene/scene.ts';
import type { Ceiling } from './scene/scene.ts';
import { someOfEach, variants } from './variants/index.ts';

const { values } = parseArgs({
  options: {
    /** Words of a group and a variant's name, all of which must occur. */
    only: { type: 'string', default: '' },
    /** Runs only this number of variants of each group. */
    some: { type: 'string' },
    ceiling: { type: 'string' },
    list: { type: 'boolean', default: false },
    verbose: { type: 'boolean', default: false },
  },
});
const words = values.only.toLowerCase().split(/\s+/u);
const chosen = (values.some === undefined ? variants : someOfEach(Number(values.some))).filter(
  ({ group, name }) => words.every((word) => `${group} ${name}`.toLowerCase().includes(word)),
);
if (values.list) {
  for (const { group, name } of chosen) console.log(`${group}: ${name}`);
  process.exit(0);
}
const ceilings: readonly Ceiling[] =
  values.ceiling === undefined ? ['baseline', 'restricted'] : [values.ceiling as Ceiling];
let failed = 0;
for (const ceiling of ceilings) {
  const begin = performance.now();
  const scene = await openScene(ceiling);
  const results: Result[] = [];
  try {
    await runCampaign(scene, chosen, (result) => {
      const { variant, outcome, differences, milliseconds } = result;
      results.push(result);
      if (values.verbose || differences.length > 0)
        console.log(
          `${differences.length > 0 ? '✖' : '✔'} ${variant.group}: ${variant.name}: ${outcome}, ${milliseconds.toFixed(0)} ms`,
        );
      for (const line of differences.slice(0, 20)) console.log(`    ${line}`);
    });
  } finally {
    const changed = results.filter(({ differences }) => differences.length > 0).length;
    failed += changed;
    const each =
      results.reduce((sum, { milliseconds }) => sum + milliseconds, 0) / Math.max(1, results.length);
    console.log(`\nceiling ${ceiling}\n${tableOf(results)}`);
    console.log(
      `${results.length} variants, ${changed} with a difference, ${each.toFixed(0)} ms each, ${((performance.now() - begin) / 1000).toFixed(0)} s\n`,
    );
    await scene.close();
  }
}
process.exit(failed === 0 && chosen.length > 0 ? 0 : 1);
