import assert from 'node:assert/strict';
import { test } from 'node:test';
import { awaitsAtTopLevel, listAwaitedImports, listWorkerModules, readGolden } from './worker-modules.ts';

test('each Worker loads exactly the modules of the committed list', async () => {
  assert.equal(
    await listWorkerModules(),
    readGolden(),
    'check that the Worker needs the code that it loads, then run: npm run imports:update',
  );
});

test('no Worker imports a module with a top-level await statically', async () => {
  assert.deepEqual(await listAwaitedImports(), []);
});

test('an await outside all functions is a top-level await', () => {
  assert.equal(awaitsAtTopLevel('const a = [await b];'), true);
  assert.equal(awaitsAtTopLevel('for await (const a of b) c(a);'), true);
  assert.equal(awaitsAtTopLevel('await using a = b;'), true);
  assert.equal(awaitsAtTopLevel('const a = "await"; using b = c;'), false);
  assert.equal(awaitsAtTopLevel('const a = async () => { await b; };'), false);
  assert.equal(awaitsAtTopLevel('class A { async b() { await c; } }'), false);
});
