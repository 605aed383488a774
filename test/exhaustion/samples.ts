/** The response times of each type of answer, in ms. */
export class Samples {
  readonly #values = new Map<string, number[]>();
  readonly #failures = new Map<string, string[]>();

  /** Measures one request and keeps its failure. */
  async measure(kind: string, ask: () => Promise<unknown>): Promise<void> {
    const begin = performance.now();
    try {
      await ask();
      push(this.#values, kind, performance.now() - begin);
    } catch (thrown) {
      push(this.#failures, kind, thrown instanceof Error ? thrown.message : String(thrown));
    }
  }

  kinds(): readonly string[] {
    return [...new Set([...this.#values.keys(), ...this.#failures.keys()])];
  }

  count(kind: string): number {
    return this.#values.get(kind)?.length ?? 0;
  }

  failures(kind: string): readonly string[] {
    return this.#failures.get(kind) ?? [];
  }

  percentile(kind: string, share: number): number {
    const sorted = [...(this.#values.get(kind) ?? [])].sort((a, b) => a - b);
    return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? Number.NaN;
  }
}

function push<Value>(map: Map<string, Value[]>, kind: string, value: Value): void {
  const known = map.get(kind);
  if (known === undefined) map.set(kind, [value]);
  else known.push(value);
}
