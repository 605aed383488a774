import assert from 'node:assert/strict';
import { test } from 'node:test';
import { compileCache, portcullis, portcullisCommand, runProgram } from '../test/fixtures/command.ts';

test('spec validate reads standard input that is a socket, as programs that start it make it', async () => {
  const { stdout: input } = await portcullis(['spec', 'generate', '--', '/bin/true']);
  const [program = '', ...words] = portcullisCommand;
  const environment = { ...compileCache, PATH: process.env['PATH'] };
  const { code, output } = await runProgram(
    program,
    [...words, 'spec', 'validate', '-'],
    environment,
    undefined,
    { input },
  );
  assert.deepEqual([code, output], [0, 'valid by the runtime-spec\n']);
});

test('the help of spec generate shows the default user as it is written', async () => {
  const { output } = await portcullis(['spec', 'generate', '--help']);
  assert.match(output.replace(/\s+/gu, ' '), /--user <uid\[:gid\]> .* \(default: "0:0"\)/u);
});
