/** A textlint plugin for TypeScript: comments, and the texts of string literals, are paragraphs. */
import type { TxtDocumentNode, TxtParagraphNode, TxtStrNode } from '@textlint/ast-node-types';
import type { TextlintPluginCreator } from '@textlint/kernel';
import ts from 'typescript';

type Span = readonly [start: number, end: number];

/** A string literal with fewer words is a name, a key or a value of a protocol, and not a sentence. */
const prose = /\p{L}[\p{L}\p{M}’'-]*\s+\p{L}/u;
const sql = /^\s*(?:ALTER|CREATE|DELETE|DROP|FROM|INSERT|JOIN|SELECT|UPDATE|WHERE|WITH)\b/;

/** Replaces each character except white space. Places in the masked text are places in the source. */
const masked = (text: string): string => text.replaceAll(/\S/g, '\uFFFC');
const blank = (text: string): string => ' '.repeat(text.length);

/** Returns the text of a comment without its marks and its code spans, in the length of the source. */
function commentText(raw: string): string {
  return raw
    .replaceAll(/\/\/+|\/\*+|\*+\/|(?<=\n)[ \t]*\*+/g, blank)
    .replaceAll(/`[^`]*`|\{@link [^}]*\}/g, masked);
}

/**
 * Returns the text of a literal without escapes, code spans and substitutions, in the length of the source.
 */
function literalText(raw: string, substitutions: readonly Span[]): string {
  let text = raw;
  for (const [start, end] of substitutions)
    text = `${text.slice(0, start)}${masked(text.slice(start, end))}${text.slice(end)}`;
  return text.replaceAll(/\\(?:u\{[^}]*\}|u....|x..|[^])/g, blank).replaceAll(/`[^`]*`/g, masked);
}

/**
 * Returns the literals of a file with their texts. `opaque` gets the ends of tokens that the scanner cannot
 * determine.
 */
function literalsOf(file: ts.SourceFile, opaque: Map<number, number>): (readonly [Span, string])[] {
  const found: (readonly [Span, string])[] = [];
  const add = (start: number, end: number, substitutions: readonly Span[] = []): void => {
    const raw = file.text.slice(start + 1, end - 1);
    const text = literalText(
      raw,
      substitutions.map(([from, to]) => [from - start - 1, to - start - 1]),
    );
    if (prose.test(text) && !sql.test(text)) found.push([[start + 1, end - 1], text]);
  };
  const visit = (node: ts.Node): void => {
    if (ts.isStringLiteral(node) || ts.isNoSubstitutionTemplateLiteral(node))
      add(node.getStart(file), node.end);
    if (ts.isTemplateExpression(node)) {
      const pieces = [node.head, ...node.templateSpans.map(({ literal }) => literal)];
      const ends = pieces.map((piece): Span => [piece.getStart(file), piece.end]);
      // From `${` of one piece to `}` of the next.
      const between = ends.slice(1).map(([start], index): Span => [(ends[index]?.[1] ?? 0) - 2, start + 1]);
      add(node.getStart(file), node.end, between);
    }
    const isOpaque =
      ts.isTemplateHead(node) ||
      ts.isTemplateMiddleOrTemplateTail(node) ||
      ts.isNoSubstitutionTemplateLiteral(node) ||
      node.kind === ts.SyntaxKind.RegularExpressionLiteral;
    if (isOpaque) opaque.set(node.getStart(file), node.end);
    ts.forEachChild(node, visit);
  };
  visit(file);
  return found;
}

/** Returns the comments of a file. `//` comments on consecutive lines are one comment. */
function commentsOf(file: ts.SourceFile, opaque: ReadonlyMap<number, number>): Span[] {
  const scanner = ts.createScanner(ts.ScriptTarget.Latest, false, ts.LanguageVariant.Standard, file.text);
  const comments: (readonly [...Span, ts.SyntaxKind])[] = [];
  for (let kind = scanner.scan(); kind !== ts.SyntaxKind.EndOfFileToken; kind = scanner.scan()) {
    const start = scanner.getTokenStart();
    const end = opaque.get(start);
    if (end !== undefined) scanner.resetTokenState(end);
    else if (
      kind === ts.SyntaxKind.SingleLineCommentTrivia ||
      kind === ts.SyntaxKind.MultiLineCommentTrivia
    ) {
      const last = comments.at(-1);
      const continues =
        kind === ts.SyntaxKind.SingleLineCommentTrivia &&
        last?.[2] === kind &&
        /^\n[ \t]*$/.test(file.text.slice(last[1], start));
      if (continues) comments[comments.length - 1] = [last[0], scanner.getTokenEnd(), kind];
      else comments.push([start, scanner.getTokenEnd(), kind]);
    }
  }
  return comments.map(([start, end]) => [start, end]);
}

/**
 * Returns the syntax tree that textlint takes: a document whose paragraphs are the texts of a source file.
 */
export function proseOf(path: string, source: string): TxtDocumentNode {
  const file = ts.createSourceFile(path, source, ts.ScriptTarget.Latest);
  const opaque = new Map<number, number>();
  const literals = literalsOf(file, opaque);
  const comments = commentsOf(file, opaque).map(
    (span) => [span, commentText(source.slice(...span))] as const,
  );
  const place = ([start, end]: Span) => {
    const of = (position: number) => {
      const { line, character } = file.getLineAndCharacterOfPosition(position);
      return { line: line + 1, column: character };
    };
    return {
      range: [start, end] as const,
      loc: { start: of(start), end: of(end) },
      raw: source.slice(start, end),
    };
  };
  const children = [...literals, ...comments]
    .sort(([[a]], [[b]]) => a - b)
    .map(([span, value]): TxtParagraphNode => {
      const str: TxtStrNode = { type: 'Str', value, ...place(span) };
      return { type: 'Paragraph', children: [str], ...place(span) };
    });
  return { type: 'Document', children, ...place([0, source.length]) };
}

export const typescriptPlugin: TextlintPluginCreator = {
  Processor: class {
    availableExtensions(): string[] {
      return ['.ts', '.mjs'];
    }
    processor() {
      return {
        preProcess: (text: string, path = 'source.ts') => proseOf(path, text),
        postProcess: (messages: never[], filePath = 'source.ts') => ({ messages, filePath }),
      };
    }
  },
};
