import type { Worker } from 'node:worker_threads';
import { LRUCache } from 'lru-cache';
import type { Credentials, RegistryClientOptions } from '../../../base/distribution/index.ts';
import { reasonOf } from '../../../base/errors/index.ts';
import { startWorker } from '../../../base/process/index.ts';
import { askServices } from './ask-services.ts';
import type { ServicesInput, SignedReference } from './ask-services.ts';
import type { ServiceAnswer } from './metadata-files.ts';
import type { TufRequirement } from './requirement.ts';
import type { Answered, Asked } from './trust-services-messages.ts';

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
  /** How registries are reached, for metadata beside the image (`oci://`) and for tokens. */
  readonly registries?: RegistryClientOptions;
}

/** An isolate costs some 15 MB, more with large metadata; unused for so long it is given back. */
const idleMs = 60_000;
/** Of large metadata, packed, on this side. */
const largeBytes = 32 * 1024 * 1024;

interface Running {
  readonly worker: Worker;
  readonly waiting: Map<number, (answered: Answered) => void>;
  idle: NodeJS.Timeout | undefined;
}

/** The Worker starts with the first question. Whoever makes this closes it. */
export function createTrustServices(options: TrustServicesOptions): TrustServices {
  let running: Running | undefined;
  let asked = 0;

  const end = async (ended: Running, why: string): Promise<void> => {
    if (running === ended) running = undefined;
    clearTimeout(ended.idle);
    for (const [id, resolve] of ended.waiting) resolve({ id, error: why });
    ended.waiting.clear();
    await ended.worker.terminate();
  };
  const start = (): Running => {
    const worker = startWorker(import.meta.url, './trust-services.worker.ts', {
      workerData: options,
      resourceLimits: { maxOldGenerationSizeMb: 1024 },
    });
    const started: Running = { worker, waiting: new Map(), idle: undefined };
    worker.unref();
    worker.on('message', (answered: Answered) => started.waiting.get(answered.id)?.(answered));
    worker.on('error', (error: Error) => void end(started, reasonOf(error)));
    worker.on('exit', () => void end(started, 'its thread has ended'));
    return started;
  };
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
    const current = (running ??= start());
    clearTimeout(current.idle);
    const id = (asked += 1);
    const { promise, resolve } = Promise.withResolvers<Answered>();
    current.waiting.set(id, resolve);
    current.worker.ref();
    const held = new Map(large.entries());
    const by = credentials === undefined ? {} : { credentials };
    current.worker.postMessage({ id, requirement, reference, ...by, known: [...held.keys()] } satisfies Asked);
    const answered = await promise;
    current.waiting.delete(id);
    if (current.waiting.size === 0 && running === current) {
      current.worker.unref();
      current.idle = setTimeout(() => void end(current, 'it was not used'), idleMs).unref();
    }
    if ('answer' in answered) return whole(answered.answer, held);
    return {
      files: [],
      checkedAt: '',
      refused: { code: 'TRUST_TUF_UNREACHABLE', why: `what is known of it can not be used: ${answered.error}` },
    };
  };

  return {
    ask: (input) => askServices(ask, input),
    async close() {
      if (running !== undefined) await end(running, 'it was closed');
    },
  };
}
