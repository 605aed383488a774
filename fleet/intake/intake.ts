import { setImmediate as nextTurn } from 'node:timers/promises';
import { createKeyedQueue } from '../../base/queues/index.ts';
import { attributeNames, eventNames } from '../records/record-names.ts';
import type { AttributeValue, LogRecord, ResourceRecords } from '../records/log-record.ts';
import type { AcceptedRow, LogProblem, NodeRecord } from '../store/node-record.ts';
import { bytesOf } from '../store/store.ts';
import type { FleetStore, NodeUpdate } from '../store/store.ts';
import { judgeCheckpoint, judgeRow } from './check-record.ts';
import { readPolicyText } from './read-policy.ts';
import { readState } from './summary.ts';

/** The answer to the records of a node. */
export interface Received {
  readonly accepted: number;
  readonly rejected: number;
  /** Why the first rejected record was rejected; empty when no record was rejected. */
  readonly message: string;
  /** The number of the row that the node should send next. */
  readonly next: number;
  /** The verdicts that were stored, by outcome. */
  readonly outcomes: Readonly<Record<string, number>>;
  /** Bytes of the rows and texts that were stored. */
  readonly bytes: number;
}

export interface Intake {
  /**
   * Stores the records of a node. They are on the disk when the promise resolves. A repeated record changes
   * nothing and is accepted.
   * @throws PortcullisError STORAGE_… when nothing was stored
   */
  receive(name: string, resources: readonly ResourceRecords[]): Promise<Received>;
  /** Resolves when nothing is being stored. */
  settled(): Promise<void>;
}

const labelLimits = { count: 32, length: 256 };

/**
 * Receives the records of nodes. The records of one node are processed one after another.
 * @param pinnedKey returns the key of checkpoints that is configured for a node
 */
export function createIntake(
  store: FleetStore,
  parts: { readonly now: () => number; readonly pinnedKey: (node: string) => string | undefined },
): Intake {
  const queue = createKeyedQueue();
  return {
    receive: (name, resources) => queue.run(name, () => receive(store, parts, name, resources)),
    settled: () => queue.settled(),
  };
}

async function receive(
  store: FleetStore,
  { now, pinnedKey }: Parameters<typeof createIntake>[1],
  name: string,
  resources: readonly ResourceRecords[],
): Promise<Received> {
  const before = await store.node(name);
  let node: NodeRecord = { ...before, seen: now(), ...labelsIn(resources) };
  const rows: AcceptedRow[] = [];
  const problems: LogProblem[] = [];
  let state: NodeUpdate['state'];
  let policy: NodeUpdate['policy'];
  let [accepted, rejected, message] = [0, 0, ''];
  const reject = (why: string, problem?: LogProblem): void => {
    rejected += 1;
    if (message === '') message = why;
    if (problem !== undefined) problems.push(problem);
  };
  const pinned = pinnedKey(name);
  // The key may have been configured after the log had named another one.
  if (pinned !== undefined && before.key !== '' && before.key !== pinned)
    problems.push({
      code: 'LOG_KEY_CHANGED',
      seq: 0,
      text: 'the log names another key than the configured key',
    });
  const hashOf = async (seq: number): Promise<string | undefined> =>
    rows[seq - before.seq - 1]?.hash ?? (await store.hashOf(before, seq));

  async function row(record: LogRecord): Promise<void> {
    const judged = await judgeRow(node, record, hashOf, pinned);
    if (judged === 'known') accepted += 1;
    else if ('refused' in judged) reject(judged.refused, judged.problem);
    else {
      accepted += 1;
      rows.push(notAfter(judged.row, node.seen));
      const { seq, hash } = judged.row;
      node = { ...node, seq, hash, ...(judged.key !== undefined && { key: judged.key }) };
    }
  }

  async function checkpoint(record: LogRecord): Promise<void> {
    const judged = await judgeCheckpoint(node, record.body, hashOf, pinned);
    if (judged === 'later') reject('the checkpoint covers rows that the node has not sent yet');
    else if ('problem' in judged) reject(judged.problem.text, judged.problem);
    else {
      accepted += 1;
      if (judged.size < node.signed)
        problems.push({
          code: 'LOG_CUT_OFF',
          seq: judged.size,
          text: `a checkpoint of ${judged.size} rows came after a checkpoint of ${node.signed} rows`,
        });
      else node = { ...node, signed: judged.size, note: record.body };
    }
  }

  const turns = createTurns();
  for (const record of resources.flatMap(({ records }) => records)) {
    await turns.before(record);
    if (record.event === eventNames.row) await row(record);
    else if (record.event === eventNames.checkpoint) await checkpoint(record);
    else if (record.event === eventNames.state) {
      const read = readState(record.body);
      if ('refused' in read) reject(read.refused);
      else {
        accepted += 1;
        state = read;
      }
    } else if (record.event === eventNames.policy) {
      const read = readPolicyText(record.body);
      if ('refused' in read) reject(read.refused);
      else {
        accepted += 1;
        policy = read;
      }
    } else reject(`${JSON.stringify(record.event.slice(0, 64))} is not an event of a node`);
  }
  await store.keep({
    node,
    rows,
    problems,
    isSameTime: hasTime(resources, node.seen),
    ...(state !== undefined && { state }),
    ...(policy !== undefined && { policy }),
  });
  const outcomes: Record<string, number> = {};
  for (const { verdict } of rows)
    if (verdict !== undefined) outcomes[verdict.outcome] = (outcomes[verdict.outcome] ?? 0) + 1;
  return { accepted, rejected, message, next: node.seq + 1, outcomes, bytes: bytesOf(rows) };
}

/** Clocks that differ by less, in ms, have the same time. */
const sameTimeMs = 600_000;

/** Reports whether a record was made at about this time, by the clock of the node. */
function hasTime(resources: readonly ResourceRecords[], now: number): boolean {
  return resources.some(({ records }) => records.some(({ time }) => Math.abs(time - now) < sameTimeMs));
}

/**
 * Lets other requests have their turn after so many characters of records: a megabyte can take a tenth of a
 * second. After each record, a request of many small records would wait too often for one of few large ones.
 */
const turnLength = 65_536;
/** A short record takes as long as this many characters of a long one. */
const leastLength = 1024;

function createTurns(): { before(record: LogRecord): Promise<void> } {
  let left = 0;
  return {
    async before({ body, attributes }) {
      const entry = attributes.get(attributeNames.entry);
      left -= leastLength + body.length + (typeof entry === 'string' ? entry.length : 0);
      if (left >= 0) return;
      await nextTurn();
      left = turnLength;
    },
  };
}

/**
 * Returns a row whose verdict counts as given when the row arrived, if it names a later time. The clock of a
 * node may be wrong or lie, and the newest verdicts of all nodes are listed first.
 */
function notAfter({ verdict, ...row }: AcceptedRow, arrived: number): AcceptedRow {
  return verdict === undefined
    ? row
    : { ...row, verdict: { ...verdict, time: Math.min(verdict.time, arrived) } };
}

/** Returns the labels of the last resource, up to the limits. */
function labelsIn(resources: readonly ResourceRecords[]): Pick<NodeRecord, 'labels'> | undefined {
  const attributes: ReadonlyMap<string, AttributeValue> | undefined = resources.at(-1)?.attributes;
  if (attributes === undefined) return undefined;
  const labels = [...attributes]
    .filter(([key, value]) => key.startsWith(attributeNames.label) && typeof value === 'string')
    .map(([key, value]) => [key.slice(attributeNames.label.length), String(value)] as const)
    .filter(([key, value]) => key.length <= labelLimits.length && value.length <= labelLimits.length)
    .slice(0, labelLimits.count);
  return { labels: Object.fromEntries(labels) };
}
