import { readFileSync, readdirSync } from 'node:fs';
import { join } from 'node:path';

/** Durations in ms by operation, as critest's benchmarks measured them. */
export type Samples = ReadonlyMap<string, readonly number[]>;

interface ResultFile {
  readonly operationsNames: readonly string[];
  readonly datapoints: readonly { readonly operationsDurationsNs: readonly number[] | null }[];
}

/** Reads every result file of `critest -benchmark -benchmarking-output-dir`. */
export function readSamples(folder: string): Samples {
  const all = new Map<string, number[]>();
  for (const file of readdirSync(folder).filter((name) => name.endsWith('.json'))) {
    const result = JSON.parse(readFileSync(join(folder, file), 'utf8')) as Partial<ResultFile>;
    if (result.operationsNames === undefined || result.datapoints === undefined) continue;
    for (const [index, name] of result.operationsNames.entries()) {
      const values = result.datapoints
        .flatMap((point) => point.operationsDurationsNs?.[index] ?? [])
        .map((ns) => ns / 1e6);
      all.set(name, [...(all.get(name) ?? []), ...values]);
    }
  }
  return all;
}

export function percentile(values: readonly number[], share: number): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? Number.NaN;
}

/** Sums several operations, sample by sample: "Create+Start" is one operation to a user. */
export function summed(samples: Samples, names: readonly string[]): readonly number[] {
  const columns = names.map((name) => samples.get(name) ?? []);
  const length = Math.min(...columns.map((column) => column.length));
  return Array.from({ length }, (_, index) => columns.reduce((sum, column) => sum + (column[index] ?? 0), 0));
}
