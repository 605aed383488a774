import { LRUCache } from 'lru-cache';
import type { Credentials, RegistryClientOptions } from '../../../base/distribution/index.ts';
import { isPortcullisError, reasonOf } from '../../../base/errors/index.ts';
import { createThreadPool, startWorker } from '../../../base/process/index.ts';
import { monotonicMs } from './repositories.ts';
import { askServices } from './ask-services.ts';
import type { ServicesInput, SignedReference } from './ask-services.ts';
import type { ServiceAnswer } from './metadata-files.ts';
import type { TufRequirement } from './requirement.ts';
import type { Asked, TrustServicesCalls } from './trust-services-messages.ts';

/** The TUF and Notary services that policies name. */
export interface TrustServices {
  /**
   * Asks every service that a rule for the image requires. Undefined when none does. What a service does wrong is in the evidence.
   * @throws the signal's reason; PortcullisError `DISTRIBUTION_BAD_REFERENCE`
   */
  ask(input: ServicesInput): Promise<SignedReference | undefined>;
  close(): Promise<void>;
}

export interface TrustServicesOptions {
  /** Where what was believed is kept, so that a rollback is noticed after a restart: 0700. */
  readonly folder: string;
  /** Milliseconds for which one refresh serves all who ask; 2 s unless told. */
  readonly sharedMs?: number;
  /** Milliseconds that one refresh may take; 20 s unless told. */
  readonly deadlineMs?: number;
  /**
   * Milliseconds that a question may run in its thread, waiting for the network included: then the thread is ended. Two and a half times
   * `deadlineMs` unless told, which a question that only waits never reaches: once for another process that holds the repository, once for the refresh.
   */
  readonly threadDeadlineMs?: number;
  /** How registries are reached, for metadata beside the image (`oci://`) and for tokens. */
  readonly registries?: RegistryClientOptions;
}

/** An isolate costs some 15 MB, more with large metadata; unused for so long it is given back. */
const idleMs = 60_000;
/** A question that ran over, or whose thread was lost by it. */
const overdue = 'TRUST_SERVICES_OVERDUE';
/** Of large metadata, packed, on this side. */
const largeBytes = 32 * 1024 * 1024;

/** Services that are asked at one time. */
const threads = 4;
/** Questions about one service under way at one time: most of that time is the network's. */
const questionsAtOnce = 16;

/**
 * The threads start with the first question. A service has a thread to itself while it is asked: metadata that take long to judge
 * hold up no other service. Whoever makes this closes it.
 */
export function createTrustServices(options: TrustServicesOptions): TrustServices {
  const { deadlineMs = 20_000, threadDeadlineMs = 2.5 * deadlineMs, ...rest } = options;
  const pool = createThreadPool<TrustServicesCalls, undefined>({
    start: () =>
      startWorker(import.meta.url, './trust-services.worker.ts', {
        workerData: { ...rest, deadlineMs },
        resourceLimits: { maxOldGenerationSizeMb: 1024 },
      }),
    ...{ memory: () => undefined, most: threads, atOnce: questionsAtOnce, deadlineMs: threadDeadlineMs, idleMs },
    blame: {
      ...{ code: overdue, kind: 'unavailable', attempted: 'ask a trust service', on: '' },
      fix: 'ask the service why its metadata take so long to judge, or ask another mirror',
    },
  });
  const large = new LRUCache<string, string>({ max: 16, maxSize: largeBytes, sizeCalculation: (bytes) => bytes.length });
  const whole = (answer: ServiceAnswer, held: ReadonlyMap<string, string>): ServiceAnswer => {
    const files = answer.files.map((file) => {
      if (file.packed === undefined) return file;
      const bytes = held.get(file.digest) ?? file.bytes;
      large.set(file.digest, bytes);
      return { ...file, bytes };
    });
    return { ...answer, files };
  };
  const ask = async (requirement: TufRequirement, reference: string, credentials?: Credentials): Promise<ServiceAnswer> => {
    const held = new Map(large.entries());
    const by = credentials === undefined ? {} : { credentials };
    const asked: Asked = { requirement, reference, ...by, known: [...held.keys()], askedAt: monotonicMs() };
    try {
      return whole(await pool.ask(requirement.service, (caller) => caller.call('ask', asked)), held);
    } catch (thrown) {
      // Nothing is known then, which admits nothing.
      const isOverdue = isPortcullisError(thrown) && thrown.code === overdue;
      const why = isPortcullisError(thrown) ? thrown.failure.why : reasonOf(thrown);
      const refused = isOverdue
        ? ({ code: 'TRUST_TUF_TOO_SLOW', why: `its metadata could not be judged: ${why}` } as const)
        : ({ code: 'TRUST_TUF_UNREACHABLE', why: `what is known of it can not be used: ${why}` } as const);
      return { files: [], checkedAt: '', refused };
    }
  };

  return {
    ask: (input) => askServices(ask, input),
    close: () => pool.close(),
  };
}
