/**
 * The gate `prose`: textlint reads all documents, and the comments, messages and test titles of all sources,
 * and reports the words of prose-words.ts. `sh packaging/node test/house/prose.ts [FILE…]`
 */
import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { extname, join, resolve } from 'node:path';
import { TextlintKernel } from '@textlint/kernel';
import type { TextlintKernelOptions, TextlintRuleModule } from '@textlint/kernel';
import markdownPlugin from '@textlint/textlint-plugin-markdown';
import { typescriptPlugin } from './prose-sources.ts';
import { replacedWords } from './prose-words.ts';

const root = join(import.meta.dirname, '../..');

export interface Finding {
  /** The file, line and column. */
  readonly place: string;
  readonly message: string;
}

/** A sentence begins where the text begins, and after the end of another. */
const before = {
  sentence: String.raw`(?<=^\s*|[.:!?]\s+)`,
  comment: String.raw`(?<=^\s*)`,
};

/** A phrase may go over two lines. */
const expressions = replacedWords.map(({ pattern, write, opens }) => ({
  words: new RegExp(
    `${opens === undefined ? '' : before[opens]}(?:${pattern.replaceAll(' ', String.raw`\s+`)})`,
    opens === undefined ? 'giu' : 'gu',
  ),
  write,
  isOfComments: opens === 'comment',
}));
/** Most texts have none of the words. */
const any = new RegExp(expressions.map(({ words }) => words.source).join('|'), 'iu');

interface Replaced {
  readonly index: number;
  readonly text: string;
  readonly write: string;
}

function wordsIn(text: string, ofComment = false): Replaced[] {
  if (!any.test(text)) return [];
  return expressions
    .filter(({ isOfComments }) => ofComment || !isOfComments)
    .flatMap(({ words, write }) =>
      [...text.matchAll(words)].map(({ 0: found, index }) => ({ index, text: found, write })),
    );
}

/** Whether a text begins with the mark of a comment. The mark is in `raw`, and not in `value`. */
const isComment = (raw: string): boolean => /^\/[/*]/.test(raw);

const messageOf = ({ text, write }: Replaced): string =>
  `"${text.trim().replaceAll(/\s+/g, ' ')}": write ${write}`;

/** Returns what to write instead of words in a text. */
export function replacedIn(text: string): string[] {
  return wordsIn(text).map(messageOf);
}

const rule: TextlintRuleModule = ({ Syntax, RuleError, report, locator }) => ({
  [Syntax.Str](node) {
    for (const found of wordsIn(node.value, isComment(node.raw))) {
      const padding = locator.range([found.index, found.index + found.text.length]);
      report(node, new RuleError(messageOf(found), { padding }));
    }
  },
});

const options: Omit<TextlintKernelOptions, 'ext'> = {
  plugins: [
    { pluginId: 'markdown', plugin: markdownPlugin.default },
    { pluginId: 'typescript', plugin: typescriptPlugin },
  ],
  rules: [{ ruleId: 'words', rule }],
};
const kernel = new TextlintKernel();

/** Returns the findings in one text. The extension of the path says how the text is read. */
export async function lintProse(path: string, text: string): Promise<Finding[]> {
  const { messages } = await kernel.lintText(text, { ...options, ext: extname(path), filePath: path });
  return messages.map(({ loc, message }) => ({
    place: `${path}:${loc.start.line}:${loc.start.column}`,
    message,
  }));
}

/**
 * Returns the documents and sources of the repository, except generated code and the list of the words
 * itself.
 */
export function proseFiles(): string[] {
  return execFileSync(
    'git',
    ['ls-files', '--cached', '--others', '--exclude-standard', '*.ts', '*.mjs', '*.md'],
    {
      cwd: root,
      encoding: 'utf8',
    },
  )
    .split('\n')
    .filter(
      (file) =>
        file !== '' &&
        !/contract\.types\.ts$|house\/prose(?:-words|\.test)\.ts$/.test(file) &&
        existsSync(join(root, file)),
    );
}

if (import.meta.main) {
  const given = process.argv.slice(2);
  let count = 0;
  for (const file of given.length > 0 ? given : proseFiles())
    for (const { place, message } of await lintProse(file, readFileSync(resolve(root, file), 'utf8'))) {
      count += 1;
      process.stdout.write(`${place}: ${message}\n`);
    }
  if (count > 0) process.exitCode = 1;
}
