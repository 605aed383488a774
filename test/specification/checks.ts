import assert from 'node:assert/strict';
import { globSync, readFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { readRun } from './events.ts';
import type { Run } from './events.ts';
import { explain } from './explain-run.ts';
import { runTlc } from './tlc.ts';

/** An error that is put into the specification, to show that the checker finds it. */
interface Broken {
  readonly check: string;
  readonly finds: string;
  readonly why: string;
  readonly replace: string;
  readonly with: string;
  /** The number of faults it takes; absent: as many as the configuration has. */
  readonly faults?: number;
  /** Whether TLC finds it within seconds. */
  readonly quick?: boolean;
}

const filesOf = (pattern: string): string[] => globSync(join(import.meta.dirname, pattern)).sort();
/** The files of the specification without the module for traces. */
const lifeFiles = ['Life.tla', 'Properties.tla'] as const;
const textOf = (name: string): string => readFileSync(join(import.meta.dirname, name), 'utf8');

/**
 * Returns checks of safety, liveness, and each error of `broken/`: every check returns its result as text, or
 * throws.
 */
export function checkLife(): (() => string)[] {
  const configurations = ['Safety', 'SafetyOfImages', 'SafetyOfNames', 'Liveness', 'LivenessOfImages'];
  return [...configurations.map((name) => () => holds(name, `${name}.cfg`)), ...brokenLives()];
}

/** Errors that are put into the specification: each is its own check. */
export function brokenLives({ quick }: { readonly quick: boolean } = { quick: false }): (() => string)[] {
  const all = filesOf('broken/*.json').map(
    (file) => [file, JSON.parse(readFileSync(file, 'utf8')) as Broken] as const,
  );
  const chosen = all.filter(([, broken]) => !quick || broken.quick === true);
  return chosen.map(([file, { check, finds, replace, with: other, faults }]) => () => {
    const places = lifeFiles.filter((name) => textOf(name).includes(replace));
    const [place = ''] = places;
    const configuration = textOf(check);
    const changed =
      faults === undefined
        ? configuration
        : configuration.replace(/MaxFaults = \d+/, `MaxFaults = ${faults}`);
    const once = places.length === 1 && textOf(place).split(replace).length === 2;
    assert.ok(once, `${basename(file)} names a place that the specification has once`);
    const files = { [place]: textOf(place).replace(replace, () => other), [check]: changed };
    const { violated } = runTlc('Properties.tla', check, files, { isShort: quick });
    assert.deepEqual(violated, [finds], `${basename(file)} is found`);
    return `broken, and found by ${finds}: ${basename(file, '.json')}`;
  });
}

function holds(what: string, configuration: string): string {
  const { violated, states, output } = runTlc('Properties.tla', configuration);
  assert.deepEqual(violated, [], output);
  assert.ok(states > 100, `${what} was checked over ${states} states only`);
  return `${what}: ${states} states`;
}

/** Checks valid lifecycles. */
export function checkSound(): string {
  return checkTraces(filesOf('sound/*.jsonl').map(readRun));
}

/** Checks deviations that are stored as data: each must be found. */
export function checkPlanted(): string {
  const files = filesOf('planted/*.jsonl');
  const runs = files.map(readRun);
  assert.ok(runs.length >= 10, `${runs.length} deviations are planted`);
  const { unexplained } = explain(runs);
  const missed = runs.filter(({ source }) => !unexplained.some(({ trace }) => trace.startsWith(source)));
  assert.deepEqual(
    missed.map(({ source }) => source),
    [],
    'deviations that were not found',
  );
  return `${runs.length} planted deviations, each found`;
}

/** Checks runs of which every step must be explained. */
export function checkTraces(runs: readonly Run[]): string {
  const { events, traces, distinct, unexplained } = explain(runs);
  assert.deepEqual(unexplained, [], `${unexplained.length} unexplained`);
  const sources = [...new Set(runs.map(({ source }) => source.split(',')[0]))].join(', ');
  return `${sources}: ${runs.length} runs, ${events} events, ${traces} traces (${distinct} distinct), 0 unexplained steps`;
}
