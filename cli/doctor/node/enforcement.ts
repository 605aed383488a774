import type { EnforcementState } from '../../../runtime/index.ts';
import type { Finding } from '../finding.ts';
import { silentDaemonFix } from './daemon.ts';
import type { Answers } from './daemon.ts';

type Found = EnforcementState['findings'][number];

/**
 * Reports whether the running daemon proves that its policy refuses what it should, and the code of each
 * failure of that proof.
 */
export function enforcementFindings(answers: Answers | string): readonly Finding[] {
  const topic = 'enforcement';
  const state = typeof answers === 'string' ? undefined : answers.enforcement;
  if (state === undefined)
    return [
      {
        topic,
        state: 'degraded',
        found: 'could not tell',
        meaning: [
          typeof answers === 'string'
            ? `the daemon does not answer: ${answers}`
            : 'this daemon is older, and does not test its enforcement',
        ],
        fix:
          typeof answers === 'string'
            ? silentDaemonFix(answers, process.getuid?.() === 0)
            : 'systemctl restart portcullisd, which starts the installed version',
      },
    ];
  const { result, triedAt, checkedAt, since, findings } = state;
  const times = [
    `since ${since}`,
    triedAt === undefined ? 'the planted pair was never tried' : `the planted pair was tried at ${triedAt}`,
    ...(checkedAt === undefined ? [] : [`this node was checked at ${checkedAt}`]),
  ];
  const first: Finding = {
    topic,
    state: result === 'pass' ? 'fine' : 'degraded',
    found: result,
    meaning: times,
    ...(result !== 'pass' && { fix: 'correct the findings below; docs/enforcement.md explains each code' }),
  };
  return [first, ...findings.map(findingOf)];
}

function findingOf({ code, effect, on, text, fix, accepted = false }: Found): Finding {
  return {
    topic: code,
    state: accepted || effect === 'note' ? 'fine' : 'degraded',
    found: accepted ? `${on} (accepted by enforcement.accept)` : on,
    meaning: text.split('\n'),
    fix,
  };
}
