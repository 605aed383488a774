import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { attempt } from '../../../base/errors/index.ts';
import { fuzzing } from '../../evidence/fixtures/fuzzing.ts';
import { parseImagePattern, patternMatches } from '../../requirements/image-pattern.ts';
import { normaliseReference } from '../../requirements/named-images.ts';
import type { TrustRule } from '../../requirements/types.ts';
import { exportClusterImagePolicies } from './export.ts';

const digest = `sha256:${'a1'.repeat(32)}`;
const ceiling = { rule: 'policy.yaml:1', ceiling: 'baseline' };
const rule: TrustRule = { name: 'policy.yaml:1', images: [], allowUnverified: false, ceiling };

/** Whether a glob matches a name with its digest (Compile in policy-controller's pkg/apis/glob). */
function globMatchesName(glob: string, name: string): boolean {
  const whole = glob === '*' ? 'index.docker.io/library/*' : glob === '*/*' ? 'index.docker.io/*/*' : glob;
  assert.match(whole, /^[-a-zA-Z0-9_:/*.]+$/u, 'policy-controller refuses other characters');
  const parts = whole.split('**').map((part) => part.replaceAll('.', '\\.').replaceAll('*', '[^/]*'));
  return new RegExp(`^${parts.join('.*')}$`, 'u').test(name);
}

function exported(part: Partial<TrustRule>): { readonly passes: boolean; readonly globs: readonly string[] } {
  const policy = { revision: '', default: 'deny' as const, rules: [{ ...rule, ...part }] };
  const { text } = exportClusterImagePolicies(policy);
  const globs = [...text.matchAll(/glob: "?([^"\n]+)"?\n/gu)].map(([, glob = '']) => glob);
  return { passes: text.includes('action: pass'), globs };
}

test('an exported policy applies to all images of its patterns, and accepts no other without a signature', () => {
  const host = fc.constantFrom('ghcr.io', '*', '**', 'docker.io', '*.io', 'ghcr.io:*', '[2001:db8::1]:5000');
  const piece = fc.constantFrom('a', '*', '**', 'a*', '*a', '*a*', 'library');
  const path = fc.array(piece, { minLength: 1, maxLength: 3 });
  const registry = fc.constantFrom('ghcr.io', 'ghcr.io:5000', 'docker.io', 'localhost', '[2001:db8::1]:5000');
  const segment = fc.constantFrom('a', 'b', 'ab', 'library');
  const names = fc.array(segment, { minLength: 1, maxLength: 3 });
  fc.assert(
    fc.property(host, path, registry, names, (first, rest, at, name) => {
      const pattern = [first, ...rest].join('/');
      const parsed = attempt(() => parseImagePattern(pattern));
      if (parsed === undefined) return;
      const image = normaliseReference(`${at}/${name.join('/')}@${digest}`);
      const theirs = image.text.replace(/^docker\.io\//u, 'index.docker.io/');
      const isOurs = patternMatches(parsed, image);
      const applies = (globs: readonly string[]): boolean =>
        globs.some((glob) => globMatchesName(glob, theirs));
      const denying = exported({ images: [pattern], deny: 'no' });
      if (isOurs) assert.ok(applies(denying.globs), `${denying.globs.join()} applies to ${theirs}`);
      const open = exported({ images: [pattern], allowUnverified: true });
      if (open.passes && !isOurs) assert.ok(!applies(open.globs), `${open.globs.join()} accepts ${theirs}`);
    }),
    fuzzing(21, 3000),
  );
});

test('a rule for a registry with an IPv6 address makes no other registry fail', () => {
  for (const [host, other] of [
    ['[2001:db8::1]', 'ghcr.io'],
    ['[2001:db8::1]:5000', 'mirror:5000'],
    ['[::1]', 'mirror:5000'],
  ]) {
    const { globs } = exported({ images: [`${host}/**`], deny: 'no' });
    assert.ok(globs.some((glob) => globMatchesName(glob, `${host}/app@${digest}`)));
    assert.ok(!globs.some((glob) => globMatchesName(glob, `${other}/app@${digest}`)), globs.join());
  }
});
