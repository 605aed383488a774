import type { Database } from '../../base/storage/index.ts';
import type { TrustPolicy, TrustRule } from '../../trust/index.ts';
import { ruleMatchesReference, shadowOf } from '../../trust/policy/index.ts';
import type { Seen } from '../findings/policy-findings.ts';

/** How many of the newest unread rows of the verdict log are read at each inspection. */
const mostRows = 2_000;
/**
 * How many references of the log are kept, and below it how many together with the recorded ones. A rule that
 * only matches images beyond this number is reported as unmatched.
 */
const mostOfLog = 2_000;
const mostKept = 4_000;

/**
 * The images that were requested on this node: the contents of the verdict log, and the references recorded
 * now.
 */
export interface SeenLog {
  /**
   * Returns what was seen. Compares only rules and references that were not compared before, and lets other
   * work run after each rule.
   */
  read(policy: TrustPolicy | undefined): Promise<Seen>;
  /** Returns the ISO 8601 time of the newest row. Empty if there is none. */
  newest(): string;
}

interface Row {
  readonly seq: number;
  readonly reference: string | null;
  readonly namespace: string | null;
  readonly time: string | null;
}

/** How far a rule has been compared. */
interface Compared {
  matched: boolean;
  count: number;
  readonly shadow: TrustRule | undefined;
}

/**
 * Creates a log of what this node was asked for.
 * @param recorded references and namespaces of images, containers and pods, and the planted ones
 */
export function createSeenLog(
  database: Pick<Database, 'all'>,
  recorded: () => { readonly references: readonly string[]; readonly namespaces: readonly string[] },
): SeenLog {
  const references = new Set<string>();
  const namespaces = new Set<string>();
  let rules = new WeakMap<TrustRule, Compared>();
  let revision = '';
  let last = 0;
  let newest = '';
  const keep = (kept: Set<string>, text: string, most: number): void => {
    if (kept.size < most) kept.add(text);
  };

  async function readLog(): Promise<void> {
    const rows = await database.all<Row>(
      'SELECT seq, reference, namespace, time FROM verdict_log WHERE seq > ? ORDER BY seq DESC LIMIT ?',
      [last, mostRows],
    );
    for (const { seq, reference, namespace, time } of rows) {
      last = Math.max(last, seq);
      if (reference !== null) keep(references, reference, mostOfLog);
      if (namespace !== null) keep(namespaces, namespace, mostOfLog);
      if (time !== null && time > newest) newest = time;
    }
  }

  async function compare(policy: TrustPolicy): Promise<void> {
    if (policy.revision !== revision) rules = new WeakMap();
    ({ revision } = policy);
    const known = [...references];
    for (const rule of policy.rules) {
      const before = rules.get(rule);
      if (before !== undefined && (before.matched || before.count === known.length)) continue;
      const matched = known
        .slice(before?.count ?? 0)
        .some((reference) => ruleMatchesReference(rule, reference));
      rules.set(rule, {
        matched,
        count: known.length,
        shadow: before === undefined ? shadowOf(policy, rule) : before.shadow,
      });
      await new Promise((resolve) => setImmediate(resolve));
    }
  }

  return {
    newest: () => newest,
    async read(policy) {
      await readLog();
      const now = recorded();
      for (const reference of now.references) keep(references, reference, mostKept);
      for (const namespace of now.namespaces) keep(namespaces, namespace, mostKept);
      if (policy !== undefined) await compare(policy);
      return {
        count: references.size,
        matches: (rule) => rules.get(rule)?.matched ?? false,
        shadow: (rule) => rules.get(rule)?.shadow,
        namespaces,
      };
    },
  };
}
