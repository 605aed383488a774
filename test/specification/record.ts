import { planted } from '../simulation/planted/list.ts';
import { registerStandIns } from '../simulation/stand-ins.ts';

/**
 * Plays histories of the simulator over a product with a planted bug, in a separate process. Prints their
 * runs as one line of JSON.
 * Arguments: a text in the bug's description, the first seed, the number of histories.
 */
const [says = '', first = '1', count = '1'] = process.argv.slice(2);
const bug = planted.find((one) => one.says.includes(says));
if (says === '' || bug === undefined) throw new Error(`no planted bug says: ${says}`);
registerStandIns(bug);
const { recordHistories } = await import('./simulated.ts');
if (bug.kind !== 'pods' && bug.kind !== 'images') throw new Error(`the specification has no ${bug.kind}`);
const { runs } = await recordHistories(bug.kind, Number(first), Number(count));
process.stdout.write(`${JSON.stringify(runs)}\n`);
