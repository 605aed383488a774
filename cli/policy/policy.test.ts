import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { commandFile, compileCache } from '../../test/fixtures/command.ts';

/** Runs the commands as a user does, in a folder of the user's own. */
describe('portcullis policy', () => {
  let folder = '';
  before(() => {
    folder = mkdtempSync(join(tmpdir(), 'cli-policy-'));
    portcullis('sign', '--generate-key', 'k');
  });
  after(() => rmSync(folder, { recursive: true }));

  function portcullis(...args: readonly string[]): {
    readonly code: number | null;
    readonly out: string;
    readonly err: string;
  } {
    const env = { ...compileCache, PATH: process.env['PATH'], HOME: folder, PORTCULLIS_PASSPHRASE: 'words' };
    const { status, stdout, stderr } = spawnSync(process.execPath, [commandFile, ...args], {
      cwd: folder,
      env,
      encoding: 'utf8',
    });
    return { code: status, out: stdout, err: stderr };
  }
  const write = (name: string, text: string): void => writeFileSync(join(folder, name), text);
  const policy = (rules: string): string =>
    `apiVersion: portcullis.dev/v1alpha1\nkind: TrustPolicy\ndefault: deny\nrules:\n${rules}`;
  const signed = '  - images: ["r.test/**"]\n    require: { cosign: { key: k.pub } }\n';

  it('test: exits with 0 when all cases pass, with 1 and the tree of reasons when a case fails, with 2 for another file', () => {
    write('p.yaml', policy(signed));
    const cases = (expect: string): string =>
      `apiVersion: portcullis.dev/v1alpha1\nkind: PolicyTest\npolicy: [p.yaml]\nkeys: { k: k.pub }\ncases:\n  - { name: signed, image: r.test/a:1, signed: [{ key: k }], expect: ${expect} }\n`;
    write('t.yaml', cases('admit'));
    const held = portcullis('policy', 'test', 't.yaml', '--coverage', '--output', 'json');
    assert.equal(held.code, 0, held.err + held.out);
    write('t.yaml', cases('deny'));
    const failed = portcullis('policy', 'test', 't.yaml');
    assert.equal(failed.code, 1);
    assert.match(failed.out + failed.err, /signed[^]*rule p\.yaml:5/);
    write('t.yaml', cases('perhaps'));
    assert.equal(portcullis('policy', 'test', 't.yaml').code, 2);
  });

  it('init: says what the policy still needs, and the policy is valid once that is done', () => {
    mkdirSync(join(folder, 'new'));
    const { code, out } = portcullis('policy', 'init', 'new/policy.yaml');
    assert.equal(code, 0);
    const missing = portcullis('policy', 'check', 'new/policy.yaml');
    assert.equal(missing.code, 1);
    assert.match(
      missing.err,
      /cosign\.pub cannot be used: there is no such file; put the PEM public key there/,
    );
    assert.equal(portcullis('policy', 'fmt', '--check', 'new/policy.yaml').code, 0);
    const commands = [...out.matchAll(/: +portcullis (.+)$/gmu)].map(([, line]) => line?.split(' ') ?? []);
    assert.deepEqual(
      commands.map((words) => portcullis(...words).code),
      [0, 0],
    );
  });

  it('init: quotes the names in the commands that it suggests', () => {
    mkdirSync(join(folder, "it's new"));
    const { out } = portcullis('policy', 'init', "it's new/policy.yaml");
    assert.match(out, /: portcullis sign --generate-key 'it'\\''s new\/cosign'\n/);
    assert.match(out, /: +portcullis policy check 'it'\\''s new\/policy\.yaml'\n/);
  });

  it('fmt: writes the canonical form once, and reports files that would change', () => {
    write(
      'f.yaml',
      policy('  -   images:   [ "r.test/**" ]\n      require: { cosign: {key: k.pub} } # mine\n'),
    );
    const check = portcullis('policy', 'fmt', 'f.yaml', '--check');
    assert.equal(check.code, 1, check.err + check.out);
    assert.equal(portcullis('policy', 'fmt', 'f.yaml').code, 0);
    assert.match(readFileSync(join(folder, 'f.yaml'), 'utf8'), /# mine/);
    assert.equal(portcullis('policy', 'fmt', 'f.yaml', '--check').code, 0);
  });

  it('fmt: refuses to write to a pipe', () => {
    write('piped.yaml', policy(signed));
    const script = 'cat piped.yaml | "$0" "$1" policy fmt /proc/self/fd/0';
    const { status, stderr } = spawnSync('sh', ['-c', script, process.execPath, commandFile], {
      cwd: folder,
      encoding: 'utf8',
    });
    assert.equal(status, 2);
    assert.match(stderr, /not a regular file.*\[CLI_FILE_UNWRITABLE\]/);
  });

  it('export and import: to the format of another tool and back; parts that it cannot express are listed', () => {
    write('e.yaml', policy(signed));
    const exported = portcullis('policy', 'export', '--to', 'containers', 'e.yaml', '--out', 'out');
    assert.equal(exported.code, 0, exported.err);
    assert.ok(readdirSync(join(folder, 'out')).includes('policy.json'));
    const imported = portcullis('policy', 'import', '--from', 'containers', 'out/policy.json', '--out', 'in');
    assert.equal(imported.code, 0, imported.err);
    assert.equal(portcullis('policy', 'check', 'in').code, 0);
    write('e.yaml', policy(signed.replace('key: k.pub', 'key: k.pub, annotations: { env: prod }')));
    const listed = portcullis('policy', 'export', '--to', 'containers', 'e.yaml');
    assert.equal(listed.code, 1);
    assert.match(listed.err, /annotations/);
    assert.equal(portcullis('policy', 'import', '--from', 'containers', 'missing.json').code, 2);
  });

  it('import: reads - from standard input, and names it in the positions', () => {
    const rule =
      "{ name: r, validate: { message: m }, verifyImages: [{ imageReferences: ['ghcr.io/a/*'] }] }";
    const input = `apiVersion: kyverno.io/v1
kind: ClusterPolicyList
items:
  - { apiVersion: kyverno.io/v1, kind: ClusterPolicy, metadata: { name: p }, spec: { rules: [${rule}] } }
`;
    const args = [commandFile, 'policy', 'import', '--from', 'kyverno', '-'];
    const { status, stdout, stderr } = spawnSync(process.execPath, args, {
      cwd: folder,
      input,
      encoding: 'utf8',
    });
    assert.match(stdout, /ghcr\.io\/a\/\*/u);
    assert.match(stderr, /not mapped: -:4:\d+: items\[0\]\.spec\.rules\[0\]\.validate/u);
    assert.equal(status, 1);
  });

  it('check and fmt: read - from standard input', () => {
    const piped = (input: string, ...args: readonly string[]): ReturnType<typeof portcullis> => {
      const given = { cwd: folder, input, encoding: 'utf8' } as const;
      const { status, stdout, stderr } = spawnSync(process.execPath, [commandFile, ...args], given);
      return { code: status, out: stdout, err: stderr };
    };
    const valid = piped(policy(signed), 'policy', 'check', '-');
    assert.match(valid.out, /^valid: 1 rule, /u, valid.err);
    const invalid = piped(policy('  - imagse: []\n'), 'policy', 'check', '-');
    assert.match(invalid.err, /^.*-:5:\d+/mu);
    assert.equal(invalid.code, 1);
    const formatted = piped(policy(signed), 'policy', 'fmt', '-');
    assert.equal(formatted.code, 0, formatted.err);
    assert.match(formatted.out, /^apiVersion: portcullis\.dev\/v1alpha1\n/u);
    assert.equal(piped(formatted.out, 'policy', 'fmt', '-').out, formatted.out);
    assert.equal(piped(formatted.out, 'policy', 'fmt', '-', '-').out, formatted.out, 'it is named twice');
    const untidy = piped(
      policy(signed).replace('default: deny', 'default:   deny'),
      'policy',
      'fmt',
      '--check',
      '-',
    );
    assert.deepEqual([untidy.code, untidy.out], [1, 'not in canonical form: -\n']);
  });

  it('simulate: says what would change, and refuses a path without evidence', () => {
    write('s.yaml', policy(signed));
    write('nothing.txt', 'nothing');
    assert.notEqual(portcullis('policy', 'simulate', '--policy', 's.yaml', 'nothing.txt').code, 0);
  });

  it('simulate: recordings that are all left out are wrong input, not an image without a change', () => {
    write('s.yaml', policy(signed));
    mkdirSync(join(folder, 'unreadable'), { recursive: true });
    write('unreadable/one.json', 'nothing');
    const { code, out } = portcullis('policy', 'simulate', '--policy', 's.yaml', 'unreadable');
    assert.match(
      out,
      /^left out: unreadable\/one\.json: .*\n0 decided again, 0 would change, 1 left out\n$/u,
    );
    assert.equal(code, 2);
  });

  it('explain: an exception is shown beside the rule, and decides what is reported about an image', () => {
    write(
      'x.yaml',
      policy(
        '  - images: ["r.test/**"]\n    deny: everything\n    breakGlass: { until: 2999-01-01, reason: outage, by: ann }\n',
      ),
    );
    const explained = portcullis('policy', 'explain', 'r.test/a:1', '--policy', 'x.yaml');
    assert.equal(explained.code, 0, explained.out);
    assert.match(
      explained.out,
      /BREAK GLASS: images that it refuses are admitted until 2999-01-01.*outage \(ann\)/,
    );
    write('x.yaml', policy(`${signed}    mode: report\n`));
    assert.match(portcullis('policy', 'explain', 'r.test/a:1', '--policy', 'x.yaml').out, /REPORT ONLY/);
  });
});
