import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { basePolicy } from '../../entitlements/index.ts';
import { syscallNumbers } from '../../entitlements/seccomp/syscalls.ts';
import { callsAfterFilter, openRecorder, withoutTracing } from './calls-after-filter.ts';
import type { Recorder } from './calls-after-filter.ts';
import { measure, startsUnder, subjects, WAYS } from './cases.ts';

const names = new Map([...syscallNumbers('x86_64')].map(([name, number]) => [number, name]));

it('the calls of a process between the load of its filter and the start of its program are found in a trace', () => {
  const line = (task: string, event: string): string => `  ${task} [000] ..... 1.000000: ${event}`;
  const trace = [
    line('crun-7', 'sys_enter: NR 0 (1, 2, 3, 0, 0, 0)'),
    line('crun-7', 'sys_enter: NR 317 (1, 0, 0, 0, 0, 0)'),
    line('crun-7', 'sys_exit: NR 317 = -14'),
    line('crun-7', 'sys_enter: NR 317 (1, 0, 7ffd, 0, 0, 0)'),
    line('crun-7', 'sys_exit: NR 317 = 0'),
    line('crun-7', 'sys_enter: NR 1 (1, 2, 3, 0, 0, 0)'),
    line('other-8', 'sys_enter: NR 2 (1, 2, 3, 0, 0, 0)'),
    line('crun-9', 'sys_enter: NR 202 (1, 2, 3, 0, 0, 0)'),
    line('crun-7', 'sys_enter: NR 59 (1, 2, 3, 0, 0, 0)'),
    line('true-7', 'sys_exit: NR 59 = 0'),
    line('true-7', 'sys_enter: NR 12 (1, 2, 3, 0, 0, 0)'),
  ].join('\n');
  assert.deepEqual(callsAfterFilter(trace), [1, 59, 202]);
  assert.equal(callsAfterFilter(trace.replace('NR 317 = 0', 'NR 317 = -1')), undefined);
});

/** The other ways of `npm run test:base-sets` make fewer calls: the filter is loaded later. */
const ways = WAYS.filter(({ noNewPrivileges }) => noNewPrivileges !== true);

describe('the base set of a runtime', { skip: withoutTracing() }, () => {
  let recorder: Recorder;
  before(() => (recorder = openRecorder()));
  after(() => recorder.close());

  for (const subject of subjects()) {
    const label = `${subject.kind} ${subject.version}`;
    it(`${label}: contains all calls of the runtime, however a process is started`, async () => {
      const held = basePolicy(subject.kind).rules;
      let measured = 0;
      for (const way of ways) {
        const { calls } = await measure(subject, way, recorder);
        if (calls === undefined) continue;
        measured += 1;
        const absent = calls
          .map((number) => names.get(number) ?? String(number))
          .filter((name) => !held.has(name));
        assert.deepEqual(absent, [], way.name);
      }
      assert.ok(measured >= ways.length / 2, `${measured} ways measured`);
    });

    it(`${label}: is sufficient if every other call fails or ends the process`, () => {
      const commands = ways.filter(({ exec }) => exec === true);
      for (const way of commands)
        assert.equal(startsUnder(subject, way, 'SCMP_ACT_ERRNO'), 'started', way.name);
      for (const way of commands.slice(0, 1))
        assert.equal(startsUnder(subject, way, 'SCMP_ACT_KILL_PROCESS'), 'started', way.name);
    });
  }
});
