import { writeFile } from 'node:fs/promises';
import { PortcullisError, fileReason } from '../../../base/errors/index.ts';
import { readGivenFile } from '../../../base/files/index.ts';
import { dossierId } from '../../evidence/dossier.ts';
import { parseStrictJson, recordOf } from '../../json/strict-json.ts';
import type { Dossier, Platform, Verdict } from '../../findings/types.ts';
import type { TrustPolicy } from '../../requirements/types.ts';
import { decide } from '../../verdict/decide.ts';
import { strictestOf } from '../../verdict/strictest.ts';

/** The question and the evidence about one image at one time: enough to decide again, offline. */
export interface Recording {
  /** Where the recording is, for display. */
  readonly name: string;
  readonly reference: string;
  readonly namespace: string;
  readonly platform: Platform;
  /** The evidence of the manifest that the verdict is about. */
  readonly dossier: Dossier;
  /** The evidence of the other manifests of an index that runtimes select for the platform. */
  readonly others?: readonly Dossier[];
  /** The recorded verdict; absent in a bare dossier. */
  readonly verdict?: Verdict;
}

/** Returns the verdict on the image: the strictest of the verdicts on its manifests. */
export function decideRecording(
  { dossier, others = [], reference, namespace, platform }: Omit<Recording, 'name'>,
  policy: TrustPolicy,
  now: Date,
): Verdict {
  const question = { reference, namespace, platform, policy, now };
  const judged = [dossier, ...others].map((one) => ({
    verdict: decide({ ...question, dossier: one }),
    dossier: one,
  }));
  return strictestOf(judged).verdict;
}

const format = 'portcullis.dev/recording/v1';
/** In bytes: more than gathering reads at most, encoded in base64. */
const maximumBytes = 192 * 1024 * 1024;

/**
 * Writes a new recording file, as `verify --save-dossier` does.
 * @throws PortcullisError `TRUST_RECORDING_NOT_WRITTEN`
 */
export async function saveRecording(
  file: string,
  verdict: Verdict,
  dossier: Dossier,
  others: readonly Dossier[] = [],
): Promise<void> {
  const { reference, namespace, platform } = verdict;
  const more = others.length === 0 ? {} : { others };
  try {
    await writeFile(
      file,
      `${JSON.stringify({ format, reference, namespace, platform, verdict, dossier, ...more }, null, 2)}\n`,
      { flag: 'wx' },
    );
  } catch (error) {
    throw new PortcullisError({
      code: 'TRUST_RECORDING_NOT_WRITTEN',
      kind: 'invalid',
      attempted: 'keep evidence',
      on: file,
      why: fileReason(error, file),
      fix: 'name a new file in a writable folder',
    });
  }
}

/**
 * Reads a recording or a bare dossier. A bare dossier is decided for linux/amd64 and no namespace.
 * @throws PortcullisError `TRUST_RECORDING_UNREADABLE`
 */
export async function readRecording(file: string): Promise<Recording> {
  try {
    return recordingOf(file, parseStrictJson(await readGivenFile(file, maximumBytes)));
  } catch (error) {
    throw new PortcullisError({
      code: 'TRUST_RECORDING_UNREADABLE',
      kind: 'invalid',
      attempted: 'read recorded evidence',
      on: file,
      why: fileReason(error, file),
      fix: 'record it again: portcullis verify IMAGE --policy FILE --save-dossier FILE',
    });
  }
}

function recordingOf(name: string, value: unknown): Recording {
  const record = recordOf(value);
  const whole = record?.['format'] === format;
  const dossier = dossierOf(whole ? record['dossier'] : value);
  if (!whole)
    return {
      name,
      reference: dossier.reference,
      namespace: '',
      platform: { os: 'linux', architecture: 'amd64' },
      dossier,
    };
  const { reference, namespace } = record;
  const platform = recordOf(record['platform']);
  if (typeof reference !== 'string' || typeof namespace !== 'string' || typeof platform?.['os'] !== 'string')
    throw new Error('it does not say which reference, namespace and platform it is about');
  const verdict = recordOf(record['verdict']);
  const others = record['others'] ?? [];
  if (!Array.isArray(others)) throw new Error('its other dossiers are not a list');
  return {
    name,
    reference,
    namespace,
    platform: platform as unknown as Platform,
    dossier,
    others: others.map(dossierOf),
    ...(verdict === undefined ? {} : { verdict: verdict as unknown as Verdict }),
  };
}

/**
 * Returns `value` as a dossier.
 * @throws Error when it is not a dossier, or was altered
 */
export function dossierOf(value: unknown): Dossier {
  const record = recordOf(value);
  const texts = ['reference', 'digest', 'manifestDigest', 'id', 'gatheredAt'];
  const lists = ['items', 'unreachable'];
  if (
    record?.['version'] !== 1 ||
    !texts.every((field) => typeof record[field] === 'string') ||
    !lists.every((field) => Array.isArray(record[field]))
  )
    throw new Error('it is not a dossier');
  const dossier = record as unknown as Dossier;
  if (dossierId(dossier) !== dossier.id)
    throw new Error('it was altered: its digest differs from the digest that it states');
  return dossier;
}
