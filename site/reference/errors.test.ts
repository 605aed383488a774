import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { it } from 'node:test';
import type { TestContext } from 'node:test';
import ts from 'typescript';
import { errorPages, unexplainedCodes } from './error-pages.ts';
import { errorCodes } from './errors.ts';

/** Returns the codes in one source file. */
function codesIn(t: TestContext, text: string): ReturnType<typeof errorCodes> {
  const folder = mkdtempSync(join(tmpdir(), 'portcullis-codes-'));
  t.after(() => rmSync(folder, { recursive: true }));
  const file = join(folder, 'x.ts');
  writeFileSync(file, text);
  const program = ts.createProgram([file], { noLib: true, types: [] });
  return errorCodes(program, [program.getSourceFile(file)!]);
}

/** Returns the page of the codes of commands, for one source file. */
function pageOf(t: TestContext, text: string): string {
  return errorPages(codesIn(t, text)).find(({ name }) => name === 'command')?.text ?? '';
}

it('reads the cause and the remedy of an error', (t) => {
  const page = pageOf(
    t,
    "throw new E({ code: 'CLI_X', attempted: 'read', why: `it has ${n} bytes`, fix: 'make it *smaller*' });",
  );
  assert.match(
    page,
    /^## CLI_X\n\n- Attempted: read\. Cause: it has … bytes\. Remedy: make it \\\*smaller\\\*\.$/m,
  );
});

it('reads them through a function that creates errors, and from a table', (t) => {
  const page = pageOf(
    t,
    `const fixes = { CLI_A: 'try again', CLI_B: 'ask' };
     const failure = (code: string, why: string) => new E({ code, attempted: 'ask', why, fix: fixes[code] });
     throw failure('CLI_A', 'nobody answers');`,
  );
  assert.match(
    page,
    /^## CLI_A\n\n(?:- Remedy: try again\.\n)?- Attempted: ask\. Cause: nobody answers\. Remedy: try again\.$/m,
  );
  assert.match(page, /^## CLI_B\n\n- Remedy: ask\.$/m);
});

it('reads them from the callers of a function that has the code', (t) => {
  const page = pageOf(
    t,
    `function refused(why: string, fix: string) { return new E({ code: 'CLI_A', attempted: 'ask', why, fix }); }
     throw refused('it is closed', 'open it');`,
  );
  assert.match(page, /^## CLI_A\n\n- Attempted: ask\. Cause: it is closed\. Remedy: open it\.$/m);
});

it('finds codes without a cause, a remedy or a meaning', (t) => {
  const codes = codesIn(
    t,
    "throw new E({ code: 'CLI_A', attempted: 'ask', why, fix }); throw new E({ code: 'CLI_B', fix: 'open it' });",
  );
  assert.deepEqual(unexplainedCodes(codes), ['CLI_A']);
});

it('does not take an environment variable for a code', (t) => {
  assert.deepEqual(
    [...codesIn(t, "read('HTTP_PROXY', 'CLI_A'); read({ code: 'CNI_ARGS' });").keys()],
    ['CLI_A'],
  );
});

it('does not take other constants for codes', (t) => {
  assert.doesNotMatch(pageOf(t, "open('O_RDONLY', 'SYS_ADMIN', { code: 'SYS_ADMIN' });"), /^## /m);
});

it('finds the codes that a table gives, and one in place of a missing entry', (t) => {
  const page = pageOf(
    t,
    `const codes = { 'x.one': 'CLI_A', 'x.two': 'CLI_B' };
     throw new E({ code: ready ? 'CLI_D' : (codes[name] ?? 'CLI_C'), fix: 'ask' });`,
  );
  assert.deepEqual(
    [...page.matchAll(/^## (\w+)\n\n- Remedy: ask\.$/gm)].map(([, code]) => code),
    ['CLI_A', 'CLI_B', 'CLI_C', 'CLI_D'],
  );
});

it('writes … for a list, and for a value that is usually known only when the error occurs', (t) => {
  const page = pageOf(
    t,
    `const refused = (names: string[], fix: string) =>
       new E({ code: 'CLI_A', why: \`\${names.join(', ')} refuse the id \${id() ?? 'unknown'}\`, fix });
     throw refused(all, 'ask');`,
  );
  assert.match(page, /Cause: … refuse the id …\. Remedy: ask\.$/m);
});
