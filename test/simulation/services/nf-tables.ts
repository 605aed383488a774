import {
  readListedRule,
  verdictIn,
  attribute,
  attributesOf,
  be32,
  elementsOf,
  nested,
  text,
  textOf,
} from '../../../base/netlink/index.ts';
import type { Verdict, Message, Received } from '../../../base/netlink/index.ts';

/**
 * nf_tables of one network namespace, with the kernel's answers to our messages: a batch is applied
 * completely or not, a missing object is ENOENT, an element that exists with another value is EEXIST, a chain
 * that is still referenced is EBUSY. Only the objects are kept; no packet passes.
 */
export interface NfTables {
  /** Commits one transaction. @returns the first refusal, with which nothing is changed */
  commit(requests: readonly Message[]): Refused | undefined;
  /** Returns the answers to a request, or its refusal. */
  ask(request: Message): readonly Received[] | Refused;
  /** Tables by family and name. */
  readonly tables: ReadonlyMap<string, Table>;
  /** Returns a number that changes with each transaction. */
  generation(): number;
}

export interface Refused {
  readonly index: number;
  readonly errno: string;
}

export interface Element {
  readonly key: Buffer;
  /** The key in hexadecimal digits. */
  readonly place: string;
  readonly value: Buffer | undefined;
  readonly verdict: Verdict | undefined;
  /** The bytes as received. */
  readonly raw: Buffer;
}

export interface Table {
  readonly handle: number;
  readonly chains: ReadonlyMap<string, Chain>;
  readonly sets: ReadonlyMap<string, ReadonlyMap<string, Element>>;
}

interface Chain {
  readonly handle: number;
  readonly rules: readonly Buffer[];
}

interface Draft {
  readonly handle: number;
  readonly chains: Map<string, Chain>;
  readonly sets: Map<string, Map<string, Element>>;
}

/** Constants of linux/netfilter/nf_tables.h. */
const messages = {
  ...{
    newTable: 0,
    getTable: 1,
    deleteTable: 2,
    newChain: 3,
    getChain: 4,
    deleteChain: 5,
    newRule: 6,
    getRule: 7,
    deleteRule: 8,
  },
  ...{ newSet: 9, deleteSet: 11, newElements: 12, getElements: 13, deleteElements: 14, getGeneration: 16 },
} as const;
const subsystem = 10;
const headerLength = 4;

class Refusal extends Error {
  readonly errno: string;
  constructor(errno: string) {
    super(errno);
    this.errno = errno;
  }
}

const none = Buffer.alloc(0);

function readElement(raw: Buffer): Element {
  const fields = attributesOf(raw);
  const key = attributesOf(fields.get(1) ?? none).get(1) ?? none;
  const data = attributesOf(fields.get(2) ?? none);
  return {
    key,
    place: key.toString('hex'),
    value: data.get(1),
    verdict: verdictIn({ name: '', attributes: fields }),
    raw,
  };
}

const target = (verdict: Verdict | undefined): string | undefined =>
  typeof verdict !== 'object' ? undefined : 'goto' in verdict ? verdict.goto : verdict.jump;

interface Uses {
  readonly chains: readonly string[];
  readonly sets: readonly string[];
}

const known = new WeakMap<Buffer, Uses>();

/** Returns the chains that a rule leads to, and the sets that it looks up. */
function usesOf(rule: Buffer): Uses {
  const found = known.get(rule);
  if (found !== undefined) return found;
  const { expressions } = readListedRule({ type: 0, flags: 0, sequence: 0, body: rule });
  const uses: Uses = {
    chains: expressions.flatMap((expression) =>
      expression.name === 'immediate' ? (target(verdictIn(expression)) ?? []) : [],
    ),
    sets: expressions.flatMap(({ name, attributes }) =>
      name === 'lookup' ? [textOf(attributes.get(1))] : [],
    ),
  };
  known.set(rule, uses);
  return uses;
}

function leadTo({ chains, sets }: Table, name: string): number {
  const rules = [...chains.values()].flatMap((chain) => chain.rules.flatMap((rule) => usesOf(rule).chains));
  const elements = [...sets.values()].flatMap((set) =>
    [...set.values()].map(({ verdict }) => target(verdict)),
  );
  return [...rules, ...elements].filter((each) => each === name).length;
}

const sameBytes = (a: Buffer | undefined, b: Buffer | undefined): boolean =>
  a === b || (a !== undefined && b !== undefined && a.equals(b));

const draftOf = ({ handle, chains, sets }: Table): Draft => ({
  ...{ handle, chains: new Map(chains) },
  sets: new Map([...sets].map(([name, set]) => [name, new Map(set)])),
});

const required = <T>(found: T | undefined): T => {
  if (found === undefined) throw new Refusal('ENOENT');
  return found;
};
const keyOf = (body: Uint8Array): string =>
  `${body[0] ?? 0} ${textOf(attributesOf(Buffer.from(body), headerLength).get(1))}`;

const answered = (request: Message, ...bodies: readonly Buffer[]): Received[] =>
  bodies.map((body) => ({
    ...{ type: (subsystem << 8) | (request.type & 0xff), flags: 0, sequence: 0 },
    body: Buffer.concat([Buffer.from(request.body.subarray(0, headerLength)), body]),
  }));

/** Answers a question about the tables of one generation. @throws Refusal */
function answersTo(
  tables: ReadonlyMap<string, Table>,
  generation: number,
  request: Message,
): readonly Received[] {
  const body = Buffer.from(request.body);
  const fields = attributesOf(body, headerLength);
  const name = (number: number): string => textOf(fields.get(number));
  const kind = request.type & 0xff;
  if (kind === messages.getGeneration) return answered(request, attribute(1, be32(generation)));
  const table = required(tables.get(keyOf(body)));
  const { chains, sets } = table;
  if (kind === messages.getTable)
    return answered(
      request,
      Buffer.concat([attribute(3, be32(chains.size + sets.size)), attribute(4, be32(table.handle))]),
    );
  if (kind === messages.getChain) {
    const chain = required(chains.get(name(3)));
    const use = chain.rules.length + leadTo(table, name(3));
    return answered(request, Buffer.concat([attribute(2, be32(chain.handle)), attribute(6, be32(use))]));
  }
  if (kind === messages.getRule)
    return [...chains.values()].flatMap(({ rules }) =>
      answered(request, ...rules.map((rule) => rule.subarray(headerLength))),
    );
  if (kind !== messages.getElements) throw new Error(`the simulated kernel does not know message ${kind}`);
  const set = required(sets.get(name(2)));
  const wanted = fields.has(3) ? elementsOf(fields.get(3)).map(readElement) : undefined;
  const found =
    wanted === undefined ? [...set.values()] : wanted.map(({ place }) => required(set.get(place)));
  const listed = nested(3, ...found.map(({ raw }) => nested(1, raw)));
  return answered(request, Buffer.concat([attribute(1, text('')), attribute(2, text(name(2))), listed]));
}

const attempt = <T>(body: () => T): T | Refusal => {
  try {
    return body();
  } catch (thrown) {
    if (thrown instanceof Refusal) return thrown;
    throw thrown;
  }
};

export function createNfTables(): NfTables {
  let tables: ReadonlyMap<string, Table> = new Map();
  let generation = 1;
  let handles = 0;

  const apply = (drafts: Map<string, Draft>, request: Message): void => {
    const body = Buffer.from(request.body);
    const fields = attributesOf(body, headerLength);
    const key = keyOf(body);
    const name = (number: number): string => textOf(fields.get(number));
    const table = (): Draft => required(drafts.get(key));
    const set = (): Map<string, Element> => required(table().sets.get(name(2)));
    const mustLead = (chain: string | undefined): void =>
      void (chain !== undefined && required(table().chains.get(chain)));
    switch (request.type & 0xff) {
      case messages.newTable:
        if (!drafts.has(key)) drafts.set(key, { handle: (handles += 1), chains: new Map(), sets: new Map() });
        return;
      case messages.deleteTable:
        table();
        drafts.delete(key);
        return;
      case messages.newChain:
        if (!table().chains.has(name(3))) table().chains.set(name(3), { handle: (handles += 1), rules: [] });
        return;
      case messages.deleteChain:
        if (required(table().chains.get(name(3))).rules.length > 0 || leadTo(table(), name(3)) > 0)
          throw new Refusal('EBUSY');
        table().chains.delete(name(3));
        return;
      case messages.newRule: {
        const chain = required(table().chains.get(name(2)));
        const uses = usesOf(body);
        for (const led of uses.chains) mustLead(led);
        for (const used of uses.sets) required(table().sets.get(used));
        table().chains.set(name(2), { ...chain, rules: [...chain.rules, body] });
        return;
      }
      case messages.deleteRule:
        table().chains.set(name(2), { ...required(table().chains.get(name(2))), rules: [] });
        return;
      case messages.newSet:
        if (!table().sets.has(name(2))) table().sets.set(name(2), new Map());
        return;
      case messages.deleteSet: {
        set();
        const isUsed = [...table().chains.values()].some(({ rules }) =>
          rules.some((rule) => usesOf(rule).sets.includes(name(2))),
        );
        if (isUsed) throw new Refusal('EBUSY');
        table().sets.delete(name(2));
        return;
      }
      case messages.newElements: {
        const own = set();
        for (const element of elementsOf(fields.get(3)).map(readElement)) {
          const existing = own.get(element.place);
          mustLead(target(element.verdict));
          if (existing === undefined) own.set(element.place, element);
          else if (
            !sameBytes(existing.value, element.value) ||
            target(existing.verdict) !== target(element.verdict)
          )
            throw new Refusal('EEXIST');
        }
        return;
      }
      case messages.deleteElements: {
        const own = set();
        for (const { place } of elementsOf(fields.get(3)).map(readElement))
          if (!own.delete(place)) throw new Refusal('ENOENT');
        return;
      }
      default:
        throw new Error(`the simulated kernel does not know message ${request.type & 0xff} of a transaction`);
    }
  };

  return {
    get tables() {
      return tables;
    },
    generation: () => generation,
    commit: (requests) => {
      const touched = new Set(requests.map(({ body }) => keyOf(body)));
      const drafts = new Map(
        [...tables].map(([key, table]) => [key, touched.has(key) ? draftOf(table) : (table as Draft)]),
      );
      for (const [index, request] of requests.entries()) {
        const refused = attempt(() => apply(drafts, request));
        if (refused instanceof Refusal) return { index, errno: refused.errno };
      }
      tables = drafts;
      generation += 1;
      return undefined;
    },
    ask: (request) => {
      const answers = attempt(() => answersTo(tables, generation, request));
      return answers instanceof Refusal ? { index: 0, errno: answers.errno } : answers;
    },
  };
}
