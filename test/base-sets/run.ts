/**
 * `npm run test:base-sets`: measures the calls of each OCI runtime of this machine and of test/peers between
 * loading the filter and the program's first instruction, for every way to start a process, and compares them
 * with the base set that its containers get. Prints a line for each way and one closing line; exits 1 when a
 * call is missing in the set, 4 when it cannot measure. Needs root and tracefs.
 */
import { basePolicy } from '../../entitlements/index.ts';
import { syscallNumbers } from '../../entitlements/seccomp/syscalls.ts';
import { openRecorder, withoutTracing } from './calls-after-filter.ts';
import { measure, subjects, WAYS } from './cases.ts';

const why = withoutTracing();
if (why !== false) {
  console.error(`test:base-sets: ${why}`);
  process.exit(4);
}
const names = new Map([...syscallNumbers('x86_64')].map(([name, number]) => [number, name]));
const recorder = openRecorder();
let [measured, missing] = [0, 0];
try {
  for (const subject of subjects()) {
    const held = basePolicy(subject.kind).rules;
    const all = new Set<string>();
    for (const way of WAYS) {
      const { calls, said } = await measure(subject, way, recorder);
      const label = `${subject.kind} ${subject.version}: ${way.name}`;
      if (calls === undefined) {
        console.log(`${label}: not measured: ${said.trim().slice(0, 200)}`);
        continue;
      }
      measured += 1;
      const found = calls.map((number) => names.get(number) ?? String(number));
      found.forEach((name) => all.add(name));
      const absent = found.filter((name) => !held.has(name));
      missing += absent.length;
      console.log(
        `${label}: ${found.join(' ')}${absent.length === 0 ? '' : `; MISSING ${absent.join(' ')}`}`,
      );
    }
    console.log(`${subject.kind} ${subject.version} in all: ${[...all].sort().join(' ')}`);
  }
} finally {
  recorder.close();
}
console.log(`base sets: ${measured} ways measured, ${missing} calls missing`);
process.exitCode = missing > 0 ? 1 : measured === 0 ? 4 : 0;
