import { readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { parseJson } from '../../../base/json/index.ts';
import { PortcullisError, fileReason, isPortcullisError, reasonOf } from '../../../base/errors/index.ts';
import { readGivenFile } from '../../../base/files/index.ts';
import { append } from '../../../base/lists/index.ts';
import { canonicalDigest } from '../../json/canonical-json.ts';
import type { Platform, Verdict } from '../../findings/types.ts';
import type { TrustPolicy } from '../../requirements/types.ts';
import { openDatabaseLog } from '../../verdict-log/database-source.ts';
import { parseEntry } from '../../verdict-log/entry.ts';
import { readExport } from '../../verdict-log/export-file.ts';
import type { LogSource } from '../../verdict-log/source.ts';
import { withParts } from '../../evidence/evidence-parts.ts';
import { decideRecording, dossierOf, readRecording } from './recording.ts';
import type { Recording } from './recording.ts';

/** The decisions that another policy would have made with the evidence that is available. */
export interface Simulation {
  /** The number of recorded images that were decided again. */
  readonly decided: number;
  readonly changes: readonly Change[];
  /** Recorded images that could not be decided again, with the reason. */
  readonly skipped: readonly { readonly name: string; readonly why: string }[];
}

/** One recorded image for which the candidate policy decides differently. */
export interface Change {
  readonly name: string;
  readonly reference: string;
  readonly namespace: string;
  readonly digest: string;
  readonly before: Verdict['outcome'];
  readonly after: Verdict['outcome'];
  /** The candidate's verdict. */
  readonly verdict: Verdict;
}

/**
 * Decides every recorded image again by a candidate policy. The paths name recordings and bare dossiers
 * (JSON), folders of them, a daemon's database (`state.db`) or an exported verdict log. Without a baseline,
 * the results are compared with the recorded outcomes. The evidence was gathered for the policy of that time:
 * evidence that only the candidate asks for is missing, which shows as a denial.
 * @throws PortcullisError `TRUST_SIMULATION_NO_INPUT`, and the errors of the readers
 */
export async function simulatePolicy(options: {
  readonly candidate: TrustPolicy;
  readonly baseline?: TrustPolicy;
  readonly paths: readonly string[];
  readonly now: Date;
}): Promise<Simulation> {
  const skipped: { name: string; why: string }[] = [];
  const recordings = (await Promise.all(options.paths.map((path) => recordingsAt(path, skipped)))).flat();
  const once = [...new Map(recordings.map((recording) => [keyOf(recording), recording])).values()];
  const changes: Change[] = [];
  let decided = 0;
  for (const recording of once) {
    const { name, dossier, namespace } = recording;
    const before =
      options.baseline === undefined
        ? recording.verdict?.outcome
        : decideRecording(recording, options.baseline, options.now).outcome;
    if (before === undefined) {
      skipped.push({ name, why: 'it contains no verdict to compare with: give --baseline' });
      continue;
    }
    decided += 1;
    const verdict = decideRecording(recording, options.candidate, options.now);
    if (verdict.outcome !== before)
      changes.push({
        name,
        reference: verdict.reference,
        namespace,
        digest: dossier.digest,
        before,
        after: verdict.outcome,
        verdict,
      });
  }
  return { decided, changes, skipped };
}

/** Returns the same key for the same question about the same evidence, so that it is decided once. */
function keyOf({ dossier, others = [], reference, namespace, platform }: Recording): string {
  const dossiers = [dossier, ...others].map(({ id }) => id);
  return canonicalDigest({ dossiers, reference, namespace, platform });
}

async function recordingsAt(
  path: string,
  skipped: { name: string; why: string }[],
): Promise<readonly Recording[]> {
  if (await isFolder(path)) {
    const names = (await readdir(path)).filter((name) => name.endsWith('.json')).sort();
    if (names.length === 0) throw unreadable(path, 'the folder contains no recording (*.json)');
    const read = await Promise.all(names.map((name) => readOrSkip(join(path, name), skipped)));
    return read.flat();
  }
  if (/\.(db|sqlite)$/.test(path)) return fromLog(openDatabaseLog(path), skipped);
  if (path.endsWith('.jsonl')) return fromLog(readExport(path, await readText(path)), skipped);
  return [await readRecording(path)];
}

async function readOrSkip(
  file: string,
  skipped: { name: string; why: string }[],
): Promise<readonly Recording[]> {
  try {
    return [await readRecording(file)];
  } catch (error) {
    skipped.push({ name: file, why: isPortcullisError(error) ? error.failure.why : reasonOf(error) });
    return [];
  }
}

/**
 * Returns the newest verdict for each question. A verdict whose dossier was dropped by retention cannot be
 * decided again.
 */
function fromLog(
  source: LogSource & { close?(): void },
  skipped: { name: string; why: string }[],
): readonly Recording[] {
  const found: Recording[] = [];
  // Many rows share these parts: each part is read once.
  const parts = new Map<string, string | undefined>();
  const partOf = (digest: string): string | undefined => {
    if (!parts.has(digest)) parts.set(digest, source.text('evidence', digest));
    return parts.get(digest);
  };
  try {
    for (const row of source.rows()) {
      const name = `${source.name}, row ${row.seq}`;
      const entry = 'problem' in row ? row : parseEntry(row.entry);
      if ('problem' in entry) skipped.push({ name, why: entry.problem });
      else if (entry.kind === 'verdict') {
        const verdict = source.text('verdict', entry.verdict);
        const dossier = source.text('dossier', entry.dossier);
        if (verdict === undefined || dossier === undefined)
          skipped.push({ name, why: 'its evidence is no longer kept' });
        else append(found, recordingFrom(name, { verdict, dossier, partOf }, skipped));
      }
    }
  } finally {
    source.close?.();
  }
  return found;
}

function recordingFrom(
  name: string,
  texts: {
    readonly verdict: string;
    readonly dossier: string;
    readonly partOf: (digest: string) => string | undefined;
  },
  skipped: { name: string; why: string }[],
): readonly Recording[] {
  try {
    const verdict = parseJson(texts.verdict) as Verdict;
    const dossier = withParts(dossierOf(parseJson(texts.dossier)), texts.partOf);
    const { reference, namespace } = verdict;
    const platform: Platform = verdict.platform;
    return [{ name, reference, namespace, platform, dossier, verdict }];
  } catch (error) {
    skipped.push({ name, why: reasonOf(error) });
    return [];
  }
}

async function isFolder(path: string): Promise<boolean> {
  try {
    return (await stat(path)).isDirectory();
  } catch (error) {
    throw unreadable(path, fileReason(error, path));
  }
}

/** More than any file of a policy or of a configuration has; an exported log may be large. */
const mostBytes = 400 * 2 ** 20;

async function readText(path: string): Promise<string> {
  try {
    return (await readGivenFile(path, mostBytes)).toString('utf8');
  } catch (error) {
    throw unreadable(path, fileReason(error, path));
  }
}

function unreadable(path: string, why: string): PortcullisError {
  return new PortcullisError({
    code: 'TRUST_SIMULATION_NO_INPUT',
    kind: 'invalid',
    attempted: 'read recorded evidence',
    on: path,
    why,
    fix: 'name a recording, a folder of them, a daemon’s state.db, or an exported log (*.jsonl)',
  });
}
