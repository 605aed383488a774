import { createHash } from 'node:crypto';
import { basename, isAbsolute, relative, resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import { reasonCodes } from '../policy/reason-codes.ts';
import { explainReason } from '../verdict/explain-verdict.ts';
import { isIncomplete, meaningOf, sentenceOf, unreadClauses, waiverWarnings } from './report-texts.ts';
import type { GateImage, GateResult } from './types.ts';

/** Data of a report besides the decisions. */
export interface ReportContext {
  /** The version of this program. */
  readonly version: string;
  /** The policy files, to find the line of a rule. */
  readonly policyFiles: readonly string[];
  /** The folder that paths in reports are relative to. */
  readonly folder: string;
}

const schema = 'https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json';
/** The longest tree of reasons in one result. */
const maximumText = 16 * 1024;

/**
 * Returns the decisions as SARIF 2.1.0: one run, a rule for each code that occurs, and a result for each
 * image that is not admitted. The place is the line that names the image, else the rule of the policy.
 */
export function sarifReport(result: GateResult, context: ReportContext): string {
  const refused = result.images.filter(({ decision }) => decision !== 'admitted');
  const codes = [...new Set(refused.map(({ code }) => code))].sort();
  const run = {
    tool: {
      driver: {
        name: 'Portcullis',
        version: context.version,
        semanticVersion: context.version,
        rules: codes.map((code) => ({
          id: code,
          name: nameOf(code),
          shortDescription: { text: meaningOf(code) },
          fullDescription: { text: meaningOf(code) },
          help: { text: helpOf(code) },
          defaultConfiguration: { level: 'error' },
        })),
      },
    },
    invocations: [
      {
        executionSuccessful: result.counts.failed === 0 && !isIncomplete(result),
        endTimeUtc: result.decidedAt,
        toolExecutionNotifications: [
          ...waiverWarnings(result).map((warning) => ({
            level: 'warning',
            message: { text: plain(warning) },
          })),
          ...unreadClauses(result).map((clause) => ({
            level: isIncomplete(result) ? 'error' : 'warning',
            message: { text: plain(`not read: ${clause}`) },
          })),
        ],
      },
    ],
    columnKind: 'utf16CodeUnits',
    properties: { policyRevision: result.policyRevision },
    results: refused.map((image) => resultOf(image, codes, context)),
  };
  return `${JSON.stringify({ $schema: schema, version: '2.1.0', runs: [run] }, null, 2)}\n`;
}

const levels = {
  denied: 'error',
  undecided: 'warning',
  failed: 'warning',
  waived: 'note',
  admitted: 'none',
} as const;

function resultOf(image: GateImage, codes: readonly string[], context: ReportContext): object {
  const tree = image.verdict === undefined ? '' : explainReason(image.verdict.reasons);
  const text = `${sentenceOf(image)}${tree === '' ? '' : `\n${tree}`}`;
  return {
    ruleId: image.code,
    ruleIndex: codes.indexOf(image.code),
    level: levels[image.decision],
    message: { text: plain(text.slice(0, maximumText)) },
    locations: locationsOf(image, context),
    ...(image.waivers === undefined
      ? {}
      : {
          suppressions: image.waivers.map((waiver) => ({
            kind: 'external',
            status: 'accepted',
            justification: plain(`${waiver.id}: ${waiver.reason} (${waiver.owner}, until ${waiver.expires})`),
          })),
        }),
    partialFingerprints: { 'portcullisDecision/v1': fingerprint(image) },
    properties: {
      decision: image.decision,
      reference: image.reference,
      namespace: image.namespace,
      ...(image.platform === undefined ? {} : { platform: image.platform }),
      ...(image.digest === undefined ? {} : { digest: image.digest }),
    },
  };
}

/** The same finding in two runs has the same fingerprint, also when lines move or the tag moves on. */
function fingerprint({ code, reference, namespace, platform = '' }: GateImage): string {
  return createHash('sha256')
    .update(JSON.stringify([code, reference, namespace, platform]))
    .digest('hex');
}

/** Most viewers show one place. More are listed, up to this number. */
const maximumPlaces = 20;

function locationsOf(image: GateImage, context: ReportContext): readonly object[] {
  const named = image.places.filter(({ file }) => file !== standardInput).slice(0, maximumPlaces);
  if (named.length > 0)
    return named.map(({ file, line, column, object }) => ({
      physicalLocation: {
        artifactLocation: artifact(file, context),
        region: { startLine: line, startColumn: column },
      },
      ...(object === undefined ? {} : { logicalLocations: [{ fullyQualifiedName: object }] }),
    }));
  const [, base = '', line = '1'] = /^(.*):(\d+)$/.exec(image.rule ?? '') ?? [];
  const file = context.policyFiles.find((each) => basename(each) === base) ?? context.policyFiles[0];
  return file === undefined
    ? []
    : [
        {
          physicalLocation: {
            artifactLocation: artifact(file, context),
            region: { startLine: Math.max(1, Number(line)) },
          },
        },
      ];
}

/** The name under which images of standard input are reported. */
export const standardInput = '(standard input)';

function artifact(file: string, { folder }: ReportContext): object {
  const path = relative(folder, resolve(folder, file));
  if (path.startsWith('..') || isAbsolute(path)) return { uri: pathToFileURL(resolve(folder, file)).href };
  return { uri: path.split('/').map(encodeURIComponent).join('/'), uriBaseId: '%SRCROOT%' };
}

/** `TRUST_CEL_FALSE` → `CelFalse`: SARIF asks for a name that people can read. */
function nameOf(code: string): string {
  return code
    .replace(/^TRUST_/, '')
    .toLowerCase()
    .replace(/(^|_)([a-z0-9])/g, (_, _gap: string, letter: string) => letter.toUpperCase());
}

function helpOf(code: string): string {
  const more = Object.hasOwn(reasonCodes, code)
    ? 'docs/policy.md lists the codes of reasons.'
    : 'The reference of error codes has the cause and the remedy.';
  return `${code}: ${meaningOf(code)} ${more}`;
}

/**
 * Escapes what SARIF reads in a message (section 3.11: placeholders in braces, links in brackets): images and
 * registries choose a part of the text.
 */
function plain(text: string): string {
  return text
    .replace(/[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}]/gu, (character) => (character === '\n' ? '\n' : '\ufffd'))
    .replace(/[\\[\]]/g, '\\$&')
    .replace(/\{/g, '{{')
    .replace(/\}/g, '}}');
}
