import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import type { Run, TraceEvent } from './events.ts';

/**
 * A journal of a daemon's records, written by triggers in its own databases (docs/decisions/0075): each row
 * is written in the transaction that it describes, so the journal has exactly the committed changes, whenever
 * the daemon is killed. The daemon does not see the triggers.
 */
const table = 'test_journal';

const now = "CAST(unixepoch('subsec') * 1000 AS INTEGER)";

const journalTable = `CREATE TABLE ${table} (seq INTEGER PRIMARY KEY, at INTEGER NOT NULL, kind TEXT NOT NULL, id TEXT NOT NULL, facts TEXT NOT NULL) STRICT;`;

interface Trigger {
  readonly on: string;
  readonly table: string;
  readonly kind: string;
  readonly id: string;
  /** A JSON object of SQL expressions; absent: the row is gone. */
  readonly facts?: Readonly<Record<string, string>>;
  readonly when?: string;
}

const ofRecord = (names: readonly string[]): Record<string, string> =>
  Object.fromEntries(names.map((name) => [name, `NEW.record ->> '$.${name}'`]));
const sandboxFacts = {
  ...ofRecord(['phase']),
  network: "NEW.record ->> '$.config.linux.securityContext.namespaceOptions.network'",
};
const containerFacts = ofRecord([
  'phase',
  'name',
  'sandboxId',
  'imageId',
  'verdictId',
  'reason',
  'startFailure',
]);

const written = (
  name: string,
  kind: string,
  id: string,
  facts: Readonly<Record<string, string>>,
): Trigger[] => ['INSERT', 'UPDATE'].map((on) => ({ on, table: name, kind, id: `NEW.${id}`, facts }));
const gone = (name: string, kind: string, id: string): Trigger => ({
  on: 'DELETE',
  table: name,
  kind,
  id: `OLD.${id}`,
});

const stateTriggers: readonly Trigger[] = [
  ...written('sandbox', 'pod', 'id', sandboxFacts),
  gone('sandbox', 'pod', 'id'),
  ...written('container', 'container', 'id', containerFacts),
  gone('container', 'container', 'id'),
  ...written('image', 'image', 'id', { layers: 'NEW.layers' }),
  gone('image', 'image', 'id'),
  ...written('image_name', 'name', 'image_id', { verdict: 'NEW.verdict_id', name: 'NEW.name' }),
  ...written('image_layer', 'layer', 'folder', {}),
  gone('image_layer', 'layer', 'folder'),
  {
    on: 'INSERT',
    table: 'verdict_log',
    kind: 'verdict',
    id: "coalesce(NEW.id, '')",
    facts: { outcome: 'NEW.outcome' },
  },
];

const own = "origin = 'pod'";
const networkTriggers: readonly Trigger[] = [
  {
    on: 'INSERT',
    table: 'attachment',
    kind: 'link',
    id: 'NEW.container_id',
    facts: { state: 'NEW.state' },
    when: `NEW.${own}`,
  },
  {
    on: 'UPDATE OF state',
    table: 'attachment',
    kind: 'link',
    id: 'NEW.container_id',
    facts: { state: 'NEW.state' },
    when: `NEW.${own}`,
  },
  {
    ...{
      on: 'UPDATE OF class',
      table: 'attachment',
      kind: 'link',
      id: 'NEW.container_id',
      facts: { state: "'raised'" },
    },
    when: `NEW.${own} AND NEW.class <> 'deny'`,
  },
  { ...gone('attachment', 'link', 'container_id'), when: `OLD.${own}` },
];

const triggerText = ({ on, table: watched, kind, id, facts, when }: Trigger, index: number): string => {
  const pairs = Object.entries(facts ?? { gone: '1' }).map(([name, value]) => `'${name}', ${value}`);
  return `CREATE TRIGGER ${table}_${index} AFTER ${on} ON ${watched} ${when === undefined ? '' : `WHEN ${when}`}
    BEGIN INSERT INTO ${table} (at, kind, id, facts) VALUES (${now}, '${kind}', ${id}, json_object(${pairs.join(', ')})); END;`;
};

const databases = [
  ['state.db', stateTriggers],
  ['network.db', networkTriggers],
] as const;

/**
 * Begins the journal of a running daemon that has no pod and no image yet: the journal has no beginning for
 * objects that already exist. A journal that has begun continues.
 * @param root the daemon's root folder
 */
export function beginJournal(root: string): void {
  for (const [name, triggers] of databases)
    withDatabase(join(root, name), false, (db) => {
      if (db.prepare('SELECT 1 FROM sqlite_schema WHERE name = ?').get(table) !== undefined) return;
      const existing =
        name === 'state.db'
          ? db.prepare('SELECT (SELECT count(*) FROM sandbox) + (SELECT count(*) FROM image) AS rows').get()
          : undefined;
      if (Number(existing?.['rows'] ?? 0) > 0)
        throw new Error(`${root} has pods or images already: their journal would have no beginning`);
      db.exec(`BEGIN IMMEDIATE; ${journalText(triggers)} COMMIT;`);
    });
}

const journalText = (triggers: readonly Trigger[]): string =>
  `${journalTable} ${triggers.map(triggerText).join('\n')}`;

/** The same for an open database of the daemon's records that has no row yet. */
export const beginStateJournal = (db: DatabaseSync): void => db.exec(journalText(stateTriggers));

/** Returns the rows of a journal after the given one. */
export const journalRows = (db: DatabaseSync, after = 0): Row[] =>
  db
    .prepare(`SELECT at, kind, id, facts FROM ${table} WHERE seq > ? ORDER BY seq`)
    .all(after) as unknown as Row[];

/**
 * Reads the journal so far. The daemon may run, or not.
 * @param starts when a daemon was started after another had ended, in milliseconds since 1970: everything
 * that the earlier one wrote is older
 */
export function readJournal(root: string, source: string, starts: readonly number[] = []): Run {
  const [records = [], links = []] = databases.map(([name]) =>
    withDatabase(join(root, name), true, (db) => journalRows(db)),
  );
  return { source, machine: false, events: [...withDeaths(eventsOf(records), starts), ...eventsOf(links)] };
}

function withDeaths(events: readonly TraceEvent[], starts: readonly number[]): TraceEvent[] {
  const result: TraceEvent[] = [];
  const ahead = starts.toSorted((one, other) => one - other);
  for (const event of events) {
    for (; ahead[0] !== undefined && ahead[0] < event.at; ahead.shift())
      result.push({ at: ahead[0], kind: 'daemon', id: 'daemon', to: 'dead' });
    result.push(event);
  }
  return result;
}

function withDatabase<T>(path: string, readOnly: boolean, act: (db: DatabaseSync) => T): T {
  const db = new DatabaseSync(path, { readOnly, timeout: 10_000 });
  try {
    return act(db);
  } finally {
    db.close();
  }
}

/** A row of the journal. */
export interface Row {
  readonly at: number;
  readonly kind: string;
  readonly id: string;
  readonly facts: string;
}

/** Follows the rows of one transaction, where that is known. */
export const commit: Omit<Row, 'at'> = { kind: 'commit', id: '', facts: '{}' };

/** Returns the events that the rows of one database describe. */
export function eventsOf(rows: readonly Row[]): TraceEvent[] {
  const events: TraceEvent[] = [];
  const images = followImages(events);
  for (const { at, kind, id, facts: text } of rows) {
    const facts = JSON.parse(text) as Facts;
    const isGone = facts['gone'] === 1;
    if (isGone || !['image', 'name', 'layer', 'verdict'].includes(kind)) images.close();
    switch (kind) {
      case 'image':
        if (isGone) images.gone(at, id);
        else images.written(at, id, facts);
        break;
      case 'name':
        images.named(at, id, facts);
        break;
      case 'layer':
        if (isGone) images.layerGone(at, id);
        break;
      case 'verdict':
        if (facts['outcome'] === 'admit') events.push({ at, kind, id, to: 'admit' });
        break;
      case 'pod':
        events.push({
          at,
          kind,
          id,
          to: isGone ? 'gone' : said(facts, 'phase'),
          host: facts['network'] === 2,
        });
        break;
      case 'container':
        events.push({ at, kind, id, ...(isGone ? { to: 'gone' } : containerFactsOf(facts)) });
        break;
      case 'link':
        events.push({ at, kind, id, to: isGone ? 'gone' : said(facts, 'state') });
        break;
      case commit.kind:
        break;
      default:
        throw new Error(`a journal has no rows of the kind ${kind}`);
    }
  }
  images.close();
  return events;
}

type Facts = Readonly<Record<string, string | number | null>>;

const said = (facts: Facts, name: string): string => String(facts[name] ?? '');

/**
 * Images are rows of four tables. A transaction that records an image writes the image, its names, its layers
 * and then the verdict: the image is ready after these, which `close` reports.
 */
function followImages(events: TraceEvent[]) {
  const layersOf = new Map<string, readonly string[]>();
  const ownerOf = new Map<string, string>();
  const hasName = (image: string): boolean => [...ownerOf.values()].includes(image);
  let recorded = new Map<string, TraceEvent>();
  const close = (): void => {
    events.push(...recorded.values());
    recorded = new Map();
  };
  return {
    close,
    written(at: number, id: string, facts: Facts): void {
      if (recorded.has(id)) close();
      layersOf.set(
        id,
        (JSON.parse(said(facts, 'layers')) as { folder: string }[]).map(({ folder }) => folder),
      );
      recorded.set(id, { at, kind: 'image', id, to: 'ready' });
    },
    named(at: number, id: string, facts: Facts): void {
      const former = ownerOf.get(said(facts, 'name'));
      ownerOf.set(said(facts, 'name'), id);
      recorded.set(id, { at, kind: 'image', id, to: 'ready', verdict: said(facts, 'verdict') });
      // An image without a name does not count as an image.
      if (former !== undefined && former !== id && !hasName(former))
        recorded.set(former, { at, kind: 'image', id: former, to: 'gone' });
    },
    gone(at: number, id: string): void {
      if (hasName(id)) events.push({ at, kind: 'image', id, to: 'gone' });
      for (const [name, owner] of ownerOf) if (owner === id) ownerOf.delete(name);
    },
    layerGone(at: number, folder: string): void {
      for (const [id, layers] of layersOf) {
        if (!layers.includes(folder)) continue;
        layersOf.delete(id);
        events.push({ at, kind: 'image', id, to: 'swept' });
      }
    },
  };
}

function containerFactsOf(
  facts: Facts,
): Pick<TraceEvent, 'to' | 'pod' | 'name' | 'image' | 'verdict' | 'how'> {
  const how = howOf(said(facts, 'phase'), said(facts, 'reason'), said(facts, 'startFailure'));
  return {
    to: said(facts, 'phase'),
    pod: said(facts, 'sandboxId'),
    name: said(facts, 'name'),
    image: said(facts, 'imageId'),
    verdict: said(facts, 'verdictId'),
    ...(how !== undefined && { how }),
  };
}

/**
 * Returns the origin of the exit code in the record of an end; for the record of a creation, whether a
 * container exists.
 */
export function howOf(phase: string, reason: string, startFailure: string): string | undefined {
  if (phase === 'created') return startFailure === '' ? undefined : 'unmade';
  if (phase !== 'exited') return undefined;
  return reason === 'StartError' ? 'error' : reason === 'MonitorLost' ? 'lost' : 'own';
}
