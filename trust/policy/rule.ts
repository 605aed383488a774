import { basename } from 'node:path';
import { reasonOf } from '../../base/errors/index.ts';
import type { PathSegment } from '../../base/schema/index.ts';
import { recordOf } from '../json/strict-json.ts';
import { holdsTuf, withGrace } from '../tuf-requirement/policy.ts';
import type { BreakGlass, Requirement, TrustRule } from '../requirements/types.ts';
import { report } from '../requirements/building.ts';
import type { Building } from '../requirements/building.ts';
import { parseDuration, parseInstant } from '../requirements/duration.ts';
import { parseImagePattern } from '../requirements/image-pattern.ts';
import { readRequirement } from './requirement.ts';

/** The settings of a document that apply to all of its rules. */
interface Common {
  readonly narrows: readonly string[] | undefined;
  readonly report: boolean;
  readonly breakGlass: BreakGlass | undefined;
}

/**
 * Reads the rules of one TrustPolicy document. Adds a problem to `building` for each rule that cannot be
 * read.
 */
export async function readRules(building: Building): Promise<TrustRule[]> {
  const document = recordOf(building.document.value) ?? {};
  const list = document['rules'];
  const common: Common = {
    narrows: Object.hasOwn(document, 'namespaces') ? textsOf(document['namespaces']) : undefined,
    report: document['mode'] === 'report',
    breakGlass: readBreakGlass(document['breakGlass'], ['breakGlass'], building),
  };
  const rules: TrustRule[] = [];
  for (const [index, value] of (Array.isArray(list) ? list : []).entries())
    rules.push(await readRule(recordOf(value) ?? {}, ['rules', index], common, building));
  return rules;
}

async function readRule(
  record: Readonly<Record<string, unknown>>,
  path: readonly PathSegment[],
  common: Common,
  building: Building,
): Promise<TrustRule> {
  const images = textsOf(record['images']);
  checkPatterns(images, [...path, 'images'], building);
  const except = textsOf(record['except']);
  checkPatterns(except, [...path, 'except'], building);
  const own = readBreakGlass(record['breakGlass'], [...path, 'breakGlass'], building);
  const allows = Object.hasOwn(record, 'allow');
  checkChoice(record, path, common, building);
  const read = Object.hasOwn(record, 'require')
    ? await readRequirement(record['require'], [...path, 'require'], building)
    : undefined;
  const require =
    read === undefined ? undefined : withStale(read, record['onStale'], [...path, 'onStale'], building);
  const position = building.document.positionOf(path);
  const name = `${basename(position.file)}:${position.line}`;
  const entitlements = recordOf(record['entitlements']) ?? {};
  const ceiling = typeof entitlements['ceiling'] === 'string' ? entitlements['ceiling'] : 'baseline';
  const mode = Object.hasOwn(record, 'mode') ? record['mode'] === 'report' : common.report;
  const breakGlass = own ?? common.breakGlass;
  return {
    name,
    images,
    ...(except.length === 0 ? {} : { except }),
    ...(typeof record['deny'] === 'string' ? { deny: record['deny'] } : {}),
    ...(Object.hasOwn(record, 'namespaces') ? { namespaces: textsOf(record['namespaces']) } : {}),
    ...(require === undefined ? {} : { require }),
    allowUnverified: record['allow'] === 'unverified',
    ceiling: {
      rule: name,
      ceiling,
      ...(entitlements['require'] === 'signed' ? { require: 'signed' } : {}),
      ...(entitlements['onDegraded'] === 'allow' ? { onDegraded: 'allow' } : {}),
    },
    ...(mode && !allows ? { mode: 'report' } : {}),
    ...(breakGlass === undefined || allows ? {} : { breakGlass }),
    ...(common.narrows === undefined ? {} : { narrows: common.narrows }),
  };
}

function checkPatterns(images: readonly string[], path: readonly PathSegment[], building: Building): void {
  for (const [position, pattern] of images.entries()) {
    try {
      parseImagePattern(pattern);
    } catch (error) {
      report(
        building,
        [...path, position],
        `"${pattern}" is not an image pattern: ${reasonOf(error)}`,
        'write it like registry.example.com/team/**',
      );
    }
  }
}

/** Checks `require` or `allow`, and the keys that are valid beside `allow`. */
function checkChoice(
  record: Readonly<Record<string, unknown>>,
  path: readonly PathSegment[],
  common: Common,
  building: Building,
): void {
  const requires = Object.hasOwn(record, 'require');
  const allows = Object.hasOwn(record, 'allow');
  const denies = Object.hasOwn(record, 'deny');
  if (requires && allows)
    report(
      building,
      [...path, 'allow'],
      'a rule either requires or allows, not both',
      'write two rules',
      'key',
    );
  if (denies && (requires || allows))
    report(
      building,
      [...path, 'deny'],
      'a rule that denies neither requires nor allows',
      'write two rules',
      'key',
    );
  if (!requires && !allows && !denies)
    report(
      building,
      path,
      'the rule says neither `require` nor `allow`',
      'say what must be proven: require: { cosign: { key: FILE } }',
    );
  if (!allows) return;
  if (common.narrows !== undefined) {
    const fix = 'require something, or write the rule in a document without `namespaces`';
    report(
      building,
      [...path, 'allow'],
      'a document for namespaces only narrows: it cannot allow',
      fix,
      'key',
    );
  }
  for (const field of ['mode', 'breakGlass']) {
    if (Object.hasOwn(record, field))
      report(
        building,
        [...path, field],
        `\`${field}\` cannot be combined with \`allow\`, which refuses nothing`,
        'remove it',
        'key',
      );
  }
}

function withStale(
  requirement: Requirement,
  value: unknown,
  path: readonly PathSegment[],
  building: Building,
): Requirement {
  if (value === undefined) return requirement;
  if (!holdsTuf(requirement))
    report(
      building,
      path,
      '`onStale` is about the service of `tuf`, which the rule does not require',
      'remove it',
      'key',
    );
  const time = recordOf(recordOf(value)?.['previouslyAdmitted'])?.['for'];
  const grace = typeof time === 'string' ? parseDuration(time) : undefined;
  return grace === undefined ? requirement : withGrace(requirement, grace);
}

function readBreakGlass(
  value: unknown,
  path: readonly PathSegment[],
  building: Building,
): BreakGlass | undefined {
  const record = recordOf(value);
  const { until, reason, by } = record ?? {};
  if (typeof until !== 'string' || typeof reason !== 'string' || typeof by !== 'string') return undefined;
  const end = parseInstant(until);
  if (end === undefined) {
    report(
      building,
      [...path, 'until'],
      `"${until}" is not a valid date`,
      'write when it ends, such as 2026-01-31T18:00:00Z',
    );
    return undefined;
  }
  return { until: end, reason, by };
}

function textsOf(value: unknown): readonly string[] {
  return Array.isArray(value) ? value.filter((entry): entry is string => typeof entry === 'string') : [];
}
