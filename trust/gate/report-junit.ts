import { explainReason } from '../verdict/explain-verdict.ts';
import { isIncomplete, sentenceOf, unreadClauses, waiverWarnings } from './report-texts.ts';
import type { GateImage, GateResult } from './types.ts';

/**
 * Returns the decisions as JUnit XML, as Jenkins and GitLab read it: a suite for each namespace, a case for
 * each image. A denied image is a failure, an undecided or failed one is an error, and a waived one is
 * skipped. So are the parts of manifests that were not read: errors, or skipped if the caller lets them pass.
 */
export function junitReport(result: GateResult): string {
  const suites = [...Map.groupBy(result.images, ({ namespace }) => namespace)].map(([namespace, images]) =>
    suite(namespace, images, result),
  );
  const unread = unreadClauses(result);
  const names = `name="portcullis admit" ${totals(result.images, result)}`;
  if (unread.length > 0) suites.push(unreadSuite(unread, result));
  return `<?xml version="1.0" encoding="UTF-8"?>\n<testsuites ${names}>\n${suites.join('')}</testsuites>\n`;
}

function suite(namespace: string, images: readonly GateImage[], result: GateResult): string {
  const name = attribute(namespace === '' ? 'images without a namespace' : `namespace ${namespace}`);
  const time = result.decidedAt.replace(/\.\d+Z$/, '');
  const revision = `<property name="policyRevision" value="${attribute(result.policyRevision)}"/>`;
  const warnings = waiverWarnings(result).map(
    (warning) => `<property name="waiverWarning" value="${attribute(warning)}"/>`,
  );
  return `  <testsuite name="${name}" timestamp="${time}" time="0" ${totals(images)}>
    <properties>${revision}${warnings.join('')}</properties>
${images.map(testCase).join('')}  </testsuite>\n`;
}

function unreadSuite(clauses: readonly string[], result: GateResult): string {
  const element = isIncomplete(result) ? 'error' : 'skipped';
  const cases = clauses.map(
    (clause) =>
      `    <testcase classname="manifest" name="${attribute(clause)}" time="0">
      <${element} message="${attribute(clause)}"/>
    </testcase>\n`,
  );
  return `  <testsuite name="parts of manifests that were not read" time="0" ${totals([], result)}>
${cases.join('')}  </testsuite>\n`;
}

/** @param withUnread counts the parts that were not read, too */
function totals(images: readonly GateImage[], withUnread?: GateResult): string {
  const unread = withUnread?.unread?.parts.length ?? 0;
  const isError = withUnread !== undefined && isIncomplete(withUnread);
  const count = (...decisions: readonly GateImage['decision'][]): number =>
    images.filter(({ decision }) => decisions.includes(decision)).length;
  const errors = count('undecided', 'failed') + (isError ? unread : 0);
  const skipped = count('waived') + (isError ? 0 : unread);
  return `tests="${images.length + unread}" failures="${count('denied')}" errors="${errors}" skipped="${skipped}"`;
}

function testCase(image: GateImage): string {
  const { reference, platform, places } = image;
  const name = attribute(`${reference}${platform === undefined ? '' : ` ${platform}`}`);
  const className = attribute(reference.replace(/[@:][^/]*$/, ''));
  const [place] = places;
  const where =
    place === undefined ? '' : ` file="${attribute(place.file)}" line="${Math.max(1, place.line)}"`;
  const outcome = outcomeOf(image);
  const head = `    <testcase classname="${className}" name="${name}" time="0"${where}`;
  return outcome === '' ? `${head}/>\n` : `${head}>\n${outcome}    </testcase>\n`;
}

function outcomeOf(image: GateImage): string {
  if (image.decision === 'admitted') return '';
  if (image.decision === 'waived') return `      <skipped message="${attribute(sentenceOf(image))}"/>\n`;
  const element = image.decision === 'denied' ? 'failure' : 'error';
  const tree = image.verdict === undefined ? '' : explainReason(image.verdict.reasons);
  const message = attribute(sentenceOf(image));
  return `      <${element} message="${message}" type="${attribute(image.code)}">${content(tree)}</${element}>\n`;
}

/** Everything that XML 1.0 does not allow, in or outside of an entity (section 2.2, Char). */
const forbidden = /[^\t\n\r\u{20}-\u{d7ff}\u{e000}-\u{fffd}\u{10000}-\u{10ffff}]/gu;

function content(text: string): string {
  return text
    .replace(forbidden, '\ufffd')
    .replace(/&/g, '&amp;')
    .replace(/</g, '&lt;')
    .replace(/>/g, '&gt;')
    .replace(/\r/g, '&#13;');
}

function attribute(text: string): string {
  return content(text)
    .replace(/"/g, '&quot;')
    .replace(/'/g, '&apos;')
    .replace(/\n/g, '&#10;')
    .replace(/\t/g, '&#9;');
}
