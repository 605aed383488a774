import { structuredPatch } from 'diff';
import { ask, queryOf } from './api.ts';
import { element, facts, link, table, timeText, title } from './dom.ts';
import type { Child } from './dom.ts';
import type { UpcomingRelease } from '../store/api.types.ts';

interface Revision {
  readonly revision: string;
  readonly inForce: number;
  readonly nodes: readonly string[];
  readonly received?: string;
}

interface Sources {
  readonly files: readonly { readonly name: string; readonly text: string }[];
  readonly keys: readonly { readonly name: string; readonly digest: string }[];
}

/** The time that the comparison of all files may take, in ms: a node chose the texts. */
const mostMs = 2000;

const short = (revision: string): string => revision.slice(0, 19);
const sourcesOf = (revision: string): Promise<Sources> => ask(`policies/${encodeURIComponent(revision)}`);
const plural = (count: number, one: string): string => `${count} ${one}${count === 1 ? '' : 's'}`;

/** Lists the revisions of policies, and the releases that are not in force yet. */
export async function policiesView(): Promise<readonly Child[]> {
  const [{ policies }, { releases }] = await Promise.all([
    ask<{ policies: readonly Revision[] }>('policies'),
    ask<{ releases: readonly UpcomingRelease[] }>('upcoming'),
  ]);
  const stored = policies.filter(({ received }) => received !== undefined);
  return [
    title('Policies'),
    table(
      plural(policies.length, 'revision'),
      ['Revision', 'In force on', 'Nodes', 'Sent'],
      policies.map(({ revision, inForce, nodes, received }) => [
        received === undefined ? short(revision) : link(`policy/${revision}`, short(revision)),
        plural(inForce, 'node'),
        nodes.slice(0, 10).join(' ') + (inForce > 10 ? ' …' : ''),
        received === undefined ? 'never' : timeText(received),
      ]),
    ),
    ...(stored.length < 2 ? [] : [comparison(stored)]),
    element('h2', {}, 'Not in force yet'),
    releases.length === 0
      ? element('p', {}, 'No node has a release that is not in force yet.')
      : table(
          plural(releases.length, 'release'),
          ['Release', 'Decided on', 'Would refuse on', 'Could not decide'],
          releases.map(({ release, nodes, refusing, failed, problem = '' }) => [
            link(`upcoming/${encodeURIComponent(release)}`, release),
            plural(nodes - failed, 'node'),
            element(
              'span',
              { class: `outcome ${refusing === 0 ? 'admit' : 'deny'}` },
              plural(refusing, 'node'),
            ),
            failed === 0 ? '' : `${plural(failed, 'node')}: ${problem}`,
          ]),
        ),
  ];
}

/** Creates the form that compares two revisions. The newest are first. */
function comparison(stored: readonly Revision[]): HTMLElement {
  const select = (id: string, label: string, chosen: number): readonly [HTMLElement, HTMLSelectElement] => {
    const field = element(
      'select',
      { id },
      ...stored.map(({ revision, received = '', inForce }, index) =>
        element(
          'option',
          { value: revision, ...(index === chosen && { selected: '' }) },
          `${short(revision)} · ${timeText(received)}${inForce > 0 ? ' · in force' : ''}`,
        ),
      ),
    );
    return [element('p', {}, element('label', { for: id }, label), field), field];
  };
  const [fromRow, from] = select('from', 'From', 1);
  const [toRow, to] = select('to', 'To', 0);
  return element(
    'form',
    {
      ...{ class: 'filters', 'aria-label': 'Compare revisions' },
      onsubmit: (event) => {
        event.preventDefault();
        location.hash = `#/compare/${from.value}/${to.value}`;
      },
    },
    fromRow,
    toRow,
    element('p', {}, element('button', { type: 'submit' }, 'Compare')),
  );
}

/** Shows the text of a policy, with its profiles. */
export async function policyView(revision: string): Promise<readonly Child[]> {
  const { files, keys } = await sourcesOf(revision);
  return [
    title(`Policy ${short(revision)}`),
    facts([
      ['Revision', revision],
      ['Files', files.map(({ name }) => name).join(' ')],
    ]),
    ...files.flatMap(({ name, text }) => [element('h2', {}, name), code(name, [text])]),
    table(
      'Keys',
      ['File', 'Digest'],
      keys.map(({ name, digest }) => [name, digest]),
    ),
  ];
}

/** Shows the differences between two revisions. @param argument `FROM/TO` */
export async function compareView(argument: string): Promise<readonly Child[]> {
  const [from = '', to = ''] = argument.split('/');
  const [before, after] = await Promise.all([sourcesOf(from), sourcesOf(to)]);
  const until = performance.now() + mostMs;
  const files = paired(before.files, after.files).flatMap(({ name, was, is }) =>
    was?.text === is?.text
      ? []
      : [
          element('h2', {}, `${name}${change(was, is)}`),
          code(name, changedLines(was?.text, is?.text, until)),
        ],
  );
  const keys = paired(before.keys, after.keys).filter(({ was, is }) => was?.digest !== is?.digest);
  return [
    title('Differences'),
    facts([
      ['From', link(`policy/${from}`, from)],
      ['To', link(`policy/${to}`, to)],
    ]),
    ...(files.length + keys.length > 0
      ? files
      : [element('p', {}, 'The texts and keys are equal; only their order differs.')]),
    ...(keys.length === 0
      ? []
      : [
          table(
            'Keys that changed',
            ['File', 'From', 'To'],
            keys.map(({ name, was, is }) => [name, was?.digest ?? 'none', is?.digest ?? 'none']),
          ),
        ]),
  ];
}

interface Pair<One> {
  readonly name: string;
  readonly was: One | undefined;
  readonly is: One | undefined;
}

/**
 * Pairs entries by their names. If a name occurs several times, the second entry is paired with the second
 * entry of that name.
 */
function paired<One extends { readonly name: string }>(
  before: readonly One[],
  after: readonly One[],
): readonly Pair<One>[] {
  const numbered = (all: readonly One[]): Map<string, One> => {
    const counts = new Map<string, number>();
    return new Map(
      all.map((one) => {
        const count = counts.get(one.name) ?? 0;
        counts.set(one.name, count + 1);
        return [`${one.name}\n${count}`, one] as const;
      }),
    );
  };
  const [was, is] = [numbered(before), numbered(after)];
  return [...new Set([...was.keys(), ...is.keys()])].map((key) => ({
    name: key.slice(0, key.lastIndexOf('\n')),
    was: was.get(key),
    is: is.get(key),
  }));
}

const change = (was: unknown, is: unknown): string =>
  was === undefined ? ' (added)' : is === undefined ? ' (removed)' : '';

/**
 * Returns the lines that differ, and three lines around them.
 * @param until when the comparison is aborted, by the clock of `performance`
 */
function changedLines(was: string | undefined, is: string | undefined, until: number): readonly Child[] {
  const timeout = Math.max(0, until - performance.now());
  const patch = structuredPatch('', '', was ?? '', is ?? '', '', '', { context: 3, timeout });
  if (patch === undefined) return ['The comparison takes too long. Open both revisions instead.'];
  return patch.hunks.flatMap(({ oldStart, newStart, lines }) => [
    element('span', { class: 'place' }, `line ${oldStart} → ${newStart}\n`),
    ...lines.map((line) => {
      const kind = line.startsWith('+') ? 'ins' : line.startsWith('-') ? 'del' : 'span';
      return element(kind, {}, `${line}\n`);
    }),
  ]);
}

/** Creates a block of code that the keyboard can scroll. */
function code(name: string, content: readonly Child[]): HTMLElement {
  return element(
    'div',
    { class: 'scroll', tabindex: '0', role: 'region', 'aria-label': name },
    element('pre', { class: 'code' }, ...content),
  );
}

/** Shows the workloads that a release which is not in force yet would refuse. */
export async function upcomingView(release: string): Promise<readonly Child[]> {
  const [{ releases }, { denials, more = false }] = await Promise.all([
    ask<{ releases: readonly UpcomingRelease[] }>('upcoming'),
    ask<{
      denials: readonly {
        readonly namespace: string;
        readonly reference: string;
        readonly outcome: string;
        readonly rule: string;
        readonly nodes: number;
      }[];
      readonly more?: boolean;
    }>(`upcoming/denials?${queryOf({ release, most: '1000' })}`),
  ]);
  const found = releases.find((one) => one.release === release);
  if (found === undefined)
    return [title(`Release ${release}`), element('p', {}, 'No node waits for this release.')];
  const { nodes, refusing, failed, revision } = found;
  return [
    title(`Release ${release}`),
    facts([
      ['Decided on', plural(nodes - failed, 'node')],
      ['Would refuse on', plural(refusing, 'node')],
      ...(revision === '' ? [] : [['Revision', revision] as const]),
    ]),
    table(
      `${more ? 'The first ' : ''}${plural(denials.length, 'workload')} that it would refuse`,
      ['Image', 'Namespace', 'Outcome', 'Rule', 'Nodes'],
      denials.map(({ namespace, reference, outcome, rule, nodes: on }) => [
        reference,
        namespace,
        element('span', { class: `outcome ${outcome}` }, outcome),
        rule === '' ? 'none applies' : rule,
        String(on),
      ]),
    ),
  ];
}
