import { reasonCodes } from '../../trust/policy/reason-codes.ts';
import { errorGroups } from './error-groups.ts';
import type { Case, Declared } from './errors.ts';
import { cell, code as codeSpan } from './markdown.ts';

export interface ErrorPage {
  readonly name: string;
  readonly title: string;
  readonly text: string;
}

/** Returns the codes of which only the reporting files are known. */
export function unexplainedCodes(codes: ReadonlyMap<string, Declared>): string[] {
  const hasText = ({ why, fix }: Case): boolean => known(why) || known(fix);
  return [...codes].flatMap(([code, { cases }]) =>
    code in reasonCodes || code in meanings || cases.some(hasText) ? [] : [code],
  );
}

/** Returns a page for each group of codes. */
export function errorPages(codes: ReadonlyMap<string, Declared>): ErrorPage[] {
  return errorGroups.map(({ name, title, prefixes }) => {
    const own = [...codes]
      .filter(([code]) => prefixes.some((prefix) => code.startsWith(`${prefix}_`)))
      .sort(([a], [b]) => (a < b ? -1 : 1));
    const intro =
      'A failure ends with its code in brackets. Codes are stable. `…` stands for a value that is known only when the failure occurs. ' +
      'If a part is not listed here, the message itself states it.';
    return {
      name,
      title,
      text: `# ${title}\n\n${intro}\n\n${own.map(([code, declared]) => sectionOf(code, declared)).join('\n\n')}\n`,
    };
  });
}

/**
 * Codes without the parts of an error: problems that `portcullis verdicts verify` finds, and lines of the
 * log.
 */
const meanings: Readonly<Record<string, string>> = {
  POLICY_DELIVERY_FAILED:
    'The node could not follow the releases of its policy, for a reason without a code. The log contains it, and the policy in force stays.',
  TRUST_LOG_ENTRY_MALFORMED:
    'A row of the verdict log cannot be read. Somebody changed the log, or the file is damaged.',
  TRUST_LOG_ROW_MISSING:
    'A row of the verdict log is missing: the numbers of the rows have a gap. Somebody removed it.',
  TRUST_LOG_TEXT_ALTERED:
    'A text that the verdict log names (a verdict, a policy or evidence) does not have the digest that its row names.',
  TRUST_LOG_TEXT_MISSING:
    'A text that the verdict log names is not stored, although its retention has not ended.',
  TRUST_LOG_VERDICT_UNLOGGED: 'A stored verdict is in no row of the verdict log.',
  RUNTIME_CHECKPOINT_LIMIT:
    'The checkpoint exceeded its time, its size or the free space that it must leave, or the container was stopped or the request was cancelled meanwhile.',
  NETWORK_SERVICE_UNSUPPORTED:
    'The service asks for something that the balancer of this node cannot do. The message names the field.',
  CRI_PEER_REFUSED:
    'The daemon closed a connection to its CRI socket, because the user of the client may not use the socket.',
  CRI_TOO_MANY_CONNECTIONS:
    'The daemon closed connections of a client that already has as many connections as one client may have.',
};

function sectionOf(code: string, { files, cases }: Declared): string {
  const meaning = reasonCodes[code];
  const items = cases.map(({ attempted, why, fix }) => {
    const said = [
      known(attempted) ? `Attempted: ${plain(attempted)}.` : '',
      known(why) ? `Cause: ${plain(why)}.` : '',
      known(fix) ? `Remedy: ${plain(fix)}.` : '',
    ];
    return said.filter((part) => part !== '').join(' ');
  });
  const list = [...new Set(items)].filter((item) => item !== '').map((item) => `- ${item}`);
  const place = `Reported by ${[...files].map(codeSpan).join(', ')}.`;
  return [
    `## ${code}`,
    meaning === undefined ? (meanings[code] ?? '') : `As the reason of a verdict: ${plain(meaning)}.`,
    list.join('\n'),
    place,
  ]
    .filter((part) => part !== '')
    .join('\n\n');
}

function known(text: string | undefined): text is string {
  return text !== undefined && /\p{L}/u.test(text);
}

/**
 * Keeps the text of a message from being read as Markdown, except for its code spans, and without a full
 * stop.
 */
function plain(text: string): string {
  return cell(text)
    .replaceAll('\\|', '|')
    .replace(/\.$/, '')
    .replaceAll(/`[^`]*`|[<>*_[\]]/g, (found) => (found.length === 1 ? `\\${found}` : found));
}
