import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { it } from 'node:test';
import type { TestContext } from 'node:test';
import ts from 'typescript';
import { errorCodes, errorPages } from './errors.ts';

/** Returns the page of the codes of commands, for one source file. */
function pageOf(t: TestContext, text: string): string {
  const folder = mkdtempSync(join(tmpdir(), 'portcullis-codes-'));
  t.after(() => rmSync(folder, { recursive: true }));
  const file = join(folder, 'x.ts');
  writeFileSync(file, text);
  const program = ts.createProgram([file], { noLib: true, types: [] });
  const codes = errorCodes(program, [program.getSourceFile(file)!]);
  return errorPages(codes).find(({ name }) => name === 'command')?.text ?? '';
}

it('reads cause and remedy of an error', (t) => {
  const page = pageOf(t, "throw new E({ code: 'CLI_X', attempted: 'read', why: `it has ${n} bytes`, fix: 'make it *smaller*' });");
  assert.match(page, /^## CLI_X\n\n- Attempted: read\. Cause: it has … bytes\. Remedy: make it \\\*smaller\\\*\.$/m);
});

it('reads them through a function that creates errors, and from a table', (t) => {
  const page = pageOf(
    t,
    `const fixes = { CLI_A: 'try again', CLI_B: 'ask' };
     const failure = (code: string, why: string) => new E({ code, attempted: 'ask', why, fix: fixes[code] });
     throw failure('CLI_A', 'nobody answers');`,
  );
  assert.match(page, /^## CLI_A\n\n(?:- Remedy: try again\.\n)?- Attempted: ask\. Cause: nobody answers\. Remedy: try again\.$/m);
  assert.match(page, /^## CLI_B\n\n- Remedy: ask\.$/m);
});

it('takes no other constant for a code', (t) => {
  assert.doesNotMatch(pageOf(t, "open('O_RDONLY', 'SYS_ADMIN', { code: 'SYS_ADMIN' });"), /^## /m);
});
