/** One spec of ginkgo's JSON report (github.com/onsi/ginkgo, types.SpecReport). */
interface SpecReport {
  readonly ContainerHierarchyTexts: readonly string[] | null;
  readonly LeafNodeText: string;
  readonly LeafNodeType: string;
  readonly State:
    | 'passed'
    | 'failed'
    | 'skipped'
    | 'pending'
    | 'timedout'
    | 'panicked'
    | 'interrupted'
    | 'aborted';
  readonly NumAttempts: number;
  readonly Failure?: { readonly Message: string };
}

export interface Summary {
  readonly groups: ReadonlyMap<string, { passed: number; failed: number; skipped: number }>;
  readonly passed: number;
  readonly failed: number;
  readonly skipped: number;
  readonly failures: readonly { readonly name: string; readonly why: string }[];
  /**
   * Specs that passed, but not at the first attempt (a spec of critest's may request retries): still a
   * finding.
   */
  readonly flakes: readonly string[];
}

/** Counts a report by the first level of its groups. Specs that a filter excluded do not count. */
export function summarise(report: unknown, isSelected: (name: string) => boolean): Summary {
  const suites = report as readonly { readonly SpecReports: readonly SpecReport[] | null }[];
  const groups = new Map<string, { passed: number; failed: number; skipped: number }>();
  const failures: { name: string; why: string }[] = [];
  const flakes: string[] = [];
  for (const spec of suites.flatMap((suite) => suite.SpecReports ?? [])) {
    if (spec.LeafNodeType !== 'It') continue;
    const [top = ''] = spec.ContainerHierarchyTexts ?? [];
    const name = [...(spec.ContainerHierarchyTexts ?? []), spec.LeafNodeText].join(' › ');
    if (!isSelected(name)) continue;
    const group = groups.get(top) ?? { passed: 0, failed: 0, skipped: 0 };
    groups.set(top, group);
    if (spec.State === 'passed') {
      group.passed += 1;
      if (spec.NumAttempts > 1) flakes.push(name);
    } else if (spec.State === 'skipped' || spec.State === 'pending') group.skipped += 1;
    else {
      group.failed += 1;
      failures.push({
        name,
        why: (spec.Failure?.Message ?? spec.State).split('\n').slice(0, 3).join(' ').slice(0, 300),
      });
    }
  }
  const total = (key: 'passed' | 'failed' | 'skipped'): number =>
    [...groups.values()].reduce((sum, group) => sum + group[key], 0);
  return {
    groups,
    passed: total('passed'),
    failed: total('failed'),
    skipped: total('skipped'),
    failures,
    flakes,
  };
}

export function formatSummary(summary: Summary): string {
  const lines = [...summary.groups]
    .sort()
    .map(
      ([name, { passed, failed, skipped }]) =>
        `${name.padEnd(36)} ${String(passed).padStart(4)} ${String(failed).padStart(7)} ${String(skipped).padStart(8)}`,
    );
  return [
    `${'group'.padEnd(36)} pass    fail     skip`,
    ...lines,
    ...summary.failures.map(({ name, why }) => `✖ ${name}\n    ${why}`),
    ...summary.flakes.map((name) => `passed only when tried again: ${name}`),
  ].join('\n');
}
