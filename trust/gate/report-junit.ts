import { explainReason } from '../verdict/explain-verdict.ts';
import { sentenceOf, waiverWarnings } from './words.ts';
import type { GateImage, GateResult } from './types.ts';

/**
 * Returns the decisions as JUnit XML, as Jenkins and GitLab read it: a suite for each namespace, a case for
 * each image. A denied image is a failure, an undecided or failed one is an error, and a waived one is
 * skipped.
 */
export function junitReport(result: GateResult): string {
  const suites = [...Map.groupBy(result.images, ({ namespace }) => namespace)].map(([namespace, images]) =>
    suite(namespace, images, result),
  );
  const names = `name="portcullis admit" ${totals(result.images)}`;
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

function totals(images: readonly GateImage[]): string {
  const count = (...decisions: readonly GateImage['decision'][]): number =>
    images.filter(({ decision }) => decisions.includes(decision)).length;
  return `tests="${images.length}" failures="${count('denied')}" errors="${count('undecided', 'failed')}" skipped="${count('waived')}"`;
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
