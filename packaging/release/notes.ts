/** A commit of the release. */
export interface Commit {
  /** Abbreviated hash. */
  readonly hash: string;
  /** One line, in the imperative (CONTRIBUTING.md). */
  readonly subject: string;
}

/** Groups by the first word of the subject. A commit belongs to the first group that has its word. */
const groups: readonly { readonly title: string; readonly words: RegExp }[] = [
  {
    title: 'Security',
    words: /^(?:Refuse|Deny|Bound|Limit|Drop|Never|Reject|Verify|Protect)$/u,
  },
  { title: 'Fixed', words: /^(?:Fix|Correct|Mend|Repair|Keep|Let|Wait|Do|Stop|Continue|Treat|Start|End)$/u },
  {
    title: 'Added',
    words: /^(?:Add|Support|Build|Serve|Show|Report|Complete|Explain|Take|Write|Allow|Accept)$/u,
  },
];
const rest = 'Changed';

/** Subjects that say nothing to a user of a release. */
const internal =
  /^(?:Merge\b|Regenerate\b|Reword\b|Comment\b|Wrap\b|Describe\b|Test\b|Divide\b|Move\b|Rename\b|Lint\b|Format\b)/u;

/**
 * Returns release notes in Markdown, in the form of GitHub's: changes by group, and the range of commits.
 * Commits that change nothing for a user are counted only.
 * @param range version, the tag before it (undefined: there is none), and its tag
 */
export function releaseNotes(
  { version, from, to }: { readonly version: string; readonly from: string | undefined; readonly to: string },
  commits: readonly Commit[],
): string {
  const listed = commits.filter(({ subject }) => !internal.test(subject));
  const groupOf = ({ subject }: Commit): string =>
    groups.find(({ words }) => words.test(subject.split(' ')[0] ?? ''))?.title ?? rest;
  const sections = [...groups.map(({ title }) => title), rest].flatMap((title) => {
    const entries = listed.filter((commit) => groupOf(commit) === title);
    const lines = entries.map(({ hash, subject }) => `- ${escaped(subject)} (${hash})`);
    return entries.length === 0 ? [] : [`## ${title}\n\n${lines.join('\n')}`];
  });
  const others = commits.length - listed.length;
  const more =
    others === 0 ? [] : [`${others} further commits change tests, documents or the structure of the code.`];
  const range = from === undefined ? 'This is the first release.' : `**Full changelog**: \`${from}...${to}\``;
  return `${[`# Portcullis ${version}`, ...sections, ...more, range].join('\n\n')}\n`;
}

/** Subjects are text: characters that Markdown or HTML would interpret are escaped. */
function escaped(subject: string): string {
  return subject.replaceAll(/[\\`*_[\]<>#|]/gu, String.raw`\$&`);
}
