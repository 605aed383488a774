import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { createInsideServers } from './inside-sources.ts';

const sources = fc.option(fc.constantFrom('10.1.0.0/24', '10.2.0.0/24 10.3.0.0/24', ''), { nil: undefined });
/** Changes of some servers at once. */
const portion = fc.dictionary(fc.constantFrom('a', 'b', 'c', 'd'), sources, { maxKeys: 4 });

test('the sources after a change are those of all servers, and undefined if they stay the same', () => {
  fc.assert(
    fc.property(fc.array(portion, { maxLength: 12 }), (portions) => {
      const servers = createInsideServers();
      const model = new Map<string, string>();
      for (const changes of portions) {
        const before = new Set(model.values());
        for (const [key, words] of Object.entries(changes))
          if (words === undefined) model.delete(key);
          else model.set(key, words);
        const now = new Set(model.values());
        const isSame = now.size === before.size && [...now].every((words) => before.has(words));
        const found = servers.sourcesAfter(Object.entries(changes));
        assert.deepEqual(found && new Set(found), isSame ? undefined : now);
        for (const [key, words] of Object.entries(changes))
          if (words === undefined) servers.delete(key);
          else servers.set(key, words);
        assert.deepEqual(new Set(servers.sources()), now);
        assert.equal(servers.size, model.size);
      }
    }),
  );
});
