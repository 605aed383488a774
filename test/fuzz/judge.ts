import { createHash } from 'node:crypto';
import { inspect } from 'node:util';
import { getHeapStatistics } from 'node:v8';
import { isPortcullisError } from '../../base/errors/index.ts';
import type { FuzzTarget } from './targets/target.ts';

/** Why an input is a finding. */
export interface Flaw {
  readonly kind: 'crash' | 'slow' | 'unstable' | 'input-changed' | 'memory' | 'hang';
  readonly why: string;
}

/** The cost and the result of reading an input once. */
export interface Reading {
  /** A short text that is the same for the same answer or refusal. */
  readonly answer: string;
  readonly flaw: Flaw | undefined;
  /** Processor time of this thread, in milliseconds. */
  readonly cpuMs: number;
  /**
   * Bytes by which the heap and buffers grew during the reading: garbage counts, unless it was collected
   * meanwhile.
   */
  readonly grownBytes: number;
}

/**
 * Processor time for an input of up to 1 MiB, and memory as a multiple of the input, unless a target sets its
 * own limits.
 */
export const usualLimits = { slowMs: 1000, memoryFactor: 10 } as const;

/** Reads one input once. The target gets a copy of the bytes. */
export async function readOnce(target: FuzzTarget, input: Buffer): Promise<Reading> {
  const bytes = Buffer.from(input);
  const memory = getHeapStatistics();
  const before = process.threadCpuUsage();
  let answer: string;
  let flaw: Flaw | undefined;
  let value: unknown;
  let isRefused = false;
  try {
    value = await target.read(bytes);
  } catch (error) {
    isRefused = true;
    value = error;
  }
  const spent = process.threadCpuUsage(before);
  const after = getHeapStatistics();
  const cpuMs = (spent.user + spent.system) / 1000;
  if (isRefused) {
    if (!isRefusal(value)) flaw = { kind: 'crash', why: inspect(value).slice(0, 2000) };
    answer = `refused: ${value instanceof Error ? value.message : inspect(value)}`;
  } else answer = fingerprint(value);
  if (!bytes.equals(input))
    flaw ??= { kind: 'input-changed', why: 'the reader changed the bytes that it was given' };
  const grownBytes =
    after.used_heap_size + after.external_memory - memory.used_heap_size - memory.external_memory;
  return { answer, flaw, cpuMs, grownBytes };
}

/**
 * A refusal is a PortcullisError, or an Error with a sentence. Errors of the language and of Node are
 * defects.
 */
function isRefusal(error: unknown): boolean {
  if (isPortcullisError(error)) return true;
  return (
    error instanceof Error &&
    !languageErrors.has(error.name) &&
    !('code' in error && String(error.code).startsWith('ERR_'))
  );
}

const languageErrors = new Set([
  'TypeError',
  'RangeError',
  'ReferenceError',
  'SyntaxError',
  'EvalError',
  'URIError',
  'AssertionError',
  'AggregateError',
]);

function fingerprint(value: unknown): string {
  const text = inspect(value, {
    depth: 12,
    maxArrayLength: 2000,
    maxStringLength: 4000,
    sorted: true,
    breakLength: Infinity,
  });
  return createHash('sha256').update(text).digest('hex');
}
