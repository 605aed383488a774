import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { decide } from './decide.ts';
import { createGroupViews } from './view.ts';

const pair = (key: string, value: unknown, modRevision = 5) => ({
  key: `/portcullis/node-groups/${key}`,
  value: Buffer.from(typeof value === 'string' ? value : JSON.stringify(value)),
  modRevision,
});
const record = { generation: 1, attempt: 1, revision: '', phase: 'ready', labels: {}, at: 'x' };

describe('the view of groups', () => {
  it('follows keys, and has the revision up to which nothing is missing', () => {
    const views = createGroupViews();
    views.replace([pair('web/nodes/n1', record), pair('web/changing/n1', '1', 7)], 9);
    views.take([{ ...pair('web/nodes/n2', record), modRevision: 12 }]);
    views.take([{ key: '/portcullis/node-groups/web/changing/n1', value: undefined, modRevision: 13 }]);
    const web = views.groups().get('web');
    assert.deepEqual(
      [[...(web?.nodes.keys() ?? [])], web?.places.size, views.revision()],
      [['n1', 'n2'], 0, 13],
    );
  });

  it('lets the turns of nodes pass while another node writes its own record again and again', () => {
    let now = 0;
    const views = createGroupViews(() => now);
    const gate = { healthySeconds: 0, daemonReady: true };
    const rollout = { maxUnavailable: 1, pauseSeconds: 0, deadlineSeconds: 5, gate };
    const selector = { labels: {} };
    const spec = { revision: '0'.repeat(64), generation: 2, attempt: 1, selector, rollout };
    views.replace(
      [
        pair('web/spec', spec),
        ...['absent', 'n1', 'restless'].map((name) => pair(`web/nodes/${name}`, record)),
      ],
      9,
    );
    const nextOfN1 = (): string | undefined => {
      const web = views.groups().get('web');
      if (web?.spec === undefined) return undefined;
      const own = { name: 'n1', labels: {}, changingMs: 0, quietMs: now - web.changedAt };
      return decide({ ...web, spec: web.spec }, own).do;
    };
    assert.equal(nextOfN1(), 'wait', 'the node before it in the list asks first');
    for (const at of [1000, 2000, 3000]) {
      now = at;
      views.take([{ ...pair('web/nodes/restless', { ...record, at: String(at) }), modRevision: 10 + at }]);
    }
    assert.equal(nextOfN1(), 'take');
  });

  it('has the nodes with the longest labels and reason that a node may have', () => {
    const labels = Object.fromEntries(
      Array.from({ length: 50 }, (_, index) => [`${'k'.repeat(250)}${index}`, '\u4e00'.repeat(63)]),
    );
    const views = createGroupViews();
    views.replace([pair('web/nodes/n1', { ...record, labels, why: '\u0001'.repeat(2000) })], 9);
    assert.equal(views.groups().get('web')?.nodes.size, 1);
  });

  it('has the specification with the most and the longest names that a document may have', () => {
    const names = Array.from({ length: 5000 }, (_, index) => String(index).padEnd(253, 'x'));
    const gate = { healthySeconds: 0, daemonReady: true };
    const rollout = { maxUnavailable: 1, pauseSeconds: 0, deadlineSeconds: 5, gate };
    const spec = { revision: '0'.repeat(64), generation: 1, attempt: 1, selector: { names }, rollout };
    const views = createGroupViews();
    views.replace([pair('web/spec', spec)], 9);
    assert.equal(views.groups().get('web')?.spec?.selector.names?.length, 5000);
  });

  it('ignores values that are not records, and records under the key of another node', () => {
    const views = createGroupViews();
    views.replace(
      [
        pair('web/nodes/n1', '{'),
        pair('web/nodes/n2', '[]'),
        pair('web/nodes/n3', { ...record, phase: 'king' }),
        pair('web/nodes/n4', { ...record, why: 'x'.repeat(5000) }),
        pair('web/nodes/n5', `${JSON.stringify(record)}${' '.repeat(70_000)}`),
        pair('web/nodes/n6/more', record),
        pair('web/spec', { revision: 'x' }),
        pair('web/nodes/', record),
      ],
      9,
    );
    const web = views.groups().get('web');
    assert.deepEqual([web?.spec, web?.nodes.size, web?.specRevision], [undefined, 0, 5]);
  });
});
