import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import ts from 'typescript';
import { errorPages, unexplainedCodes } from '../../site/reference/error-pages.ts';
import { errorCodes } from '../../site/reference/errors.ts';
import { openProgram, sourcesOf } from '../../site/reference/program.ts';
import { errorTexts, findingCodes, problemsOf } from './error-messages.ts';
import { replacedWords } from './prose-words.ts';

/** Returns the codes of the errors that a file writes as objects: `{ code: 'HTTP_TOO_SLOW', attempted }`. */
function writtenCodes(file: ts.SourceFile): readonly string[] {
  const found: string[] = [];
  const visit = (node: ts.Node): void => {
    if (ts.isObjectLiteralExpression(node)) {
      const has = (name: string) => node.properties.find((property) => property.name?.getText() === name);
      const code = has('code');
      if (code !== undefined && ts.isPropertyAssignment(code) && has('attempted') !== undefined)
        if (ts.isStringLiteral(code.initializer)) found.push(code.initializer.text);
    }
    ts.forEachChild(node, visit);
  };
  visit(file);
  return found;
}

describe('the message of a coded error', () => {
  const program = openProgram();
  const codes = errorCodes(program);

  it('has a cause, a remedy or a meaning on the pages of error codes', () => {
    // Without them, `npm run docs` builds no site.
    assert.ok(codes.size > 500, `${codes.size} codes`);
    assert.deepEqual(unexplainedCodes(codes), []);
    for (const { name, text } of errorPages(codes)) assert.match(text, /^## [A-Z]/mu, name);
  });

  it('is on one of these pages, whatever its code begins with', () => {
    const missing = sourcesOf(program)
      .flatMap(writtenCodes)
      .filter((code) => !codes.has(code));
    assert.deepEqual([...new Set(missing)], []);
  });

  it('says what was attempted, why it failed, and what to do, everywhere', () => {
    const texts = errorTexts(program, sourcesOf(program));
    // The check reads the messages: fewer of them mean that it has lost its way.
    assert.ok(texts.length > 3500, `${texts.length} texts`);
    for (const part of ['attempted', 'why', 'fix'] as const)
      assert.ok(texts.filter((text) => text.part === part).length > 700, part);
    const problems = texts.flatMap((text) =>
      problemsOf(text).map(
        (problem) => `${text.place}: ${text.part} ${JSON.stringify(text.text)}: ${problem}`,
      ),
    );
    assert.deepEqual([...new Set(problems)], []);
  });

  it('has the form of a finding only for codes that are findings', () => {
    const ways = readFileSync(join(import.meta.dirname, '../../runtime/findings/finding-codes.ts'), 'utf8');
    for (const code of findingCodes)
      assert.ok(ways.includes(`code: '${code}'`) || ways.includes(`${code}:`), code);
  });

  for (const [part, text, problem] of [
    ['attempted', '', /empty/],
    ['attempted', 'the image', /does not begin with a verb/],
    ['attempted', 'pull image.', /ends with punctuation/],
    ['attempted', 'pull: the image', /colon or semicolon/],
    ['why', 'the registry is down;', /ends with punctuation/],
    ['why', 'it has … bytes; at most … are read', /semicolon, which separates/],
    ['why', 'The registry is down. It answers …', /more than one sentence/],
    ['why', replacedWords[0]!.reported, /write "cannot"/],
    ['fix', '', /empty/],
    ['fix', 'such as 4096', /does not say what to do/],
    ['fix', 'portcullis images ls shows them', /does not say what to do/],
    ['fix', 'try again.', /ends with punctuation/],
  ] as const)
    it(`is refused with ${part} ${JSON.stringify(text)}`, () => {
      assert.match(problemsOf({ part, text }).join('\n'), problem);
    });

  for (const [part, text] of [
    ['attempted', 'pull image'],
    ['attempted', '… container'],
    ['why', 'it has … bytes, and at most … are read'],
    ['why', 'the field a.b is not a list: …'],
    ['fix', 'correct the lines named'],
    ['fix', 'the file is damaged: create it again'],
    ['fix', 'if a mirror serves it, ask the origin'],
    ['fix', 'did you mean …? use one of …'],
    ['fix', '…'],
  ] as const)
    it(`is accepted with ${part} ${JSON.stringify(text)}`, () => {
      assert.deepEqual(problemsOf({ part, text }), []);
    });

  it('is found in objects, functions, tables, choices and parts of messages', (t) => {
    const folder = mkdtempSync(join(tmpdir(), 'portcullis-messages-'));
    t.after(() => rmSync(folder, { recursive: true }));
    const file = join(folder, 'x.ts');
    writeFileSync(
      file,
      `const fixes = { CLI_A: 'fix of the table' };
       const failure = (code: string, why: string) => new E({ code, attempted: 'attempt', why, fix: fixes[code] });
       throw failure('CLI_A', 'why of the call');
       throw new E({ code: 'CLI_B', attempted: a, why: b ? \`left \${x}\` : 'right', fix: 'one ' + two });
       const part = { why: 'why of the part', fix: c ?? 'fix of the part' };
       const finding = { code: 'CLI_C', why: 'only found' };`,
    );
    const program = ts.createProgram([file], { noLib: true, types: [] });
    const texts = errorTexts(program, [program.getSourceFile(file)!]).map(
      ({ part, text }) => `${part}: ${text}`,
    );
    for (const text of [
      ...['attempted: attempt', 'why: why of the call', 'fix: fix of the table'],
      ...['why: left …', 'why: right', 'fix: one …', 'why: why of the part', 'fix: fix of the part'],
    ])
      assert.ok(texts.includes(text), `${text}\n${texts.join('\n')}`);
    assert.ok(!texts.includes('why: only found'));
  });
});
