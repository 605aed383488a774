/** One spec of ginkgo's JSON report (github.com/onsi/ginkgo, types.SpecReport). */
interface SpecReport {
  readonly ContainerHierarchyTexts: readonly string[] | null;
  readonly LeafNodeText: string;
  readonly LeafNodeType: string;
  readonly State: string;
  readonly NumAttempts: number;
  readonly Failure?: { readonly Message: string };
}

/** A spec that ran, or a step before or after all specs that failed. */
export interface Spec {
  readonly name: string;
  readonly outcome: 'passed' | 'failed' | 'skipped';
  /** The beginning of the message of a failed or skipped spec. */
  readonly why: string;
}

/** Specs that are expected to fail, and why. */
export interface Exclusion {
  readonly specs: RegExp;
  readonly reason: string;
}

/** The failures of a run, compared with those that are expected. */
interface Verdict {
  readonly unexplained: readonly Spec[];
  readonly explained: readonly (Spec & { readonly reason: string })[];
  /** Specs that passed although they are expected to fail. */
  readonly stale: readonly Spec[];
}

/** Returns the specs of a report, without those that the focus of the run excluded. */
export function readSpecs(report: unknown): Spec[] {
  const suites = report as readonly { readonly SpecReports: readonly SpecReport[] | null }[];
  return suites
    .flatMap((suite) => suite.SpecReports ?? [])
    .map((one) => ({ one, outcome: outcomeOf(one.State) }))
    .filter(({ one, outcome }) => (one.LeafNodeType === 'It' ? one.NumAttempts > 0 : outcome === 'failed'))
    .map(({ one, outcome }) => ({
      name: [
        ...(one.ContainerHierarchyTexts ?? []),
        one.LeafNodeType === 'It' ? one.LeafNodeText : one.LeafNodeType,
      ].join(' '),
      outcome,
      why: (one.Failure?.Message ?? '').split('\n').slice(0, 3).join(' ').slice(0, 300),
    }))
    .toSorted((a, b) => a.name.localeCompare(b.name));
}

function outcomeOf(state: string): Spec['outcome'] {
  if (state === 'passed') return 'passed';
  return state === 'skipped' || state === 'pending' ? 'skipped' : 'failed';
}

/** Compares the specs of a run with the exclusions. */
export function judge(specs: readonly Spec[], exclusions: readonly Exclusion[]): Verdict {
  const reasonFor = (spec: Spec): string | undefined =>
    exclusions.find((one) => one.specs.test(spec.name))?.reason;
  const failed = specs.filter(({ outcome }) => outcome === 'failed');
  return {
    unexplained: failed.filter((spec) => reasonFor(spec) === undefined),
    explained: failed.flatMap((spec) => {
      const reason = reasonFor(spec);
      return reason === undefined ? [] : [{ ...spec, reason }];
    }),
    stale: specs.filter((spec) => spec.outcome === 'passed' && reasonFor(spec) !== undefined),
  };
}

/** Returns the counts by the group that begins the names, and a line for each spec that did not pass. */
export function format(specs: readonly Spec[], verdict: Verdict): string {
  const groups = [...new Set(specs.map(groupOf))].toSorted();
  const row = (name: string, of: readonly Spec[]): string =>
    [
      name.padEnd(16),
      ...(['passed', 'failed', 'skipped'] as const).map((outcome) =>
        String(of.filter((spec) => spec.outcome === outcome).length).padStart(8),
      ),
    ].join('');
  return [
    `${'group'.padEnd(16)}  passed  failed skipped`,
    ...groups.map((group) =>
      row(
        group,
        specs.filter((spec) => groupOf(spec) === group),
      ),
    ),
    row('all', specs),
    ...specs
      .filter(({ outcome }) => outcome === 'skipped')
      .map(({ name, why }) => `skipped: ${name}\n    ${why}`),
    ...verdict.explained.map(({ name, reason }) => `failed as expected: ${name}\n    ${reason}`),
    ...verdict.stale.map(({ name }) => `passed although exclusions.ts expects a failure: ${name}`),
    ...verdict.unexplained.map(({ name, why }) => `✖ ${name}\n    ${why}`),
  ].join('\n');
}

/** Returns the counts of a run in one line. */
export function countsOf(specs: readonly Spec[], verdict: Verdict): string {
  const count = (outcome: Spec['outcome']): number => specs.filter((spec) => spec.outcome === outcome).length;
  return `${count('passed')} passed, ${count('failed')} failed (${verdict.explained.length} expected), ${count('skipped')} skipped`;
}

function groupOf(spec: Spec): string {
  return /^\[(sig-[a-z]+)\]/.exec(spec.name)?.[1] ?? 'other';
}
