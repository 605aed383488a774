import { LRUCache } from 'lru-cache';
import type { Credentials, RegistryClientOptions } from '../../base/distribution/index.ts';
import { isPortcullisError, reasonOf } from '../../base/errors/index.ts';
import { createThreadPool, startWorker } from '../../base/process/index.ts';
import { monotonicMs } from './flights.ts';
import { askServices } from './ask-services.ts';
import type { ServicesInput } from './ask-services.ts';
import type { SignedReference } from '../evidence/signed-reference.ts';
import type { ServiceAnswer } from './metadata-files.ts';
import type { TufRequirement } from '../requirements/tuf.ts';
import type { Asked, TrustServicesCalls } from './trust-services-messages.ts';

/** The TUF and Notary services that policies name. */
export interface TrustServices {
  /**
   * Asks every service that a rule for the image requires. Returns undefined when no rule requires one.
   * Faults of a service are part of the evidence.
   * @throws the signal's reason; PortcullisError `DISTRIBUTION_BAD_REFERENCE`
   */
  ask(input: ServicesInput): Promise<SignedReference | undefined>;
  close(): Promise<void>;
}

export interface TrustServicesOptions {
  /** The folder of trusted metadata, so that a rollback is detected after a restart. Mode 0700. */
  readonly folder: string;
  /** Milliseconds for which one refresh serves all callers; default 2 s. */
  readonly sharedMs?: number;
  /** Milliseconds that one refresh may take; default 20 s. */
  readonly deadlineMs?: number;
  /**
   * Milliseconds that a question may run in its thread, including the time that it waits for the network.
   * After that the thread is ended. The default is two and a half times `deadlineMs`, which a question that
   * only waits never reaches: it waits once for another process that holds the repository, and once for the
   * refresh.
   */
  readonly threadDeadlineMs?: number;
  /** How registries are reached, for metadata beside the image (`oci://`) and for tokens. */
  readonly registries?: RegistryClientOptions;
}

/** An isolate uses about 15 MB, more with large metadata. It is released when it is unused for this long. */
const idleMs = 60_000;
/** The code of a question that exceeded its time, or whose thread was lost because of it. */
const overdue = 'TRUST_SERVICES_OVERDUE';
/** The size of the cache for large packed metadata on this side. */
const largeBytes = 32 * 1024 * 1024;

/** The number of services that are asked at the same time. */
const threads = 4;
/** Concurrent questions about one service: most of their time is spent on the network. */
const questionsAtOnce = 16;

/**
 * Creates the client of trust services. Its threads start with the first question. A service has its own
 * thread while it is asked, so metadata that takes long to evaluate delays no other service. The caller must
 * close it.
 */
export function createTrustServices(options: TrustServicesOptions): TrustServices {
  const { deadlineMs = 20_000, threadDeadlineMs = 2.5 * deadlineMs, ...rest } = options;
  const pool = createThreadPool<TrustServicesCalls, undefined>({
    start: () =>
      startWorker(import.meta.url, './trust-services.worker.ts', {
        workerData: { ...rest, deadlineMs },
        resourceLimits: { maxOldGenerationSizeMb: 1024 },
      }),
    ...{
      memory: () => undefined,
      most: threads,
      atOnce: questionsAtOnce,
      deadlineMs: threadDeadlineMs,
      idleMs,
    },
    blame: {
      ...{ code: overdue, kind: 'unavailable', attempted: 'ask a trust service', on: '' },
      fix: 'ask the operator of the service why its metadata takes so long to evaluate, or use another mirror',
    },
  });
  const large = new LRUCache<string, string>({
    max: 16,
    maxSize: largeBytes,
    sizeCalculation: (bytes) => bytes.length,
  });
  const whole = (answer: ServiceAnswer, held: ReadonlyMap<string, string>): ServiceAnswer => {
    const files = answer.files.map((file) => {
      if (file.packed === undefined) return file;
      const bytes = held.get(file.digest) ?? file.bytes;
      large.set(file.digest, bytes);
      return { ...file, bytes };
    });
    return { ...answer, files };
  };
  const ask = async (
    requirement: TufRequirement,
    reference: string,
    credentials?: Credentials,
  ): Promise<ServiceAnswer> => {
    const held = new Map(large.entries());
    const by = credentials === undefined ? {} : { credentials };
    const asked: Asked = { requirement, reference, ...by, known: [...held.keys()], askedAt: monotonicMs() };
    try {
      return whole(await pool.ask(requirement.service, (caller) => caller.call('ask', asked)), held);
    } catch (thrown) {
      // Nothing is known in this case, so nothing is admitted.
      const isOverdue = isPortcullisError(thrown) && thrown.code === overdue;
      const why = isPortcullisError(thrown) ? thrown.failure.why : reasonOf(thrown);
      const refused = isOverdue
        ? ({ code: 'TRUST_TUF_TOO_SLOW', why: `its metadata could not be evaluated: ${why}` } as const)
        : ({ code: 'TRUST_TUF_UNREACHABLE', why: `its stored metadata cannot be used: ${why}` } as const);
      return { files: [], checkedAt: '', refused };
    }
  };

  return {
    ask: (input) => askServices(ask, input),
    close: () => pool.close(),
  };
}
