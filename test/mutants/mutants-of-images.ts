import type { Mutant } from './mutant.ts';

const images = 'runtime/images';
const uncleanStop = [`${images}/unclean-stop.test.ts`];
const removalBesidePull = [`${images}/sweep.test.ts`];
const publication = [`${images}/publish.test.ts`];
const lostWrites = [`${images}/store-sync.test.ts`];

/** The checks that keep every image complete that is reported as complete. */
export const mutants: readonly Mutant[] = [
  {
    file: `${images}/shutdown-marker.ts`,
    removes: 'the check that the last stop was orderly and in this boot',
    from: 'before.clean && before.bootId === currentBootId()',
    to: 'before.clean',
    tests: [`${images}/shutdown-marker.test.ts`],
  },
  {
    file: `${images}/image-store.ts`,
    removes: 'the check of layers before their first use',
    from: 'if (checks.isChecked(needed)) {\n      try {',
    to: '{\n      try {',
    tests: uncleanStop,
  },
  {
    file: `${images}/unpack-layers.ts`,
    removes: 'the check of layers that a pull shares',
    from: 'while (!deps.checks.isChecked(here))',
    to: 'while (false as boolean)',
    tests: uncleanStop,
  },
  {
    file: `${images}/layer-checks.ts`,
    removes: 'the rule that a failed check counts as damage',
    from: 'return { bad: [reasonOf(thrown)], isProven: provesDamage(thrown) };',
    to: 'throw thrown;',
    tests: uncleanStop,
  },
  {
    file: `${images}/limits/failures.ts`,
    removes: 'the rule that an image stays if the disk cannot read its layer',
    from: "return meansNoSuchPath(thrown) || errno === 'EISDIR' || errno === 'ELOOP';",
    to: 'return true;',
    tests: uncleanStop,
  },
  {
    file: `${images}/layer-folders.ts`,
    removes: 'the replacement of a layer without effect on containers',
    from: 'if (!uses(folder)) {',
    to: 'if (true as boolean) {',
    tests: uncleanStop,
  },
  {
    file: `${images}/layer-withdrawals.ts`,
    removes: 'the withdrawal of orphaned layers from claims',
    from: 'for (const folder of gone) withdrawn.add(folder);',
    to: '',
    tests: removalBesidePull,
  },
  {
    file: `${images}/publish.ts`,
    removes: 'the wait for a place that is being cleared',
    from: 'for (let removal = layers.withdrawing(); removal !== undefined; removal = layers.withdrawing()) await removal;',
    to: '',
    tests: removalBesidePull,
  },
  {
    file: `${images}/publish.ts`,
    removes: 'the rollback of the moves of a failed publication',
    from: 'for (const move of moves) await takeBack(move, deps.log);',
    to: '',
    tests: publication,
  },
  {
    file: `${images}/publish.ts`,
    removes: 'the clearing of places without a record',
    from: "if (kind === 'rename') await places.vacate(basename(to));",
    to: ';',
    tests: publication,
  },
  {
    file: `${images}/publish.ts`,
    removes: 'the rule that content of an earlier era is not used',
    from: 'if (claim.begun !== sync.era())',
    to: 'if (false as boolean)',
    tests: lostWrites,
  },
];
