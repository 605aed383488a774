/**
 * `npm run test:services [-- --backend nftables|ipvs] [--only WORDS] [--quick]`: runs the table of cases on
 * one balancer, in its own namespaces. Prints a line for each case and one of figures. Exit 0: all pass · 1:
 * one fails · 2: no such balancer or case · 4: this kernel has no such balancer.
 */
import '../fixtures/private-namespaces.ts';
import { parseArgs } from 'node:util';
import { openStage } from './stage.ts';
import { cases } from './cases.ts';
import { balancers } from './balancers.ts';
import { runCase } from './run-case.ts';

const { values } = parseArgs({
  options: {
    backend: { type: 'string', default: 'nftables' },
    only: { type: 'string', default: '' },
    quick: { type: 'boolean', default: false },
  },
});
const chosen = cases.filter(
  ({ name, quick, family }) =>
    `${name} ipv${family}`.includes(values.only) && (!values.quick || quick === true),
);
const balancer = balancers[values.backend];
if (balancer === undefined || chosen.length === 0) {
  console.error(
    balancer === undefined
      ? `no balancer ${values.backend}: nftables or ipvs`
      : `no case contains the words ${values.only}`,
  );
  process.exit(2);
}
const missing = balancer.missing();
if (missing !== undefined) {
  console.error(`${values.backend}: ${missing}`);
  process.exit(4);
}
const stage = await openStage(balancer.open);
const started = performance.now();
const outcomes = { held: 0, refused: 0, skipped: 0, failed: 0 };
for (const each of chosen) {
  const begin = performance.now();
  let outcome: keyof typeof outcomes = 'failed';
  let why = '';
  try {
    why = each.missing?.() ?? '';
    outcome = why === '' ? await runCase(stage, each) : 'skipped';
  } catch (thrown) {
    why = thrown instanceof Error ? thrown.message : String(thrown);
  }
  outcomes[outcome] += 1;
  const seconds = ((performance.now() - begin) / 1000).toFixed(1);
  console.log(
    `${outcome.padEnd(8)} IPv${each.family}  ${each.name}  (${seconds} s)${why === '' ? '' : `\n         ${why}`}`,
  );
}
await stage.close();
console.log(
  `\n${values.backend}: ${outcomes.held} of ${chosen.length} cases hold, ${outcomes.refused} refused by name, ${outcomes.skipped} skipped, ${outcomes.failed} failed, ${((performance.now() - started) / 1000).toFixed(0)} s`,
);
process.exit(outcomes.failed > 0 ? 1 : 0);
