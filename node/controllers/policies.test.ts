import assert from 'node:assert/strict';
import {
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  realpathSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import { createCriClient, loadPolicySet } from '../../runtime/index.ts';
import { stateWithDefaults } from '../document/defaults.ts';
import type { Change, NodeState } from '../model/types.ts';
import { policyController } from './policies.ts';

const home = mkdtempSync(join(tmpdir(), 'pc-node-policies-'));
const link = join(home, 'policy');
const controller = policyController(
  { cri: createCriClient(join(home, 'cri.sock')), adminSocket: join(home, 'admin.sock') },
  link,
  (paths) => loadPolicySet({ paths }),
);
const limits = { signal: new AbortController().signal };
const state = (rules: string): NodeState =>
  stateWithDefaults({}, [
    {
      name: 'policy.yaml',
      content: `apiVersion: portcullis.dev/v1alpha1\nkind: TrustPolicy\ndefault: deny\nrules: ${rules}\n`,
    },
  ]);
const change = (action: Change['action']): Change => ({
  action,
  section: 'policies',
  name: 'policy',
  drift: false,
});
const seen = async (): Promise<string | undefined> =>
  (await controller.observe(new Set(['policy']), limits)).get('policy')?.visible;
const first = state('[]');

describe('the policy of a state', () => {
  after(() => rmSync(home, { recursive: true }));

  it('is a link to a complete revision, and one revision is kept', async () => {
    await controller.apply(change('create'), first, limits);
    assert.equal(await seen(), controller.items(first).get('policy')?.visible);
    const next = state('[] # another');
    await controller.apply(change('update'), next, limits);
    assert.equal(await seen(), controller.items(next).get('policy')?.visible);
    await controller.apply(change('update'), first, limits);
    assert.equal(readdirSync(`${link}.revisions`).length, 1);
  });

  it('names no temporary folder when the files contain no policy', async () => {
    const none = stateWithDefaults({}, [{ name: 'policy.yaml', content: '# empty\n' }]);
    await assert.rejects(Promise.resolve(controller.check?.(none)), (error: Error) => {
      assert.match(error.message, /the policies: no document of kind TrustPolicy/u);
      assert.ok(!error.message.includes(tmpdir()), error.message);
      return true;
    });
  });

  it('leaves nothing of an attempt that was killed', async () => {
    mkdirSync(join(`${link}.revisions`, 'half'));
    symlinkSync('nowhere', `${link}.0123456789ab.tmp`);
    await controller.apply(change('update'), first, limits);
    assert.deepEqual(readdirSync(home).toSorted(), ['policy', 'policy.revisions']);
    assert.equal(readdirSync(`${link}.revisions`).length, 1);
  });

  it('stays as it was when the loader of the daemon refuses the new one', async () => {
    const before = realpathSync(link);
    const bad = state('[{ imagess: [] }]');
    await assert.rejects(controller.check?.(bad) ?? Promise.resolve(), { code: 'NODE_STATE_POLICY_INVALID' });
    await assert.rejects(controller.apply(change('update'), bad, limits), {
      code: 'NODE_STATE_POLICY_INVALID',
    });
    assert.equal(realpathSync(link), before);
    assert.deepEqual(readdirSync(`${link}.revisions`).length, 1);
  });

  it('is replaced when a file is changed or added', async () => {
    const wanted = controller.items(first).get('policy')?.visible;
    for (const [name, text] of [
      ['policy.yaml', '# mine'],
      ['more.yaml', '# mine'],
    ] as const) {
      writeFileSync(join(link, name), text);
      assert.notEqual(await seen(), wanted);
      await controller.apply(change('update'), first, limits);
      assert.equal(await seen(), wanted);
    }
    assert.doesNotMatch(readFileSync(join(link, 'policy.yaml'), 'utf8'), /mine/u);
  });

  it('neither replaces nor removes a folder at the path of the link, and leaves no temporary link', async () => {
    const here = readdirSync(home);
    rmSync(link);
    mkdirSync(link);
    await assert.rejects(controller.apply(change('update'), first, limits), {
      code: 'NODE_STATE_CHANGE_REFUSED',
      message: /it is a folder, .*; move it away/u,
    });
    assert.deepEqual(readdirSync(home), here);
    await controller.apply(change('delete'), stateWithDefaults({}, []), limits);
    assert.deepEqual(readdirSync(home), ['policy']);
    rmSync(link, { recursive: true });
    await controller.apply(change('create'), first, limits);
  });

  it('is removed with the state, and a folder that was not made for the state is never used', async () => {
    await controller.apply(change('delete'), stateWithDefaults({}, []), limits);
    assert.deepEqual([await seen(), readdirSync(home)], [undefined, []]);
    mkdirSync(link);
    assert.equal(await seen(), '');
  });
});
