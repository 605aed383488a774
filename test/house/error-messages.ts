/**
 * The form of the messages of coded errors: "attempted on: why; fix [CODE]" (base/errors). `attempted` begins
 * with a verb, `why` is one clause, and `fix` says what to do.
 */
import ts from 'typescript';
import { errorCodes } from '../../site/reference/errors.ts';
import { fileName } from '../../site/reference/program.ts';
import { replacedIn } from './prose.ts';

export type Part = 'attempted' | 'why' | 'fix';

/** A text of an error, with `…` for each value that is known only when the error occurs. */
export interface Text {
  readonly place: string;
  readonly part: Part;
  readonly text: string;
}

/** The verbs that say what was attempted, and what to do. Add a verb that a new message needs. */
const verbs: ReadonlySet<string> = new Set(
  `
  accept add adjust answer apply ask attach attest author balance begin bind bring build call carry change check choose clear
  collect combine compare compile configure confine confirm connect copy correct create decide define delete demand detach distribute
  disconnect divide drain edit encode end enforce exchange explain export extend fetch find follow format free get give grant
  have import inspect install join judge keep label lease leave let limit list listen load lock look lower make map
  measure mount move name open pass pick place plan play prepare prove publish pull push put query raise reach read rebuild
  reconcile record reduce register release remount remove rename renew reopen repair repeat replace replay report request
  require reserve resolve restart restore retry route run save say see select send serve set share shorten show
  sign split start stay stop store switch synchronize take trust try turn type unload unpack update upgrade use verify wait write
  `
    .trim()
    .split(/\s+/),
);
/** Findings of the enforcement checks, which are whole sentences (runtime/findings/finding-codes.ts). */
export const findingCodes: ReadonlySet<string> = new Set(['IMAGES_OUT_OF_POLICY', 'TRUST_ON_FIRST_USE']);
const names: ReadonlySet<string> = new Set<Part>(['attempted', 'why', 'fix']);

/** Returns what is wrong with a text; nothing if it has the form of its part. */
export function problemsOf({ part, text }: Omit<Text, 'place'>): string[] {
  const problems: string[] = [];
  const known = text.replaceAll('…', '').trim();
  if (text === '') problems.push('it is empty');
  // Nothing of the text is known here: the code that creates the value is checked.
  if (!/\p{L}/u.test(known)) return problems;
  if (/[.;:,!]$/.test(text)) problems.push('it ends with punctuation, and the message continues');
  if (part === 'attempted') {
    if (/[:;]\s/.test(text)) problems.push('it has a colon or semicolon, which separates it from the cause');
    if (!isVerb(text)) problems.push('it does not begin with a verb');
  }
  if (part === 'why') {
    if (/;\s/.test(text)) problems.push('it has a semicolon, which separates the cause from the remedy');
    if (/\.\s+\p{Lu}/u.test(text)) problems.push('it has more than one sentence');
  }
  if (part === 'fix' && !clausesOf(text).some(isVerb)) problems.push('it does not say what to do');
  return [...problems, ...replacedIn(text)];
}

function isVerb(clause: string): boolean {
  const word = /^(?:do not |also |then |first )?(\S+)/.exec(clause)?.[1] ?? '';
  return word.startsWith('…') || verbs.has(word.replace(/[:,]$/, ''));
}

/** Returns the clauses that can be a remedy: "if it is a file, remove it", "it is too long: shorten it". */
function clausesOf(text: string): string[] {
  return text.split(/[:;,?] |\bor\b | then /).map((clause) => clause.trim());
}

/** Returns all texts of coded errors in the sources, also those that go through functions and tables. */
export function errorTexts(program: ts.Program, sources: readonly ts.SourceFile[]): Text[] {
  const found: Text[] = [];
  for (const [code, { files, cases }] of errorCodes(program, sources))
    for (const one of cases) {
      // A finding of a verdict has a reason only: nothing failed.
      if (one.attempted === undefined && (one.fix === undefined || findingCodes.has(code))) continue;
      for (const part of ['attempted', 'why', 'fix'] as const) {
        const text = one[part];
        if (text !== undefined) found.push({ place: `${code} (${[...files].join(', ')})`, part, text });
      }
    }
  for (const file of sources) visit(file, file);
  return found;

  /** Adds the literals of objects that are parts of an error without its code, such as `{ why, fix }`. */
  function visit(node: ts.Node, file: ts.SourceFile): void {
    if (ts.isObjectLiteralExpression(node)) {
      const properties = node.properties.filter((one) => names.has(one.name?.getText(file) ?? ''));
      if (properties.length > 1)
        for (const property of properties)
          if (ts.isPropertyAssignment(property)) {
            const line = file.getLineAndCharacterOfPosition(property.getStart(file)).line + 1;
            const part = property.name.getText(file) as Part;
            for (const text of literalsOf(property.initializer))
              found.push({ place: `${fileName(file)}:${line}`, part, text });
          }
    }
    ts.forEachChild(node, (child) => visit(child, file));
  }
}

/** Returns the texts that an expression can be, as far as they are written there. */
function literalsOf(node: ts.Expression): string[] {
  if (ts.isStringLiteral(node) || ts.isNoSubstitutionTemplateLiteral(node)) return [node.text];
  if (ts.isTemplateExpression(node))
    return [node.head.text + node.templateSpans.map(({ literal }) => `…${literal.text}`).join('')];
  if (ts.isParenthesizedExpression(node)) return literalsOf(node.expression);
  if (ts.isConditionalExpression(node)) return [...literalsOf(node.whenTrue), ...literalsOf(node.whenFalse)];
  if (!ts.isBinaryExpression(node)) return [];
  const sides = [literalsOf(node.left), literalsOf(node.right)] as const;
  if (node.operatorToken.kind === ts.SyntaxKind.QuestionQuestionToken) return sides.flat();
  if (node.operatorToken.kind !== ts.SyntaxKind.PlusToken) return [];
  const [left, right] = sides.map((texts) => (texts.length === 0 ? ['…'] : texts)) as [string[], string[]];
  return left.flatMap((start) => right.map((end) => start + end));
}
