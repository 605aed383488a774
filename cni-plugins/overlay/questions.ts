import { PortcullisError } from '../../base/errors/index.ts';
import { linesOf, readServices } from '../services/description/read.ts';
import { writeYaml } from '../../base/schema/index.ts';
import { parseDocuments } from '../../base/schema/index.ts';
import type { EtcdClient } from './etcd/client.ts';
import type { OverlayQuestion, OverlayStatus } from './protocol.ts';
import { readClaim } from './records.ts';
import type { Keys } from './records.ts';

interface Asked {
  readonly status: () => OverlayStatus;
  readonly rotateKey: () => Promise<object>;
  readonly leave: () => Promise<object>;
  readonly client: EtcdClient;
  readonly keys: Keys;
  readonly host: string;
}

/** etcd takes 128 operations in one transaction unless it is told otherwise. */
const mostSteps = 100;

/**
 * Answers a command with plain JSON.
 * @throws OVERLAY_SERVICES_INVALID · OVERLAY_NOT_ENCRYPTED · OVERLAY_PODS_LEFT · OVERLAY_HOST_ALIVE · OVERLAY_HOST_UNKNOWN · OVERLAY_ETCD_UNREACHABLE
 */
export async function answerQuestion(question: OverlayQuestion, { status, rotateKey, leave, client, keys, host }: Asked): Promise<object> {
  switch (question.do) {
    case 'status':
      return status();
    case 'rotate-key':
      return rotateKey();
    case 'leave':
      return leave();
    case 'spread': {
      const texts = readTexts(question.file, question.text);
      await inSteps([...texts], (some) =>
        client.transact(
          [],
          some.map(([name, text]) => ({ put: { key: keys.service(name), value: Buffer.from(text) } })),
        ),
      );
      return { spread: [...texts.keys()] };
    }
    case 'take-back': {
      await inSteps(question.names, (some) =>
        client.transact(
          [],
          some.map((name) => ({ deleteRange: { key: keys.service(name) } })),
        ),
      );
      return { takenBack: question.names };
    }
    case 'release': {
      if (question.host === host || (await client.get(keys.host(question.host))) !== undefined) throw alive(question.host);
      const listing = await client.list(`${keys.all}subnets/`);
      const claims = listing.pairs.filter(({ value }) => readClaim(value)?.host === question.host);
      if (claims.length === 0) throw unknownHost(question.host);
      const unless = { result: 0, target: 1, key: keys.host(question.host), createRevision: 0 } as const;
      const compare = claims.map(({ key, modRevision }) => ({ result: 0, target: 2, key, modRevision }) as const);
      const isDone = await client.transact(
        [unless, ...compare],
        claims.map(({ key }) => ({ deleteRange: { key } })),
      );
      if (!isDone) throw alive(question.host);
      return {
        released: claims.flatMap(({ key }) => {
          const read = keys.read(key);
          return read.kind === 'subnet' ? [read.subnet] : [];
        }),
      };
    }
  }
}

async function inSteps<Item>(items: readonly Item[], act: (some: readonly Item[]) => Promise<unknown>): Promise<void> {
  for (let at = 0; at < items.length; at += mostSteps) await act(items.slice(at, at + mostSteps));
}

/** One description each, by the service's name. */
function readTexts(file: string, text: string): Map<string, string> {
  const { documents } = parseDocuments(text, file);
  const { described, problems } = readServices([{ file, text }]);
  if (problems.length > 0 || described.length === 0) throw invalidServices(file, linesOf(problems));
  // Every host refuses it as well: whoever writes to etcd is not root of them.
  const programs = described.filter(({ service }) => service.healthCheck?.kind === 'exec').map(({ service }) => service.name);
  if (programs.length > 0)
    throw invalidServices(file, [`${programs.join(', ')}: no host runs a program for another; check by tcp or http`]);
  return new Map(
    documents.flatMap((document) => {
      const written = writeYaml(document.value);
      const name = readServices([{ file, text: written }]).described[0]?.service.name;
      return name === undefined ? [] : [[name, written] as const];
    }),
  );
}

function invalidServices(file: string, lines: readonly string[]): PortcullisError {
  return new PortcullisError({
    code: 'OVERLAY_SERVICES_INVALID',
    kind: 'invalid',
    attempted: 'spread services over the overlay',
    on: file,
    why: lines.length === 0 ? 'it describes none' : lines.join('\n'),
    fix: 'correct it; nothing was spread',
  });
}

function alive(host: string): PortcullisError {
  return new PortcullisError({
    code: 'OVERLAY_HOST_ALIVE',
    kind: 'precondition',
    attempted: 'give back the subnets of the host',
    on: host,
    why: 'it is in the overlay',
    fix: 'stop its daemon, remove its pods, and wait until its lease has ended',
  });
}

function unknownHost(host: string): PortcullisError {
  return new PortcullisError({
    code: 'OVERLAY_HOST_UNKNOWN',
    kind: 'not-found',
    attempted: 'give back the subnets of the host',
    on: host,
    why: 'it has none',
    fix: 'see `portcullis network overlay status` for the names of hosts',
  });
}
