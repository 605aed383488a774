import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import * as fc from 'fast-check';
import { isUnder, joinPaths, meetPaths, pathExcess, pathRestrictions } from './paths.ts';

// The hyphen sorts before the separator, and the letter after it.
const path = fc
  .array(fc.constantFrom('a', 'a-', 'ab', 'b', '-'), { maxLength: 3 })
  .map((parts) => `/${parts.join('/')}`);
const paths = fc.array(path, { maxLength: 5 });
const restrictions = fc.tuple(paths, paths).map(([masked, readonly]) => pathRestrictions(masked, readonly));

function isHidden({ masked }: { readonly masked: readonly string[] }, file: string): boolean {
  return masked.some((top) => isUnder(file, top));
}

function isUnwritable(
  of: { readonly masked: readonly string[]; readonly readonly: readonly string[] },
  file: string,
): boolean {
  return isHidden(of, file) || of.readonly.some((top) => isUnder(file, top));
}

describe('restrictions of paths', () => {
  it('restrict the same files in their simplest form, which repeats nothing', () => {
    fc.assert(
      fc.property(paths, paths, path, (masked, readonly, file) => {
        const simple = pathRestrictions(masked, readonly);
        assert.equal(isHidden(simple, file), isHidden({ masked }, file));
        assert.equal(isUnwritable(simple, file), isUnwritable({ masked, readonly }, file));
        for (const [at, one] of simple.masked.entries())
          assert.ok(!simple.masked.some((top, other) => other !== at && isUnder(one, top)));
        for (const one of simple.readonly) assert.ok(!isHidden(simple, one));
      }),
    );
  });

  it('are met, joined and compared by the files that they restrict', () => {
    fc.assert(
      fc.property(restrictions, restrictions, path, (a, b, file) => {
        const [met, joined, excess] = [meetPaths(a, b), joinPaths(a, b), pathExcess(a, b)];
        assert.equal(isHidden(met, file), isHidden(a, file) || isHidden(b, file));
        assert.equal(isUnwritable(met, file), isUnwritable(a, file) || isUnwritable(b, file));
        assert.equal(isHidden(joined, file), isHidden(a, file) && isHidden(b, file));
        assert.equal(isUnwritable(joined, file), isUnwritable(a, file) && isUnwritable(b, file));
        if (excess === undefined) {
          assert.ok(!isHidden(a, file) || isHidden(b, file));
          assert.ok(!isUnwritable(a, file) || isUnwritable(b, file));
        } else {
          const restricts = excess.access === 'read' ? isHidden : isUnwritable;
          assert.ok(restricts(a, excess.path) && !restricts(b, excess.path));
        }
      }),
    );
  });
});
