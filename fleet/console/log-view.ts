import { element, facts, table, timeText } from './dom.ts';
import type { Child } from './dom.ts';
import { fingerprintOf, pin, pinnedKey } from './log-key.ts';
import { verifyLog } from './verify-log.ts';

/** The facts about the log of a node, from the aggregator. */
export interface NodeLog {
  /** As NAME+ID+BASE64; empty when the node has sent no key. */
  readonly key: string;
  readonly checkpoint: string;
  readonly problems: readonly { code: string; seq: number; at: string; text: string }[];
}

/**
 * Shows the log of a node: its key, which this browser can pin, and a button that verifies the log.
 * @param expected the fingerprint in the address of the page; empty: none
 */
export async function logSection(name: string, log: NodeLog, expected: string): Promise<readonly Child[]> {
  const keyBox = element('div', { id: 'log-key' });
  const show = async (): Promise<void> =>
    keyBox.replaceChildren(...(await keyText(name, log.key, expected, show)));
  await show();
  return [
    element('h2', {}, 'Verdict log'),
    keyBox,
    ...verification(name, log, expected),
    ...(log.problems.length === 0
      ? []
      : [
          table(
            'Problems of the log',
            ['Code', 'Row', 'Found', 'Text'],
            log.problems.map(({ code, seq, at, text }) => [code, String(seq), timeText(at), text]),
          ),
        ]),
  ];
}

/** Shows the key, whether this browser has pinned it, and the button to pin it. */
async function keyText(
  name: string,
  key: string,
  expected: string,
  show: () => Promise<void>,
): Promise<readonly Child[]> {
  const pinned = pinnedKey(name);
  const fingerprint = key === '' ? '' : await fingerprintOf(key);
  const change = (label: string, next: string | undefined): HTMLElement =>
    element(
      'button',
      {
        type: 'button',
        onclick: () => {
          try {
            pin(name, next);
            void show();
          } catch (thrown) {
            warning.textContent = `This browser cannot store the pin: ${String(thrown)}`;
          }
        },
      },
      label,
    );
  const warning = element('p', { role: 'alert' });
  const values: (readonly [string, string])[] = [
    ['Key', key === '' ? 'the node has sent no key' : key],
    ...(key === '' ? [] : [['SHA-256', fingerprint] as const]),
  ];
  if (pinned !== undefined && pinned !== key) {
    warning.textContent =
      'This browser has pinned another key. Either the node has a new key, or someone has replaced its log. The pinned key verifies the log until you pin another key.';
    values.push(['Pinned key', pinned], ['Its SHA-256', await fingerprintOf(pinned)]);
  } else if (expected !== '' && expected !== fingerprint)
    warning.textContent = `The key differs from the key in the address of this page: ${expected}.`;
  const buttons =
    pinned === undefined
      ? [...(key === '' ? [] : [change('Pin this key in this browser', key)])]
      : [
          ...(key === '' || pinned === key ? [] : [change('Pin the new key instead', key)]),
          change('Remove the pin', undefined),
        ];
  const hint =
    pinned === undefined
      ? 'Compare the digest with the output of sha256sum verdict-log.key.pub on the node.'
      : 'This browser has pinned the key of this node.';
  return [
    facts(values),
    warning,
    element('p', {}, hint),
    element('p', {}, ...buttons.flatMap((one) => [one, ' '])),
  ];
}

/** Rows without a signature that covers them, and a first row whose predecessor has expired. */
const outside = 'that are newer than the checkpoint, or whose previous row has expired';

function verification(name: string, { key, checkpoint }: NodeLog, expected: string): readonly Child[] {
  const result = element('p', { role: 'status', class: 'result' });
  const verify = async (): Promise<readonly [isGood: boolean, text: string]> => {
    const pinned = pinnedKey(name);
    const used = pinned ?? key;
    if (expected !== '' && (used === '' || (await fingerprintOf(used)) !== expected))
      return [false, 'Not verified: the key differs from the key in the address of this page.'];
    const { ok, verified, unverifiable, found } = await verifyLog(
      name,
      { key: used, checkpoint },
      (count) => {
        result.textContent = `${count} rows …`;
      },
    );
    const isKnown = pinned !== undefined || expected !== '';
    const by = isKnown
      ? []
      : ['The key comes from the aggregator. Compare it with the key of the node, and pin it.'];
    const answer = ok ? `Verified: ${verified} rows.` : 'Not verified:';
    const rest =
      unverifiable === 0 ? [] : [`Not verifiable: ${unverifiable} rows${ok ? ` ${outside}` : ''}.`];
    return [ok, [answer, ...found, ...rest, ...by].join(' ')];
  };
  const button = element(
    'button',
    {
      id: 'verify-log',
      type: 'button',
      onclick: () => {
        button.disabled = true;
        [result.className, result.textContent] = ['result', 'Verifying …'];
        verify()
          .then(
            ([isGood, text]) => {
              result.className = `result ${isGood ? 'good' : 'bad'}`;
              result.textContent = text;
            },
            (thrown: unknown) => (result.textContent = String(thrown)),
          )
          .finally(() => (button.disabled = false));
      },
    },
    'Verify the log in this browser',
  );
  return [element('p', {}, button), result];
}
