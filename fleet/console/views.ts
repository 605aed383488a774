import { ask, queryOf } from './api.ts';
import type { Verdict } from './api.ts';
import { element, facts, link, table, timeText, title } from './dom.ts';
import type { Child } from './dom.ts';
import { logSection } from './log-view.ts';
import type { NodeLog } from './log-view.ts';
import { pageCaption, pageLinks, pageQuery } from './pages.ts';
import type { Fields } from './pages.ts';

interface Reason {
  readonly counted: boolean;
  readonly text: string;
  readonly code?: string;
  readonly children?: readonly Reason[];
}

interface VerdictText {
  readonly manifestDigest: string;
  readonly platform: { readonly os: string; readonly architecture: string };
  readonly unverified: boolean;
  readonly validUntil?: string;
  readonly reasons: Reason;
  readonly ceilings: readonly { readonly rule: string; readonly ceiling: string }[];
  readonly exceptions?: readonly { readonly kind: string; readonly rule: string; readonly wouldBe: string }[];
}

/** Shows a verdict: the decision, the reasons, the rule, the signature, and the nodes. */
export async function verdictView(id: string): Promise<readonly Child[]> {
  const { text, rows } = await ask<{ text?: VerdictText; rows: readonly Verdict[] }>(
    `verdicts/${encodeURIComponent(id)}`,
  );
  const [newest] = rows;
  if (newest === undefined) return [title('Verdict'), element('p', {}, 'No node has this verdict.')];
  const known: (readonly [string, Child])[] = [
    ['Outcome', element('span', { class: `outcome ${newest.outcome}` }, newest.outcome)],
    ['Image', newest.reference],
    ['Digest', newest.digest],
    ['Namespace', newest.namespace],
    ['Policy', newest.policyRevision],
    ['Verdict', id],
  ];
  if (text !== undefined) {
    known.push(['Platform', `${text.platform.os}/${text.platform.architecture}: ${text.manifestDigest}`]);
    for (const { ceiling, rule } of text.ceilings) known.push(['Ceiling', `${ceiling} (rule ${rule})`]);
    for (const { kind, rule, wouldBe } of text.exceptions ?? [])
      known.push(['Exception', `${kind} of the rule ${rule}: it would be ${wouldBe}`]);
    if (text.unverified) known.push(['Unverified', 'The image was admitted without proof.']);
    if (text.validUntil !== undefined) known.push(['Valid until', text.validUntil]);
  }
  return [
    title(`Verdict on ${newest.reference}`),
    facts(known),
    element('h2', {}, 'Why'),
    text === undefined
      ? element('p', {}, 'No node has sent the reasons.')
      : element('ul', { class: 'tree' }, reasonItem(text.reasons)),
    table(
      'Nodes with this verdict',
      ['Time', 'Node', 'Row'],
      rows.map(({ time, node, seq }) => [timeText(time), link(`node/${node}`, node), String(seq)]),
    ),
  ];
}

function reasonItem({ counted, text, code, children = [] }: Reason): HTMLElement {
  const line = [
    element('span', { class: counted ? 'mark admit' : 'mark deny' }, counted ? 'counts' : 'does not count'),
    ` ${text} `,
    ...(code === undefined ? [] : [element('code', {}, code)]),
  ];
  if (children.length === 0) return element('li', {}, ...line);
  return element(
    'li',
    {},
    element(
      'details',
      { open: '' },
      element('summary', {}, ...line),
      element('ul', {}, ...children.map(reasonItem)),
    ),
  );
}

interface ListedNode {
  readonly name: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly seen: string;
  readonly rows: number;
  readonly alerts: readonly string[];
  readonly enforcement?: string;
  readonly running?: number;
}

/**
 * Lists nodes.
 * @param address `after`: only nodes whose names come after this name
 */
export async function nodesView(_argument: string, address: URLSearchParams): Promise<readonly Child[]> {
  const { nodes, next: last } = await ask<{ nodes: readonly ListedNode[]; next?: string }>(
    `nodes?${pageQuery(address)}`,
  );
  const next = last === undefined ? undefined : { after: last };
  return [
    title('Nodes'),
    table(
      pageCaption(nodes.length, 'node', next, address),
      ['Node', 'Labels', 'Seen', 'Enforcement', 'Running', 'Rows', 'Alerts'],
      nodes.map(({ name, labels, seen, rows, alerts, enforcement = 'unknown', running = 0 }) => [
        link(`node/${encodeURIComponent(name)}`, name),
        Object.entries(labels)
          .map(([key, value]) => `${key}=${value}`)
          .join(' '),
        timeText(seen),
        element('span', { class: `outcome ${enforcement === 'pass' ? 'admit' : 'deny'}` }, enforcement),
        String(running),
        String(rows),
        alerts.join(' '),
      ]),
    ),
    ...pageLinks('nodes', next, address),
  ];
}

interface Container {
  readonly namespace: string;
  readonly pod: string;
  readonly name: string;
}

interface State {
  readonly version: string;
  readonly policy: { readonly revision?: string; readonly problem?: string };
  readonly enforcement: {
    readonly result: string;
    readonly since: string;
    readonly checkedAt?: string;
    readonly triedAt?: string;
    readonly findings: readonly { readonly code: string; readonly effect: string; readonly on: string }[];
  };
  readonly outOfPolicy: readonly (Container & {
    readonly reference: string;
    readonly rule: string;
    readonly outcome: string;
    readonly since: string;
    readonly verdict: string;
  })[];
  readonly degraded: readonly (Container & { readonly reasons: readonly string[] })[];
  readonly roots: readonly { readonly name: string; readonly rule: string; readonly ends: string }[];
  readonly running: readonly (Container & { readonly reference: string; readonly verdict: string })[];
  readonly omitted: number;
  readonly upcoming?: { readonly release: string; readonly count: number; readonly problem?: string };
}

const containerText = ({ namespace, pod, name }: Container): string => `${namespace}/${pod}/${name}`;
const verdictLink = (id: string, text: string): Child => (id === '' ? text : link(`verdict/${id}`, text));

/**
 * Shows a node: its proof of enforcement, its containers, and its log, which can be verified.
 * @param expected `key`: the expected fingerprint of the key of its log
 */
export async function nodeView(name: string, expected: URLSearchParams): Promise<readonly Child[]> {
  const node = await ask<NodeLog & { state?: State }>(`nodes/${encodeURIComponent(name)}`);
  const { state } = node;
  return [
    title(name),
    ...(state === undefined ? [] : stateOf(state)),
    ...(await logSection(name, node, expected.get('key') ?? '')),
  ];
}

function stateOf({ version, policy, enforcement, upcoming, omitted, ...lists }: State): readonly Child[] {
  const { result, since, checkedAt = 'never', triedAt = 'never', findings } = enforcement;
  return [
    facts([
      ['Version', version],
      ['Policy', policy.revision ?? 'no policy is in force'],
      ...(policy.problem === undefined ? [] : [['Problem', policy.problem] as const]),
      ...(upcoming === undefined ? [] : [['Not in force yet', upcomingText(upcoming)] as const]),
      ['Enforcement', `${result} since ${timeText(since)}`],
      ['Inspected', checkedAt === 'never' ? checkedAt : timeText(checkedAt)],
      ['Planted pair tested', triedAt === 'never' ? triedAt : timeText(triedAt)],
      ...(omitted === 0 ? [] : [['Left out', omittedText(omitted)] as const]),
    ]),
    table(
      'Findings',
      ['Code', 'Effect', 'On'],
      findings.map(({ code, effect, on }) => [code, effect, on]),
    ),
    table(
      'Out of policy',
      ['Container', 'Image', 'Rule', 'Outcome', 'Since'],
      lists.outOfPolicy.map((one) => [
        containerText(one),
        verdictLink(one.verdict, one.reference),
        one.rule,
        one.outcome,
        timeText(one.since),
      ]),
    ),
    table(
      'Degraded',
      ['Container', 'Reasons'],
      lists.degraded.map((one) => [containerText(one), one.reasons.join(' ')]),
    ),
    table(
      'Roots',
      ['Root', 'Rule', 'Ends'],
      lists.roots.map(({ name, rule, ends }) => [name, rule, timeText(ends)]),
    ),
    table(
      'Running',
      ['Container', 'Image'],
      lists.running.map((one) => [containerText(one), verdictLink(one.verdict, one.reference)]),
    ),
  ];
}

const omittedText = (omitted: number): string =>
  `${omitted.toLocaleString('en')} entries: a node sends the first entries of each list below`;

function upcomingText({ release, count, problem }: NonNullable<State['upcoming']>): Child {
  const what = problem ?? `it would refuse ${count} running workloads`;
  return link(`upcoming/${encodeURIComponent(release)}`, `release ${release}: ${what}`);
}

/**
 * Lists the images that run.
 * @param address `image`: a part of the reference; `after`, `afterId`: where the page begins
 */
export async function imagesView(_argument: string, address: URLSearchParams): Promise<readonly Child[]> {
  const { images, next } = await ask<{
    images: readonly {
      reference: string;
      imageId: string;
      verdict: string;
      containers: number;
      nodes: number;
    }[];
    next?: Fields;
  }>(`images?${pageQuery(address)}`);
  const part = element('input', { id: 'image', name: 'image', type: 'search', autocomplete: 'off' });
  part.value = address.get('image') ?? '';
  return [
    title('Images that run'),
    element(
      'form',
      {
        ...{ class: 'filters', role: 'search', 'aria-label': 'Filter images' },
        onsubmit: (event) => {
          event.preventDefault();
          location.hash = `#/images?${queryOf({ most: address.get('most') ?? '', image: part.value })}`;
        },
      },
      element('p', {}, element('label', { for: 'image' }, 'Part of the reference'), part),
      element('button', { type: 'submit' }, 'Search'),
    ),
    table(
      pageCaption(images.length, 'image', next, address),
      ['Image', 'Id', 'Containers', 'Nodes', 'Verdict'],
      images.map(({ reference, imageId, verdict, containers, nodes }) => [
        link(`image/${encodeURIComponent(reference)}?${queryOf({ imageId })}`, reference),
        imageId.slice(0, 19),
        String(containers),
        String(nodes),
        verdictLink(verdict, verdict.slice(0, 19)),
      ]),
    ),
    ...pageLinks('images', next, address),
  ];
}

/**
 * Shows an image that runs: its containers and their nodes.
 * @param address `imageId`: the id of the image; `after`, `afterId`: where the page begins
 */
export async function imageView(reference: string, address: URLSearchParams): Promise<readonly Child[]> {
  const imageId = address.get('imageId') ?? '';
  const { containers, next } = await ask<{
    containers: readonly (Container & { readonly node: string; readonly verdict: string })[];
    next?: Fields;
  }>(`images/containers?${pageQuery(address, { reference })}`);
  return [
    title(`Image ${reference}`),
    ...(imageId === '' ? [] : [facts([['Id', imageId]])]),
    table(
      pageCaption(containers.length, 'container', next, address),
      ['Node', 'Container', 'Verdict'],
      containers.map((one) => [
        link(`node/${encodeURIComponent(one.node)}`, one.node),
        containerText(one),
        verdictLink(one.verdict, one.verdict.slice(0, 19)),
      ]),
    ),
    ...pageLinks(`image/${encodeURIComponent(reference)}`, next, address),
  ];
}

/** The browser stays quick with this many rows of a table. */
const mostAlerts = 1000;

/** Lists alerts. */
export async function alertsView(): Promise<readonly Child[]> {
  const { alerts } = await ask<{ alerts: readonly { code: string; node: string; text: string }[] }>('alerts');
  const shown = alerts.slice(0, mostAlerts);
  return [
    title('Alerts'),
    table(
      shown.length < alerts.length
        ? `The first ${shown.length} of ${alerts.length} alerts`
        : `${alerts.length} alert${alerts.length === 1 ? '' : 's'}`,
      ['Code', 'Node', 'Detail'],
      shown.map(({ code, node, text }) => [code, link(`node/${encodeURIComponent(node)}`, node), text]),
    ),
  ];
}
