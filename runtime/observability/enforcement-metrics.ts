import { enforcementResults } from '../enforcement/enforcement.ts';
import type { EnforcementState } from '../enforcement/enforcement.ts';
import { metricCatalogue as c } from './catalogue.ts';
import type { MetricDefinition } from './catalogue.ts';

/** Sets the enforcement metrics of a scrape. */
export function reportEnforcement(
  { result, findings, triedAt }: EnforcementState,
  set: (definition: MetricDefinition, value: number, labels?: Record<string, string>) => void,
): void {
  for (const one of enforcementResults)
    set(c.enforcement, Number(one === result), { result: one.replaceAll(' ', '-') });
  const counts = new Map<string, number>();
  for (const { code, accepted = false } of findings) {
    const key = `${code} ${accepted}`;
    counts.set(key, (counts.get(key) ?? 0) + 1);
  }
  for (const [key, count] of counts) {
    const [code = '', accepted = ''] = key.split(' ');
    set(c.enforcementFindings, count, { code, accepted });
  }
  set(c.enforcementTried, triedAt === undefined ? 0 : Date.parse(triedAt) / 1000);
}
