import { contains, defaultProfile } from '../../entitlements/index.ts';
import type { PeerRules } from '../../entitlements/index.ts';
import type { LiveFinding } from './live-state.ts';

/**
 * The class and the peer rules that the daemon requested for the pod's link, and those that it read back from
 * nf_tables: `info.link` of a verbose PodSandboxStatus.
 */
export interface LinkAnswer {
  readonly told: PeerRules & { readonly class: string };
  readonly held: PeerRules & { readonly lets: string; readonly problems: readonly string[] };
}

const OPEN: readonly string[] = ['user', 'proxy', 'admin'];

/**
 * Compares a pod's link with its class and peer rules. Pure.
 * @param own the container's class. The link belongs to the pod and has the widest class of its containers
 * @param answer undefined when the pod has no link of ours
 */
export function linkFindings(own: string, answer: LinkAnswer | undefined): LiveFinding[] {
  if (answer === undefined) {
    const found =
      own === 'host'
        ? 'host: the namespaces of the host have no link'
        : `${own}: the pod has no link of this daemon`;
    return [{ part: 'network class', verdict: own === 'host' ? 'held' : 'unreadable', found }];
  }
  const { told: reported, held } = answer;
  const asReported =
    held.lets === 'nothing' || (OPEN.includes(reported.class) && held.lets === 'own packets');
  const shared = reported.class === own ? '' : `, which a container of the pod has; its own is ${own}`;
  return [
    {
      part: 'network class',
      verdict: asReported ? 'held' : 'looser',
      found: [
        `${reported.class}${shared}: the link lets through ${held.lets === 'unknown' ? 'what is not known' : held.lets}`,
        ...held.problems,
      ].join('; '),
    },
    ...(['egress', 'ingress'] as const).flatMap((direction) => rules(direction, reported, held)),
  ];
}

function rules(
  direction: 'egress' | 'ingress',
  reported: LinkAnswer['told'],
  { lets, ...held }: LinkAnswer['held'],
): LiveFinding[] {
  const [wanted, found] = [reported[direction], held[direction]];
  if (wanted === undefined || lets === 'nothing') return [];
  const base = defaultProfile();
  const of = (list: PeerRules['egress']): typeof base => ({
    ...base,
    ...(list !== undefined && { [direction]: list }),
  });
  const answer = contains(of(wanted), of(found));
  const count = found === undefined ? 'no rules are in force' : `${found.length} rules of peers`;
  return [
    {
      part: direction,
      verdict: answer.yes ? 'held' : 'looser',
      found: answer.yes ? count : `${count}: ${answer.witness.what} is let through`,
    },
  ];
}
