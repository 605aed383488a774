import type { Labels, NetworkPolicy, PolicySet } from './network-policy.ts';

/**
 * Joins the content of files to one set. Pure, and without the parsers, because the network's thread loads
 * this.
 */

/** The content of one file. Plain values: they cross threads and are stored on disk. */
export interface FileReading {
  readonly policies: readonly NetworkPolicy[];
  readonly namespaces: readonly (readonly [name: string, labels: Labels | 'unknown'])[];
  /** Objects that cannot be understood, as lines of text with their places. */
  readonly problems: readonly string[];
}

/** Joins several files. Objects that occur twice and differ are problems. Pure. */
export function join(readings: readonly FileReading[]): {
  readonly set: PolicySet;
  readonly problems: readonly string[];
} {
  const problems = readings.flatMap((reading) => reading.problems);
  const policies = new Map<string, NetworkPolicy>();
  for (const policy of readings.flatMap((reading) => reading.policies)) {
    const key = `${policy.namespace ?? '?'}/${policy.name}`;
    const before = policies.get(key);
    if (before === undefined || JSON.stringify(before) === JSON.stringify(policy)) policies.set(key, policy);
    else {
      const why = `the NetworkPolicy ${key} occurs twice with different content; remove one of the two`;
      if (before.unreadable === undefined) policies.set(key, isolating(before, why));
      policies.set(`${key} ${policies.size}`, isolating(policy, why));
      problems.push(why);
    }
  }
  const namespaces = new Map<string, Labels | 'unknown'>();
  for (const [name, labels] of readings.flatMap((reading) => reading.namespaces)) {
    const before = namespaces.get(name);
    if (before === undefined || JSON.stringify(sorted(before)) === JSON.stringify(sorted(labels)))
      namespaces.set(name, labels);
    else {
      problems.push(
        `the namespace ${name} occurs twice with different labels: no label selector selects it; remove one of the two`,
      );
      namespaces.set(name, 'unknown');
    }
  }
  return { set: { policies: [...policies.values()], namespaces }, problems };
}

const sorted = (labels: Labels | 'unknown'): unknown =>
  labels === 'unknown' ? labels : Object.entries(labels).toSorted();

/** Isolates in both directions, or in those that the policy is known to isolate in. */
function isolating(policy: NetworkPolicy, why: string): NetworkPolicy {
  const { namespace, name, podSelector, ingress, egress } = policy;
  return {
    ...(namespace !== undefined && { namespace }),
    name,
    podSelector,
    ...(ingress !== undefined && { ingress: [] }),
    ...(egress !== undefined && { egress: [] }),
    unreadable: why,
  };
}
