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
